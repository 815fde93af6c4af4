# End `batches`: an element that waits leaves the queue, one that runs is ended by Slurm. One that
# others need too is left to them; it is printed, and we need it no more.

lock_arrays
cd "$root/batches" || exit 1
ours=
unknown=
for batch in $batches; do
  if shared "$batch"; then
    echo "shared $batch"
    continue
  fi
  mkdir -p "$batch" || exit 1
  # Who begins it makes `claim` and writes its pid: one of us is the first.
  [ -z "$kill" ] || : > "$batch/cancel" || exit 1
  if mkdir "$batch/claim" 2>/dev/null; then
    : > "$batch/cancel"
  elif [ -z "$kill" ] || [ -s "$batch/exit" ]; then
    continue
  fi
  place "$batch"
  [ -n "$array" ] || continue
  ours="$ours $batch"
  [ -n "$job" ] || unknown="${unknown:+$unknown,}$array"
done
find_jobs "$unknown"
exec 9<&-

names=
elements=
for batch in $ours; do
  place "$batch"
  [ -n "$job" ] || continue
  elements="$elements ${job}_$index"
  case ",$names," in *",$array,"*) ;; *) names="${names:+$names,}$array" ;; esac
done
[ -n "$elements" ] || exit 0
# By name as well: a controller that was killed may give a number twice. What has ended meanwhile
# is an error to scancel, and none to us: what is left is seen below.
words=
for name in $(echo "$names" | tr , ' '); do
  read -r job < "$root/arrays/$name/job"
  words=$words$(printf '%s\n' $elements | grep "^${job}_" |
    xargs -n 500 timeout --kill-after=5 "$patience" scancel --name="$name" 2>&1 |
    grep -v 'Invalid job id\|already completing or completed')
done
tries=0
while [ $tries -lt "$grace" ]; do
  left=
  if ask squeue --noheader --array --name="$names" --format='%F_%K'; then
    for element in $said; do
      case " $elements " in *" $element "*) left="$left $element" ;; esac
    done
    [ -n "$left" ] || exit 0
  else
    left=unknown words=$said
  fi
  sleep 1
  tries=$((tries + 1))
done
echo "${words:-still there: $left}" >&2
exit 75
