# Say what Slurm knows of the arrays of `batches`: of those that it still has to do with, or with
# another `query` of those that it is done with, by their `jobs`. It is asked before any file is
# read, so that what ends in between is seen to have ended.

cd "$batches_dir" 2>/dev/null || exit 0

# Print an answer line by line behind the word $1.
tell() { printf '%s\n' "$said" | sed "s/^/$1 /"; }

case "$query" in
  queue)
    names= unknown=
    for batch in $batches; do
      place "$batch"
      case ",$names," in *",$array,"*) continue ;; esac
      [ -n "$array" ] && [ ! -s "$batch/$its_exit" ] || continue
      names="${names:+$names,}$array"
      [ -n "$job" ] || unknown=yes
    done
    fields='Name:|,ArrayTaskID:|,ArrayJobID:|,State:|,RestartCnt:|,Reason:|'
    if [ -z "$names" ] || ask squeue --noheader --array --name="$names" --Format="$fields"; then
      [ -z "$names" ] || tell queue
      [ -z "$unknown" ] || printf '%s\n' "$said" | cut -d '|' -f 1,3 | tr '|' ' ' | note_jobs
      echo answered
    else
      echo "silent $said"
    fi ;;
  sacct)
    date '+now %Y-%m-%dT%H:%M:%S'
    if ask sacct --noheader --parsable2 --allocations --allusers --jobs="$jobs" \
      --format=JobName,JobID,State,ExitCode,End; then
      tell sacct
      echo answered
    else
      echo "silent $said"
    fi ;;
  scontrol)
    date '+now %Y-%m-%dT%H:%M:%S'
    for job in $(echo "$jobs" | tr , ' '); do
      if ask scontrol --oneliner show job "$job"; then
        tell scontrol
      else
        # One that is forgotten is an answer, too.
        case "$said" in *"Invalid job id"* | *"not found"*) ;; *) query=; break ;; esac
      fi
    done
    [ -n "$query" ] && echo answered || echo "silent $said" ;;
esac
