# Run once, as a session of its own, in the batch's folder: claim the batch, wait for GPUs, run the
# engine, and write `exit` last. Started twice, the second does nothing.
#
# What is the executor's own is in a part of its own: `note_claim`, `begin_work`, which calls `work`
# with GPUs, and `own_facts`.

cd "$folder" || exit 1

fault() { printf '%s\n' "$*" | put $its_fault; }

finish() {
  # What was set aside for these last lines on a full disk.
  rm -f $its_reserve
  [ "$(df -Pk . | awk 'NR == 2 { print $4 }')" -ge 1024 ] || fault disk-full
  # Whoever reads `exit` may rely on the rest, also after a power cut.
  [ ! -d $its_out ] || find $its_out -type f -exec sync -d {} +
  last=$its_exit$dot_temporary
  printf '%s %s\n' "$1" "$(date +%s.%N)" > $last && sync -d $last && mv -f $last $its_exit
}

begin() {
  mkdir $its_claim 2>/dev/null || exit 0
  birth $$
  note_claim
  printf '%s %s\n' "$$" "$born" | put $its_claim/$its_pid || exit 1
  # Whoever cancels writes `cancel` and then looks for the pid: one of us sees the other.
  [ -f $its_cancel ] && exit 1
  head -c 8192 /dev/zero > $its_reserve
  for program in flock timeout ${secrets:+awk mkfifo} ${server:+mkfifo setsid}; do
    command -v $program > /dev/null || { fault "no-program $program"; finish 127; exit 1; }
  done
  begin_work
}

# Put what matters last. Docker's last words may be about its help; its first say what is wrong.
sum_up() {
  ! tail -n 1 $its_log | grep -q 'docker run --help' ||
    { grep -m 1 -vi '^warning' $its_log > $its_docker && cat $its_docker >> $its_log; }
}

# Remove our container. What is left where Docker stays away is left to whoever has the GPUs next.
remove_container() {
  tries=0
  until docker rm --force "$batch" > $its_docker 2>&1 ||
    grep -qiE 'no such container|already in progress' $its_docker; do
    [ $tries -lt 3 ] || { fault no-docker "$(head -n 1 $its_docker)"; return; }
    sleep 1
    tries=$((tries + 1))
  done
}

# Run the engine on GPUs $1, and say how it has ended.
work() {
  [ "$1" = cpu ] || printf '%s\n' "$1" | put $its_gpu
  date +%s.%N | put $its_started
  mkdir -p $its_out
  copy=$asked$dot_temporary
  [ ! -f "$asked" ] || { cp "$asked" "$copy" && mv -f "$copy" "$its_out/$asked"; } || rm -f "$copy"
  note_facts "$1"
  if check; then
    began=$(date +%s)
    : >> $its_log
    [ -z "$secrets" ] || chmod 600 $its_log
    if [ -n "$server" ]; then
      engine_warm "$1"
    elif [ -n "$secrets" ]; then
      covered $its_log engine "$1"
    else
      engine "$1" < /dev/null >> $its_log 2>&1
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
  [ -f $its_cancel ] || finish "$code"
}

if [ $# -gt 0 ]; then "$@"; else begin; fi
