# Run once, as a session of its own, in the batch's folder: claim the batch and its runs, wait
# for GPUs, run the engine, and write `exit` last. Started twice, the second does nothing.

NOT_FREE=99
cd "$folder" || exit 1

fault() { printf '%s\n' "$*" | put fault; }

finish() {
  # What was set aside for these last lines on a full disk.
  rm -f reserve
  [ "$(df -Pk . | awk 'NR == 2 { print $4 }')" -ge 1024 ] || fault disk-full
  # Whoever reads `exit` may rely on the rest, also after a power cut.
  [ ! -d out ] || find out -type f -exec sync -d {} +
  printf '%s %s\n' "$1" "$(date +%s.%N)" > exit.tmp && sync -d exit.tmp && mv -f exit.tmp exit
}

begin() {
  mkdir claim 2>/dev/null || exit 0
  birth $$
  [ -z "$scheduler" ] || echo "${SLURM_RESTART_COUNT:-0}" | put claim/restarts
  printf '%s %s\n' "$$" "$born" | put claim/pid || exit 1
  # Whoever cancels writes `cancel` and then looks for the pid: one of us sees the other.
  [ -f cancel ] && exit 1
  head -c 8192 /dev/zero > reserve
  for program in flock timeout ${secrets:+awk mkfifo} ${server:+mkfifo setsid}; do
    command -v $program > /dev/null || { fault "no-program $program"; finish 127; exit 1; }
  done
  if [ -n "$scheduler" ]; then
    work "$gpus"
    return
  fi
  hold_runs
  case $? in
    0) wait_for_gpus ;;
    2) fault disk-full; finish 1 ;;
  esac
}

# Be an element of a scheduler's array: it has given us GPUs, and may end us at any time.
be_element() {
  if [ -d claim ]; then
    # The same element was begun before: what it was at is lost, and is begun anew elsewhere.
    [ ! -f claim/pid ] || [ "${SLURM_RESTART_COUNT:-0}" -eq 0 ] || [ -s exit ] ||
      echo "$SLURM_RESTART_COUNT" | put requeued
    exit 0
  fi
  # Docker counts all GPUs of the machine, others only those that we may see.
  gpus=${CUDA_VISIBLE_DEVICES:-cpu}
  [ -z "$image" ] || gpus=${SLURM_JOB_GPUS:-$gpus}
  # A session of its own: what is in it is told from what Slurm runs beside us.
  trap end_worker TERM
  gpus=$(echo "$gpus" | tr , ' ') setsid sh run.sh &
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

wait_for_gpus() {
  mkdir -p "$root/gpus"
  for name in $gpus; do : >> "$root/gpus/$name.lock"; done
  [ -z "$server" ] || start_launcher
  # First come, first served: only the head of the queue tries the GPUs.
  exec 4>> "$root/gpus/$queue.queue"
  flock 4
  while [ ! -f cancel ]; do
    sh run.sh lease "$need" '' "$(preferred)"
    [ $? -eq $NOT_FREE ] || exit 0
    # One GPU wakes us as soon as it is free.
    case "$gpus" in *\ *) sleep 0.2 ;; *) flock -w 0.2 "$root/gpus/$gpus.lock" true ;; esac
  done
}

