# Hand `batches` to Slurm as elements of one array, `name`: each has its folder by then, whole, and
# is put down for its runs. What was submitted before is not submitted again.

lock_arrays
here="$arrays_dir/$name"
rm -rf "$arrays_dir/.$name"
mkdir "$arrays_dir/.$name" && cd "$arrays_dir/.$name" || exit 1
unpack | tar --no-same-owner -xzf - || exit 1
lacking=
for batch in $batches; do
  [ -e "$batches_dir/$batch" ] || lacking="$lacking $batch"
done
[ -z "$lacking" ] || mv -t "$batches_dir" $lacking || exit 1
cd "$batches_dir" && rm -rf "$arrays_dir/.$name" || exit 1

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
  [ -f "$batch/$its_needed/$owner" ] ||
    { mkdir -p "$batch/$its_needed" && : > "$batch/$its_needed/$owner"; } || exit 1
  place "$batch"
  [ -z "$job" ] && [ ! -d "$batch/$its_claim" ] && [ ! -s "$batch/$its_refused" ] || continue
  (cd "$batch" && hold_runs)
  case $? in 0) elements="$elements $batch" ;; 2) exit 1 ;; esac
done
[ -n "$elements" ] || exit 0

mkdir -p "$here" || exit 1
number=0
for batch in $elements; do
  echo "$name $number" > "$batch/$its_array" || exit 1
  number=$((number + 1))
done
printf '%s\n' $elements | put "$here/$its_members" &&
  array_script | sed "s/^#SBATCH --array=0-[0-9]*/#SBATCH --array=0-$((number - 1))/" |
  put "$here/$its_array_script" || exit 1
cd "$here" || exit 1
rm -f $its_job
if ! ask sbatch --parsable $its_array_script; then
  echo "$said" >&2
  exit 75
fi
# It may greet us first; behind a semicolon it names the cluster.
number=$(printf '%s\n' "$said" | sed -n '$s/^\([0-9][0-9]*\).*/\1/p')
[ -n "$number" ] || { echo "sbatch gave no number back: $said" >&2; exit 1; }
echo "$number" | put $its_job
