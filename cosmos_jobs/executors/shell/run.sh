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
  printf '%s %s\n' "$$" "$born" | put claim/pid || exit 1
  # Whoever cancels writes `cancel` and then looks for the pid: one of us sees the other.
  [ -f cancel ] && exit 1
  head -c 8192 /dev/zero > reserve
  for program in flock timeout ${secrets:+awk mkfifo}; do
    command -v $program > /dev/null || { fault "no-program $program"; finish 127; exit 1; }
  done
  hold_runs && wait_for_gpus
}

# Put the batch down for its runs. When another batch than its client knew of has one, refuse.
hold_runs() {
  mkdir -p "$root/runs" && : >> "$root/runs/.lock"
  exec 3< "$root/runs/.lock"
  flock 3
  others=
  while read -r run known; do
    held=
    [ -f "$root/runs/$run" ] && read -r held < "$root/runs/$run"
    case " $batch $known " in *" $held "*) ;; *) [ -z "$held" ] || others="$others $held" ;; esac
  done < runs
  if [ -n "$others" ]; then
    printf '%s\n' "$others" | put refused
    return 1
  fi
  while read -r run known; do
    printf '%s\n' "$batch" > "$root/runs/$run" || { fault disk-full; finish 1; return 1; }
  done < runs
  exec 3<&-
}

wait_for_gpus() {
  mkdir -p "$root/gpus"
  for name in $gpus; do : >> "$root/gpus/$name.lock"; done
  : >> "$root/gpus/$queue.queue"
  # First come, first served: only the head of the queue tries the GPUs.
  exec 4< "$root/gpus/$queue.queue"
  flock 4
  while [ ! -f cancel ]; do
    sh run.sh lease "$need"
    [ $? -eq $NOT_FREE ] || exit 0
    # One GPU wakes us as soon as it is free.
    case "$gpus" in *\ *) sleep 0.2 ;; *) flock -w 0.2 "$root/gpus/$gpus.lock" true ;; esac
  done
}

# Lease $1 GPUs beside those held ($2, none after the last of them), then work; all or nothing.
# The engine inherits the locks: they are free when the last process that uses them is dead.
lease() {
  [ "$1" -gt 0 ] || { work "$2"; exit 0; }
  last=${2##* }
  for name in $gpus; do
    [ -z "$last" ] || { [ "$name" = "$last" ] && last=; continue; }
    flock --nonblock --conflict-exit-code $NOT_FREE "$root/gpus/$name.lock" \
      sh run.sh lease $(($1 - 1)) "${2:+$2 }$name"
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

# Remove our container. What is left where Docker stays away is left to `occupied`.
remove_container() {
  # Docker's last words may be about its help; its first say what is wrong.
  ! tail -n 1 log | grep -q 'docker run --help' ||
    { grep -m 1 -vi '^warning' log > docker.err && cat docker.err >> log; }
  tries=0
  until docker rm --force "$batch" > docker.err 2>&1 ||
    grep -qiE 'no such container|already in progress' docker.err; do
    [ $tries -lt 3 ] || { fault no-docker "$(head -n 1 docker.err)"; return; }
    sleep 1
    tries=$((tries + 1))
  done
}

work() {
  for name in $1; do
    ! occupied "$name" || { sleep 1; exit $NOT_FREE; }
  done
  flock --unlock 4
  exec 4<&-
  [ -f cancel ] && exit 0
  for name in $1; do printf '%s %s\n' "$batch" "$client" | put "$root/gpus/$name.holder"; done
  [ "$1" = cpu ] || printf '%s\n' "$1" | put gpu
  date +%s.%N | put started
  mkdir -p out
  if check; then
    began=$(date +%s)
    : >> log
    if [ -z "$secrets" ]; then
      engine "$1" < /dev/null >> log 2>&1
      code=$?
    else
      chmod 600 log
      engine_covered "$1"
    fi
    [ -z "$image" ] || remove_container
    [ -z "$limit" ] || [ $(($(date +%s) - began)) -lt "$limit" ] || fault "timeout $limit"
  else
    code=127
  fi
  [ -f cancel ] || finish "$code"
}

# Run the engine on GPUs $1, its output covered line by line on the way to the log.
engine_covered() {
  rm -f pipe
  mkfifo pipe || { code=1; return; }
  # Told to end, it still takes the engine's last words. When it fails nothing is written.
  { trap '' TERM HUP INT; lines | mask >> log; cat > /dev/null; } < pipe &
  covering=$!
  exec 5> pipe
  rm -f pipe
  engine "$1" < /dev/null >&5 2>&1 5>&-
  code=$?
  exec 5>&-
  # What the engine has left behind may go on talking: it is not waited for.
  tries=0
  while birth $covering; [ -n "$born" ] && [ $tries -lt 50 ]; do
    sleep 0.1
    tries=$((tries + 1))
  done
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
  lease) lease "$2" "$3" ;;
  *) begin ;;
esac