# Lease $1 GPUs beside those held ($2, none before the last of them in $3), then work; all or
# nothing.
# The engine inherits the locks: they are free when the last process that uses them is dead.
lease() {
  [ "$1" -gt 0 ] || { take "$2"; exit 0; }
  last=${2##* }
  for name in $3; do
    [ -z "$last" ] || { [ "$name" = "$last" ] && last=; continue; }
    flock --nonblock --conflict-exit-code $NOT_FREE "$root/gpus/$name.lock" \
      sh run.sh lease $(($1 - 1)) "${2:+$2 }$name" "$3"
    [ $? -eq $NOT_FREE ] || exit 0
  done
  exit $NOT_FREE
}

# Whether a container of the last batch on GPU $1 still runs: it outlives a client that is killed.
occupied() {
  held=
  [ -s "$root/gpus/$1.holder" ] && read -r held rest < "$root/gpus/$1.holder"
  [ -n "$held" ] && left=$(containers "../$held") && [ -n "$left" ] || return 1
  [ -s "../$held/exit" ] || [ -f "../$held/cancel" ] || return 0
  # Docker was away when its batch ended: nobody waits for it any more.
  ! docker rm --force $left > /dev/null 2>&1
}

# Put what matters last. Docker's last words may be about its help; its first say what is wrong.
sum_up() {
  ! tail -n 1 log | grep -q 'docker run --help' ||
    { grep -m 1 -vi '^warning' log > docker.err && cat docker.err >> log; }
}

# Remove our container. What is left where Docker stays away is left to `occupied`.
remove_container() {
  tries=0
  until docker rm --force "$batch" > docker.err 2>&1 ||
    grep -qiE 'no such container|already in progress' docker.err; do
    [ $tries -lt 3 ] || { fault no-docker "$(head -n 1 docker.err)"; return; }
    sleep 1
    tries=$((tries + 1))
  done
}

# Ask something that is good to know, but that nothing may wait for.
ask() { timeout -k 2 10 "$@" < /dev/null 2>/dev/null; }

# Note what the machine, and its GPUs $1, say of themselves.
note_facts() {
  commit= digest=$image_name card=
  if [ -n "$image" ]; then
    digest=$(ask docker image inspect --format \
      '{{if .RepoDigests}}{{index .RepoDigests 0}}{{else}}{{.Id}}{{end}}' "$image")
  fi
  # Without a repository of its own it may be in somebody else's.
  if [ -n "$checkout" ] && [ -e "$checkout/.git" ]; then
    commit=$(ask_git rev-parse HEAD) || commit=
    [ -z "$commit" ] || [ -z "$(ask_git status --porcelain -uno | head -c 1)" ] ||
      commit="$commit-dirty"
  fi
  [ "$1" = cpu ] || card=$(ask nvidia-smi --query-gpu=name,driver_version --format=csv,noheader \
    -i "$(echo "$1" | tr ' ' ,)") || card=
  card=$(printf '%s\n' "$card" | head -n 1)
  {
    [ -z "$commit" ] || printf 'commit %s\n' "$commit"
    [ -z "$digest" ] || printf 'image %s\n' "$digest"
    case "$card" in *", "*)
      printf 'gpu_name %s\ndriver %s\n' "${card%, *}" "${card##*, }" ;;
    esac
    [ -z "$scheduler" ] || printf 'node %s\nslurm_job %s\n' "$SLURMD_NODENAME" \
      "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
  } | put facts
}

# The owner of a repository may be another than we; and we are not to lock its index.
ask_git() { ask git --no-optional-locks -c safe.directory='*' -C "$checkout" "$@"; }

# Use the leased GPUs $1, once nothing that others have left is on them.
take() {
  for name in $1; do
    ! occupied "$name" || { sleep 1; exit $NOT_FREE; }
  done
  set_slot "$1"
  make_room "$1" || { sleep 1; exit $NOT_FREE; }
  flock --unlock 4
  exec 4<&-
  [ -f cancel ] && exit 0
  for name in $1; do printf '%s %s\n' "$batch" "$client" | put "$root/gpus/$name.holder"; done
  work "$1"
}

work() {
  [ "$1" = cpu ] || printf '%s\n' "$1" | put gpu
  date +%s.%N | put started
  mkdir -p out
  [ ! -f "$asked" ] || { cp "$asked" asked.tmp && mv -f asked.tmp "out/$asked"; } ||
    rm -f asked.tmp
  note_facts "$1"
  if check; then
    began=$(date +%s)
    : >> log
    [ -z "$secrets" ] || chmod 600 log
    if [ -n "$server" ]; then
      engine_warm "$1"
    elif [ -n "$secrets" ]; then
      covered log engine "$1"
    else
      engine "$1" < /dev/null >> log 2>&1
      code=$?
    fi
    if [ -n "$image" ]; then
      sum_up
      [ -n "$server" ] || remove_container
    fi
    # The codes of `timeout`: an engine may fail by itself just before the limit.
    case "${limit:+$code}" in 124 | 137)
      [ $(($(date +%s) - began)) -lt "$limit" ] || fault "timeout $limit" ;;
    esac
  else
    code=127
  fi
  [ -f cancel ] || finish "$code"
}

# Run the function $2 on GPUs $3, its output covered line by line on the way to the log $1.
covered() {
  rm -f pipe
  mkfifo pipe || { code=1; return; }
  # Told to end, it still takes the engine's last words. When it fails nothing is written.
  { trap '' TERM HUP INT; lines | mask >> "$1"; cat > /dev/null; } < pipe &
  covering=$!
  exec 5> pipe
  rm -f pipe
  "$2" "$3" < /dev/null >&5 2>&1 5>&-
  code=$?
  exec 5>&-
  # What the engine has left behind may go on talking: it is not waited for.
  tries=0
  while birth $covering; [ -n "$born" ] && [ $tries -lt 50 ]; do
    sleep 0.1
    tries=$((tries + 1))
  done
}

