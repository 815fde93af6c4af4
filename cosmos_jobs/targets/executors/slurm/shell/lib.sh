# Shared by the scripts below. An array has a folder `arrays/<its id>/`: `batches` are its elements
# in their order, `array.sh` is what sbatch was given, and `job` the number that it gave back. The
# id is also the job's name, so that one whose number was lost is found again.

# Wait until nobody else submits or cancels here.
lock_arrays() {
  mkdir -p "$arrays_dir" "$batches_dir" || exit 1
  # For writing: NFS locks no other.
  exec 9>> "$arrays_dir/$dot_lock"
  flock --wait 30 9 || { echo "somebody else is submitting" >&2; exit 75; }
}

# Ask a program of Slurm; what it answers, or why it does not, is in `said`.
ask() { said=$(timeout --kill-after=5 "$patience" "$@" 2>&1); }

# Set `array` and `index` to the place of batch $1 among all elements, `job` to its array's number.
place() {
  array= index= job=
  [ -s "$1/$its_array" ] && read -r array index < "$1/$its_array"
  given=$arrays_dir/$array/$its_job
  [ -n "$array" ] && [ -s "$given" ] && read -r job < "$given"
}

# Note the numbers of the arrays in $1, divided by commas, that Slurm knows though we do not.
find_jobs() {
  [ -n "$1" ] || return 0
  ask squeue --noheader --name="$1" --format='%j %F' || { echo "$said" >&2; exit 75; }
  printf '%s\n' "$said" | note_jobs
}

# Note the numbers of arrays that have none yet; each line on standard input has a name and one.
note_jobs() {
  sort -u | while read -r name number; do
    [ -z "$number" ] || [ ! -d "$arrays_dir/$name" ] || [ -s "$arrays_dir/$name/$its_job" ] ||
      echo "$number" | put "$arrays_dir/$name/$its_job"
  done
}
