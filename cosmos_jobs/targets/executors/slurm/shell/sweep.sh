# Whether the array of batch $1 is one of those that Slurm still has to do with, all of `queued`.
judge() {
  place "$1"
  life=gone
  [ -n "$array" ] && case " $queued " in *" $array "*) life=running ;; esac
}

[ ! -d "$arrays_dir" ] || ask squeue --noheader --format=%j || { echo "$said" >&2; exit 75; }
queued=$(echo $(printf '%s\n' "${said:-}" | grep '^ca_' | sort -u))