# --- warm servers: who leases GPUs decides on the servers there, which lease nothing ---

# Set `slot` to the folder of the server of GPUs $1, the same in whatever order they are named.
set_slot() {
  slot=$(printf '%s\n' $1 | LC_ALL=C sort | tr '\n' -)
  slot="$root/warm/${slot%-}"
}

# Whether the server in folder $1 uses GPU $2.
uses() {
  [ -s "$1/gpus" ] && read -r taken < "$1/gpus" || return 1
  case " $taken " in *" $2 "*) return 0 ;; *) return 1 ;; esac
}

# Whether a server in folder $1 waits for batches whose key begins with $2.
waits() {
  [ ! -e "$1/ended" ] && [ ! -e "$1/next" ] && [ ! -e "$1/current" ] && [ -s "$1/key" ] || return 1
  read -r held < "$1/key"
  case "$held " in "$2 "*) return 0 ;; *) return 1 ;; esac
}

# Print the GPUs: first those where a server waits for us, and last those where another one is.
preferred() {
  ours= free= others=
  for name in $gpus; do
    state=free
    for there in "$root"/warm/*; do
      [ ! -e "$there/ended" ] && uses "$there" "$name" || continue
      state=others
      [ -z "$server" ] || ! waits "$there" "$server" || state=ours
    done
    case $state in
      ours) ours="$ours $name" ;;
      free) free="$free $name" ;;
      others) others="$others $name" ;;
    esac
  done
  echo $ours $free $others
}

# End the servers that use one of GPUs $1; only one that waits for us there stays.
make_room() {
  for there in "$root"/warm/*; do
    for name in $1; do
      uses "$there" "$name" || continue
      [ "$there" = "$slot" ] && [ -n "$server" ] && waits "$slot" "$server" && break
      end_server "$there" || return 1
      break
    done
  done
}

# End the server in folder $1, with all that it has left behind.
end_server() {
  # The first process of a container ignores TERM unless it is told otherwise.
  left=$(server_container "$1")
  [ -z "$left" ] || docker rm --force $left > /dev/null 2>&1
  if noted "$1/pid"; then
    stop_session TERM "${patience}0" || stop_session KILL 100 || return 1
  fi
  # Also one that was only made, or that has lost its client.
  tries=0 asked_docker=yes
  while left=$(server_container "$1" --all) || asked_docker=; [ -n "$left" ]; do
    [ $tries -lt 50 ] || return 1
    docker rm --force $left > /dev/null 2>&1
    sleep 0.1
    tries=$((tries + 1))
  done
  rm -f "$1/next" "$1/current" "$1/key" "$1/pid" "$1/ended"
  # Where Docker is away, whoever comes next asks for the container again.
  [ -z "$asked_docker" ] || rm -f "$1/gpus" "$1/container"
}

# Send signal $1 to session `pid`; wait until it is gone, for $2 tenths of a second.
stop_session() {
  tries=0
  while lives "$pid" "$born_then"; do
    [ "$1" = TERM ] && [ $tries -gt 0 ] || members "$pid" | xargs -r kill -s "$1" 2>/dev/null
    [ $tries -lt "$2" ] || return 1
    sleep 0.1
    tries=$((tries + 1))
  done
}

# What we start inherits our locks, and a server would keep them while it idles. So this process
# starts it that we leave behind before we lock anything; it ends when none of us is left.
start_launcher() {
  rm -f pipe
  mkfifo pipe || { finish 1; exit 1; }
  while read -r leased; do
    setsid sh run.sh serve "$leased" < /dev/null > /dev/null 2>&1 &
  done < pipe &
  exec 6> pipe
  rm -f pipe
}

# Start a server on GPUs $1 that finds our batch waiting.
start_server() {
  mkdir -p "$slot" || return 1
  : > "$slot/log" && chmod 600 "$slot/log"
  printf '%s\n' "$key" | put "$slot/key" && printf '%s\n' "$1" | put "$slot/gpus" || return 1
  if [ -n "$image" ]; then
    box=$(printf %s "$slot" | sha256sum | cut -c 1-16)
    printf '%s\n' "cosmos-jobs-$box" | put "$slot/container"
  fi
  printf '%s\n' "$folder" | put "$slot/next" || return 1
  printf '%s\n' "$1" >&6
  tries=0
  until [ -s "$slot/pid" ]; do
    [ $tries -lt 300 ] || return 1
    sleep 0.1
    tries=$((tries + 1))
  done
}

# Be the session of the server on GPUs $1, and say at last how it has ended.
keep_server() {
  set_slot "$1"
  cd "$slot" || exit 1
  birth $$
  printf '%s %s\n' "$$" "$born" | put pid || exit 1
  # Whoever cancels writes `cancel` and then looks for the pid: one of us sees the other.
  [ -f "$folder/cancel" ] && exit 1
  # Told to end, it still takes the exit code.
  trap : TERM HUP INT
  box=
  [ -s container ] && read -r box < container
  if [ -n "$secrets" ]; then
    covered log serve "$1"
  else
    serve "$1" < /dev/null >> log 2>&1
    code=$?
  fi
  printf '%s\n' "$code" | put ended
}

# Have the server on GPUs $1 work the batch: the one that waits there, or else a new one.
engine_warm() {
  # One that has loaded another version of the model's program is not the one that we want.
  key=$(echo $server $commit $digest) code=1
  printf '%s\n' "${slot##*/}" | put slot || return
  fresh=
  if waits "$slot" "$key" && server_lives "$slot"; then
    printf '%s\n' "$folder" | put "$slot/next" || return
  else
    fresh=yes
    renew_server "$1" || return
  fi
  until [ -s served ]; do
    [ ! -f cancel ] || return
    if [ -n "$limit" ] && [ $(($(date +%s) - began)) -ge "$limit" ]; then
      end_server "$slot"
      code=124
      return
    fi
    if server_lives "$slot" || [ -s served ]; then
      sleep 0.2
    elif [ -z "$fresh" ] && [ -e "$slot/next" ]; then
      # It ended, having been idle for long enough, just when we came.
      fresh=yes
      renew_server "$1" || return
    else
      take_down
      return
    fi
  done
  read -r code < served
  case "$code" in '' | *[!0-9]*) code=1 ;; esac
}

