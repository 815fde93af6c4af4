# End `batches`: one that waits never starts, one that runs is killed with all that it started.
# One that others need too is left to them; it is printed, and we need it no more.

mkdir -p "$root/batches" && cd "$root/batches" || exit 1

alive() {
  pid= born_then=
  [ -f "$1/claim/pid" ] && read -r pid born_then < "$1/claim/pid"
  [ -n "$pid" ] && [ "$pid" -gt 1 ] && lives "$pid" "$born_then"
}

signal() {
  for each in $left; do
    alive "$each" && members "$pid" | xargs -r kill -s "$1" 2>/dev/null
  done
}

wait_for_end() {
  tries=0
  while [ $tries -lt "$1" ]; do
    still=
    for each in $left; do alive "$each" && still="$still $each"; done
    left=$still
    [ -n "$left" ] || return 0
    sleep 0.1
    tries=$((tries + 1))
  done
}

# Whether others need batch $1, which has not ended; then our own mark goes.
shared() {
  [ ! -s "$1/exit" ] && [ ! -s "$1/refused" ] || return 1
  # Taken away before we look: when two let go of it at once, the later one sees no mark.
  mv -f "$1/needed/$owner" "$1/needed/.$owner" 2>/dev/null
  for mark in "$1"/needed/*; do
    [ -e "$mark" ] && rm -f "$1/needed/.$owner" && return 0
  done
  mv -f "$1/needed/.$owner" "$1/needed/$owner" 2>/dev/null
  return 1
}

left=
ours=
for batch in $batches; do
  if shared "$batch"; then
    echo "shared $batch"
    continue
  fi
  ours="$ours $batch"
  mkdir -p "$batch" || exit 1
  # run.sh writes its pid and then looks for `cancel`: one of us sees the other.
  [ -z "$kill" ] || : > "$batch/cancel" || exit 1
  if mkdir "$batch/claim" 2>/dev/null; then
    : > "$batch/cancel"
  elif [ -n "$kill" ]; then
    left="$left $batch"
  fi
done
[ -n "$kill" ] || exit 0
signal TERM
wait_for_end "${grace}0"
signal KILL
wait_for_end 50
for batch in $ours; do
  containers "$batch" --all | xargs -r docker rm --force > /dev/null
done
[ -z "$left" ] || { echo "still alive:$left" >&2; exit 1; }
