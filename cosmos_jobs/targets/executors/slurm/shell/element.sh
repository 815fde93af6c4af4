# A batch as an element of an array: Slurm has given it GPUs, and may end it at any time.

element() {
  if [ -d $its_claim ]; then
    # The same element was begun before: what it was at is lost, and is begun anew elsewhere.
    [ ! -f $its_claim/$its_pid ] || [ "${SLURM_RESTART_COUNT:-0}" -eq 0 ] || [ -s $its_exit ] ||
      echo "$SLURM_RESTART_COUNT" | put $its_requeued
    exit 0
  fi
  # Docker counts all GPUs of the machine, others only those that we may see.
  gpus=${CUDA_VISIBLE_DEVICES:-cpu}
  [ -z "$image" ] || gpus=${SLURM_JOB_GPUS:-$gpus}
  # A session of its own: what is in it is told from what Slurm runs beside us.
  trap end_worker TERM
  gpus=$(echo "$gpus" | tr , ' ') setsid sh $its_script &
  wait $!
}

# Slurm's own signal may not reach all that we started, and its KILL comes soon.
end_worker() {
  worker=$!
  for signal in TERM KILL; do
    kill -s $signal $worker $(members $worker) 2>/dev/null
    tries=0
    while [ $tries -lt 10 ] && [ -n "$(members $worker)" ]; do
      sleep 0.1
      tries=$((tries + 1))
    done
  done
  [ -z "$image" ] || remove_container
  exit 143
}

note_claim() { echo "${SLURM_RESTART_COUNT:-0}" | put $its_claim/$its_restarts; }

# The batch was put down for its runs when it was submitted.
begin_work() { work "$gpus"; }

own_facts() {
  printf 'node %s\nslurm_job %s\n' "$SLURMD_NODENAME" "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
}
