# End `batches`: one that waits never starts, one that runs is killed with all that it started.
# One that others need too is left to them; it is printed, and we need it no more.

mkdir -p "$batches_dir" && cd "$batches_dir" || exit 1

# Whether the process in file $1 lives, or one that it has left; `left` are such files.
alive() { noted "$1" && lives "$pid" "$born_then"; }

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

end_what_is_left() {
  signal TERM
  wait_for_end "${grace}0"
  signal KILL
  wait_for_end 50
}

# Set `slot` to the folder of the server that has batch $1, if one has.
serves() {
  slot=
  [ -s "$1/$its_slot" ] && read -r slot < "$1/$its_slot" && slot="$warm_dir/$slot"
  [ -n "$slot" ] && has_batch "$slot" "$batches_dir/$1"
}

# Remove the container of the server that has batch $1, with `--all` also one about to run.
remove_server() {
  serves "$1" && found=$(server_container "$slot" $2) && [ -n "$found" ] && serves "$1" &&
    docker rm --force $found > /dev/null 2>&1
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
  [ -z "$kill" ] || : > "$batch/$its_cancel" || exit 1
  if mkdir "$batch/$its_claim" 2>/dev/null; then
    : > "$batch/$its_cancel"
  elif [ -n "$kill" ]; then
    left="$left $batch/$its_claim/$its_pid"
  fi
done
[ -n "$kill" ] || exit 0
end_what_is_left
# Nobody hands these batches over any more. Who has the GPUs next may be ending a server too, and
# may then start another in its place: what we note is only true when both looks say the same.
for batch in $ours; do
  remove_server "$batch"
  serves "$batch" && cp "$slot/$its_pid" "$batch/$its_server" 2>/dev/null && serves "$batch" &&
    left="$left $batch/$its_server"
done
end_what_is_left
for batch in $ours; do
  containers "$batch" --all | xargs -r docker rm --force > /dev/null
  remove_server "$batch" --all
done
[ -z "$left" ] || { echo "still alive:$left" >&2; exit 1; }
