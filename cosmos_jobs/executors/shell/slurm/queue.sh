# Say what Slurm knows of the arrays of `batches`: of those that it still has to do with, or with
# `history` of those that it is done with, `arrays` and their `jobs`. It is asked before any file
# is read, so that what ends in between is seen to have ended.

cd "$root/batches" 2>/dev/null || exit 0
case "$query" in
  queue)
    names=
    for batch in $batches; do
      place "$batch"
      case ",$names," in *",$array,"*) continue ;; esac
      [ -z "$array" ] || [ -s "$batch/exit" ] || names="${names:+$names,}$array"
    done
    if [ -n "$names" ]; then
      ask squeue --noheader --array --name="$names" --format='%j|%K|%F|%T|%r' &&
        printf '%s\n' "$said" | sed 's/^/queue /' && echo answered || echo "silent $said"
    fi ;;
  sacct)
    ask sacct --noheader --parsable2 --allocations --allusers --jobs="$jobs" \
      --format=JobName,JobID,State,ExitCode && printf '%s\n' "$said" | sed 's/^/sacct /' &&
      echo answered || echo "silent $said" ;;
  scontrol)
    for job in $(echo "$jobs" | tr , ' '); do
      if ask scontrol --oneliner show job "$job"; then
        printf '%s\n' "$said" | sed 's/^/scontrol /'
      else
        case "$said" in *"Invalid job id"*) ;; *) echo "silent $said"; query= ;; esac
      fi
    done
    [ -z "$query" ] || echo answered ;;
esac
