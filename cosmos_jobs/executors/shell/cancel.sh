# End `batches`: one that waits never starts, one that runs is killed with all that it started.

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

left=
for batch in $batches; do
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
for batch in $batches; do
  containers "$batch" --all | xargs -r docker rm --force > /dev/null
done
[ -z "$left" ] || { echo "still alive:$left" >&2; exit 1; }