renew_server() {
  end_server "$slot" && start_server "$1" && return 0
  echo "no server could be started in $slot" >> log
  return 1
}

# Set `code` to how the server has ended that had our batch: killed, as far as nobody knows better.
take_down() {
  code=137
  [ ! -s "$slot/ended" ] || read -r code < "$slot/ended"
  # Whatever it thinks of itself, our batch is not done.
  [ "$code" != 0 ] || code=1
  # What it said before it took the batch is in its own log.
  [ ! -e "$slot/next" ] || tail -c 65536 "$slot/log" >> log
  end_server "$slot"
}

# Make lines of what draws over itself, as progress bars do: they are to be seen as they come.
lines() {
  if command -v stdbuf > /dev/null; then stdbuf -o0 tr '\r' '\n'; else cat; fi
}

# Cover what `secrets` names, letter by letter, so that places in the log stay the same.
mask() {
  interactive=
  # mawk waits for more than a line, and cuts long ones of its main input if it does not.
  ! awk -W version < /dev/null 2>&1 | grep -q mawk || interactive='-W interactive'
  LC_ALL=C awk $interactive -v names="$secrets" -v mawk="$interactive" '
    BEGIN {
      count = split(names, name, " ")
      for (i = 1; i <= count; i++) {
        parts = split(ENVIRON[name[i]], part, /[\r\n]+/)
        for (j = 1; j <= parts; j++) if (length(part[j]) > 3) {
          values++
          value[values] = stars[values] = part[j]
          gsub(/./, "*", stars[values])
        }
      }
      if (mawk) {
        while ((getline < "-") > 0) cover()
        exit
      }
    }
    { cover() }
    function cover() {
      shown = $0
      for (i = 1; i <= values; i++) {
        from = 1
        while (at = index(substr($0, from), value[i])) {
          at += from - 1
          shown = substr(shown, 1, at - 1) stars[i] substr(shown, at + length(value[i]))
          from = at + 1
        }
      }
      print shown
      fflush()
    }'
}

case "$1" in
  lease) lease "$2" "$3" "$4" ;;
  serve) keep_server "$2" ;;
  element) be_element ;;
  *) begin ;;
esac
