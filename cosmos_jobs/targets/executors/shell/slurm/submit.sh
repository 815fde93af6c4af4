# Hand `batches` to Slurm as elements of one array, `name`: each has its folder by then, whole, and
# is put down for its runs. What was submitted before is not submitted again.

lock_arrays
here="$root/arrays/$name"
rm -rf "$root/arrays/.$name"
mkdir "$root/arrays/.$name" && cd "$root/arrays/.$name" || exit 1
unpack | tar --no-same-owner -xzf - || exit 1
lacking=
for batch in $batches; do
  [ -e "$root/batches/$batch" ] || lacking="$lacking $batch"
done
[ -z "$lacking" ] || mv -t "$root/batches" $lacking || exit 1
cd "$root/batches" && rm -rf "$root/arrays/.$name" || exit 1

# Whoever was cut between sbatch and its answer has left no number.
unknown=
for batch in $batches; do
  place "$batch"
  case ",$unknown," in *",$array,"*) continue ;; esac
  [ -z "$array" ] || [ -n "$job" ] || unknown="${unknown:+$unknown,}$array"
done
find_jobs "$unknown"

elements=
for batch in $batches; do
  [ -f "$batch/needed/$owner" ] ||
    { mkdir -p "$batch/needed" && : > "$batch/needed/$owner"; } || exit 1
  place "$batch"
  [ -z "$job" ] && [ ! -d "$batch/claim" ] && [ ! -s "$batch/refused" ] || continue
  (cd "$batch" && hold_runs)
  case $? in 0) elements="$elements $batch" ;; 2) exit 1 ;; esac
done
[ -n "$elements" ] || exit 0

mkdir -p "$here" || exit 1
number=0
for batch in $elements; do
  echo "$name $number" > "$batch/array" || exit 1
  number=$((number + 1))
done
printf '%s\n' $elements | put "$here/batches" &&
  array_script | sed "s/^#SBATCH --array=0-[0-9]*/#SBATCH --array=0-$((number - 1))/" |
  put "$here/array.sh" || exit 1
cd "$here" || exit 1
rm -f job
if ! ask sbatch --parsable array.sh; then
  echo "$said" >&2
  exit 75
fi
# It may greet us first; behind a semicolon it names the cluster.
number=$(printf '%s\n' "$said" | sed -n '$s/^\([0-9][0-9]*\).*/\1/p')
[ -n "$number" ] || { echo "sbatch gave no number back: $said" >&2; exit 1; }
echo "$number" | put job
