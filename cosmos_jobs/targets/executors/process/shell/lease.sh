# A batch as a process of this machine: it waits for GPUs, and holds them as long as it uses them.

NOT_FREE=99

note_claim() { :; }

own_facts() { :; }

begin_work() {
  hold_runs
  case $? in
    0) wait_for_gpus ;;
    2) fault disk-full; finish 1 ;;
  esac
}

wait_for_gpus() {
  mkdir -p "$gpus_dir"
  for name in $gpus; do : >> "$gpus_dir/$name$dot_lock"; done
  [ -z "$server" ] || start_launcher
  # First come, first served: only the head of the queue tries the GPUs.
  exec 4>> "$gpus_dir/$queue$dot_queue"
  flock 4
  while [ ! -f $its_cancel ]; do
    sh $its_script lease "$need" '' "$(preferred)"
    [ $? -eq $NOT_FREE ] || exit 0
    # One GPU wakes us as soon as it is free.
    case "$gpus" in *\ *) sleep 0.2 ;; *) flock -w 0.2 "$gpus_dir/$gpus$dot_lock" true ;; esac
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
    flock --nonblock --conflict-exit-code $NOT_FREE "$gpus_dir/$name$dot_lock" \
      sh $its_script lease $(($1 - 1)) "${2:+$2 }$name" "$3"
    [ $? -eq $NOT_FREE ] || exit 0
  done
  exit $NOT_FREE
}

# Whether a container of the last batch on GPU $1 still runs: it outlives a client that is killed.
occupied() {
  held=
  [ -s "$gpus_dir/$1$dot_holder" ] && read -r held rest < "$gpus_dir/$1$dot_holder"
  [ -n "$held" ] && left=$(containers "../$held") && [ -n "$left" ] || return 1
  [ -s "../$held/$its_exit" ] || [ -f "../$held/$its_cancel" ] || return 0
  # Docker was away when its batch ended: nobody waits for it any more.
  ! docker rm --force $left > /dev/null 2>&1
}

# Use the leased GPUs $1, once nothing that others have left is on them.
take() {
  for name in $1; do
    ! occupied "$name" || { sleep 1; exit $NOT_FREE; }
  done
  set_slot "$1"
  make_room "$1" || { sleep 1; exit $NOT_FREE; }
  flock --unlock 4
  exec 4<&-
  [ -f $its_cancel ] && exit 0
  for name in $1; do printf '%s %s\n' "$batch" "$client" | put "$gpus_dir/$name$dot_holder"; done
  work "$1"
}
