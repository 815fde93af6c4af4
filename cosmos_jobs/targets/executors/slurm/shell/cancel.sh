# End `batches`: an element that waits leaves the queue, one that runs is ended by Slurm. One that
# others need too is left to them; it is printed, and we need it no more.

lock_arrays
cd "$batches_dir" || exit 1
ours=
unknown=
for batch in $batches; do
  if shared "$batch"; then
    echo "shared $batch"
    continue
  fi
  mkdir -p "$batch" || exit 1
  # Who begins it makes `claim` and writes its pid: one of us is the first.
  [ -z "$kill" ] || : > "$batch/$its_cancel" || exit 1
  if mkdir "$batch/$its_claim" 2>/dev/null; then
    : > "$batch/$its_cancel"
  elif [ -z "$kill" ] || [ -s "$batch/$its_exit" ]; then
    continue
  fi
  place "$batch"
  [ -n "$array" ] || continue
  ours="$ours $batch"
  [ -n "$job" ] || unknown="${unknown:+$unknown,}$array"
done
exec 9<&-
find_jobs "$unknown"

names=
elements=
for batch in $ours; do
  place "$batch"
  [ -n "$job" ] || continue
  elements="$elements ${job}_$index"
  case ",$names," in *",$array,"*) ;; *) names="${names:+$names,}$array" ;; esac
done
[ -n "$elements" ] || exit 0

# Ask Slurm to end what is `left` of our elements. By name as well: a controller that was killed may
# give a number twice. What has ended meanwhile is an error to scancel, and none to us.
end_left() {
  for name in $(echo "$names" | tr , ' '); do
    read -r job < "$arrays_dir/$name/$its_job"
    printf '%s\n' $left | grep "^${job}_" |
      xargs -r -n 500 timeout --kill-after=5 "$patience" scancel --name="$name" 2>&1 |
      grep -v 'Invalid job id\|already completing or completed'
  done
}

left=$elements
said_last=$(end_left)
begun=$(date +%s) asked=$begun
while [ $(($(date +%s) - begun)) -lt "$grace" ]; do
  if ask squeue --noheader --array --name="$names" --format='%F_%K'; then
    listed=$said left= said=
    for element in $listed; do
      case " $elements " in *" $element "*) left="$left $element" ;; esac
    done
    [ -n "$left" ] || exit 0
  else
    said_last=$said
  fi
  sleep 1
  # It may have been away, or slow: it takes longer than that to end a job only now and then.
  [ $(($(date +%s) - asked)) -lt 15 ] || { said_last=$(end_left) asked=$(date +%s); }
done
echo "${said_last:-still there:$left}" >&2
exit 75
