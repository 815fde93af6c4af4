# Shared by the scripts below: files that are whole, and which processes live (proc(5)).

put() { cat > "$1$dot_temporary" && mv -f "$1$dot_temporary" "$1"; }

boot=
read -r boot < /proc/sys/kernel/random/boot_id

# Set `born` to what tells process $1 from every other one; empty when it is dead or a zombie.
birth() {
  born=
  { read -r stat_line < "/proc/$1/stat"; } 2>/dev/null || return 0
  # The name, in parentheses, may hold spaces.
  set -- ${stat_line##*) }
  [ "$1" = Z ] && return 0
  shift 19
  born="$1@$boot"
}

# Print the processes of session $1 that are not dead.
members() {
  for stat_file in /proc/[0-9]*/stat; do
    { read -r stat_line < "$stat_file"; } 2>/dev/null || continue
    set -- "$1" ${stat_line##*) }
    [ "$5" = "$1" ] && [ "$2" != Z ] && stat_file=${stat_file%/stat} && echo "${stat_file#/proc/}"
  done
  return 0
}

# Whether the session of process $1, born as $2, is at work: that process, or one it has left.
# A session's number is not given to another process while any member lives.
lives() {
  [ -n "$2" ] || return 1
  birth "$1"
  [ "$born" = "$2" ] && return 0
  [ -z "$born" ] && [ "${2##*@}" = "$boot" ] || return 1
  [ -n "$(members "$1")" ]
}

# Put the batch in this folder down for its runs. When another batch than its client knew of has
# one, refuse: 1; 2 when it cannot be written down.
hold_runs() {
  mkdir -p "$runs_dir" || return 2
  # For writing: NFS locks no other.
  exec 3>> "$runs_dir/$dot_lock"
  flock 3 || return 2
  others=
  while read -r run known; do
    held=
    [ -f "$runs_dir/$run" ] && read -r held < "$runs_dir/$run"
    case " $batch $known " in *" $held "*) ;; *) [ -z "$held" ] || others="$others $held" ;; esac
  done < $its_runs
  if [ -n "$others" ]; then
    printf '%s\n' "$others" | put $its_refused
    return 1
  fi
  while read -r run known; do
    printf '%s\n' "$batch" > "$runs_dir/$run" || return 2
  done < $its_runs
  exec 3<&-
}

# Whether others need batch $1, which has not ended; then our own mark goes.
shared() {
  [ ! -s "$1/$its_exit" ] && [ ! -s "$1/$its_refused" ] || return 1
  # Taken away before we look: when two let go of it at once, the later one sees no mark.
  mv -f "$1/$its_needed/$owner" "$1/$its_needed/.$owner" 2>/dev/null
  for mark in "$1/$its_needed"/*; do
    [ -e "$mark" ] && rm -f "$1/$its_needed/.$owner" && return 0
  done
  mv -f "$1/$its_needed/.$owner" "$1/$its_needed/$owner" 2>/dev/null
  return 1
}

# Print the containers of the batch in folder $1 that run, with `--all` also those about to; a
# client that was killed may have left one.
containers() {
  [ -f "$1/$its_container" ] &&
    docker ps --quiet $2 --filter "label=cosmos-jobs.batch=${1##*/}" 2>/dev/null
}

# Set `pid` and `born_then` to what file $1 says of a process; fail when it says nothing.
noted() {
  pid= born_then=
  [ -s "$1" ] && read -r pid born_then < "$1"
  [ -n "$pid" ] && [ "$pid" -gt 1 ]
}

# --- warm servers, each in a folder `warm/<its GPUs>` ---

# Whether the server in folder $1 works the batch in folder $2, or is about to take it.
has_batch() {
  # In this order: it renames one to the other.
  for hand in $its_next $its_current; do
    [ -f "$1/$hand" ] && [ "$(cat "$1/$hand" 2>/dev/null)" = "$2" ] && return 0
  done
  return 1
}

# Print the container of the server in folder $1 if it runs, with `--all` also one about to.
server_container() {
  box=
  [ -s "$1/$its_container" ] && read -r box < "$1/$its_container"
  [ -z "$box" ] || docker ps --quiet --no-trunc $2 --filter "name=^/?$box\$" 2>/dev/null
}

server_lives() {
  noted "$1/$its_pid" && lives "$pid" "$born_then" && return 0
  [ -n "$(server_container "$1")" ]
}
