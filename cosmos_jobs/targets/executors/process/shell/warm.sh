# Warm servers: who leases GPUs decides on the servers there, which lease nothing. Each has a folder
# `warm/<its GPUs>`.

# Set `slot` to the folder of the server of GPUs $1, the same in whatever order they are named.
set_slot() {
  slot=$(printf '%s\n' $1 | LC_ALL=C sort | tr '\n' -)
  slot="$warm_dir/${slot%-}"
}

# Whether the server in folder $1 uses GPU $2.
uses() {
  [ -s "$1/$its_gpus" ] && read -r taken < "$1/$its_gpus" || return 1
  case " $taken " in *" $2 "*) return 0 ;; *) return 1 ;; esac
}

# Whether a server in folder $1 waits for batches whose key begins with $2.
waits() {
  [ ! -e "$1/$its_ended" ] && [ ! -e "$1/$its_next" ] && [ ! -e "$1/$its_current" ] || return 1
  [ -s "$1/$its_key" ] || return 1
  read -r held < "$1/$its_key"
  case "$held " in "$2 "*) return 0 ;; *) return 1 ;; esac
}

# Print the GPUs: first those where a server waits for us, and last those where another one is.
preferred() {
  ours= free= others=
  for name in $gpus; do
    state=free
    for there in "$warm_dir"/*; do
      [ ! -e "$there/$its_ended" ] && uses "$there" "$name" || continue
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
  for there in "$warm_dir"/*; do
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
  if noted "$1/$its_pid"; then
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
  rm -f "$1/$its_next" "$1/$its_current" "$1/$its_key" "$1/$its_pid" "$1/$its_ended"
  # Where Docker is away, whoever comes next asks for the container again.
  [ -z "$asked_docker" ] || rm -f "$1/$its_gpus" "$1/$its_container"
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
  rm -f $its_pipe
  mkfifo $its_pipe || { finish 1; exit 1; }
  while read -r leased; do
    setsid sh $its_script keep_server "$leased" < /dev/null > /dev/null 2>&1 &
  done < $its_pipe &
  exec 6> $its_pipe
  rm -f $its_pipe
}

# Start a server on GPUs $1 that finds our batch waiting.
start_server() {
  mkdir -p "$slot" || return 1
  : > "$slot/$its_log" && chmod 600 "$slot/$its_log"
  printf '%s\n' "$key" | put "$slot/$its_key" || return 1
  printf '%s\n' "$1" | put "$slot/$its_gpus" || return 1
  if [ -n "$image" ]; then
    box=$(printf %s "$slot" | sha256sum | cut -c 1-16)
    printf '%s\n' "cosmos-jobs-$box" | put "$slot/$its_container"
  fi
  printf '%s\n' "$folder" | put "$slot/$its_next" || return 1
  printf '%s\n' "$1" >&6
  tries=0
  until [ -s "$slot/$its_pid" ]; do
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
  printf '%s %s\n' "$$" "$born" | put $its_pid || exit 1
  # Whoever cancels writes `cancel` and then looks for the pid: one of us sees the other.
  [ -f "$folder/$its_cancel" ] && exit 1
  # Told to end, it still takes the exit code.
  trap : TERM HUP INT
  box=
  [ -s $its_container ] && read -r box < $its_container
  if [ -n "$secrets" ]; then
    covered $its_log serve "$1"
  else
    serve "$1" < /dev/null >> $its_log 2>&1
    code=$?
  fi
  printf '%s\n' "$code" | put $its_ended
}

# Have the server on GPUs $1 work the batch: the one that waits there, or else a new one.
engine_warm() {
  # One that has loaded another version of the model's program is not the one that we want.
  key=$(echo $server $commit $digest) code=1
  printf '%s\n' "${slot##*/}" | put $its_slot || return
  fresh=
  if waits "$slot" "$key" && server_lives "$slot"; then
    printf '%s\n' "$folder" | put "$slot/$its_next" || return
  else
    fresh=yes
    renew_server "$1" || return
  fi
  until [ -s $its_served ]; do
    [ ! -f $its_cancel ] || return
    if [ -n "$limit" ] && [ $(($(date +%s) - began)) -ge "$limit" ]; then
      end_server "$slot"
      code=124
      return
    fi
    if server_lives "$slot" || [ -s $its_served ]; then
      sleep 0.2
    elif [ -z "$fresh" ] && [ -e "$slot/$its_next" ]; then
      # It ended, having been idle for long enough, just when we came.
      fresh=yes
      renew_server "$1" || return
    else
      take_down
      return
    fi
  done
  read -r code < $its_served
  case "$code" in '' | *[!0-9]*) code=1 ;; esac
}

renew_server() {
  end_server "$slot" && start_server "$1" && return 0
  echo "no server could be started in $slot" >> $its_log
  return 1
}

# Set `code` to how the server has ended that had our batch: killed, as far as nobody knows better.
take_down() {
  code=137
  [ ! -s "$slot/$its_ended" ] || read -r code < "$slot/$its_ended"
  # Whatever it thinks of itself, our batch is not done.
  [ "$code" != 0 ] || code=1
  # What it said before it took the batch is in its own log.
  [ ! -e "$slot/$its_next" ] || tail -c 65536 "$slot/$its_log" >> $its_log
  end_server "$slot"
}
