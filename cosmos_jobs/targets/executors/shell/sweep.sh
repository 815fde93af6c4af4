# Say which batches, inputs and folders of dead servers nobody needs any more, each with its bytes;
# with `delete` they go.
# Only what has a name of ours is looked at, and nothing is followed out of its folder.

MIN_AGE=60 # minutes: an input may have been brought for a batch that is about to come
OLD=10080  # minutes, a week: control maps are only computed anew
cd "$batches_dir" 2>/dev/null || exit 0

size_of() { set -- $(du -sk "$1"); echo $(($1 * 1024)); }

is_needed() {
  case " $needed " in *" $1 "*) return 0 ;; esac
  for mark in "$1/$its_needed"/*; do
    [ -e "$mark" ] && [ "${mark##*/}" != "$owner" ] && return 0
  done
  # Another command of ours may be about to fetch what it made.
  [ -z "$(find "$1/$its_needed/$owner" -mmin "-$MIN_AGE" 2>/dev/null)" ] || return 0
  [ -s "$1/$its_exit" ] || [ -s "$1/$its_refused" ] && return 1
  judge "$1" && [ $life = running ] && return 0
  # It may be just being written.
  [ ! -d "$1/$its_claim" ] && [ -n "$(find "$1" -maxdepth 0 -mmin "-$MIN_AGE")" ]
}

kept=
for batch in ba_*; do
  case "$batch" in *[!0-9a-fb_]*) continue ;; esac
  [ -d "$batch" ] && [ ! -L "$batch" ] || continue
  if is_needed "$batch"; then
    [ ! -f "$batch/$its_inputs" ] || kept="$kept $(tr '\n' ' ' < "$batch/$its_inputs")"
    continue
  fi
  echo "$batch $(size_of "$batch")"
  [ -z "$delete" ] || find "./$batch" -delete
done
if cd "$warm_dir" 2>/dev/null; then
  find . -mindepth 1 -maxdepth 1 -type d -mmin "+$MIN_AGE" | while read -r folder; do
    server_lives "$folder" && continue
    echo "${warm_dir##*/}/${folder#./} $(size_of "$folder")"
    [ -z "$delete" ] || find "$folder" -delete
  done
fi
if cd "$arrays_dir" 2>/dev/null; then
  find . -mindepth 1 -maxdepth 1 -type d -name '*ca_*' -mmin "+$MIN_AGE" | while read -r folder; do
    left=
    while read -r batch; do
      [ ! -d "$batches_dir/$batch" ] || left=yes
    done < "$folder/$its_members" 2>/dev/null
    [ -z "$left" ] || continue
    echo "${arrays_dir##*/}/${folder#./} $(size_of "$folder")"
    [ -z "$delete" ] || find "$folder" -delete
  done
fi
cd "$inputs_dir" 2>/dev/null || exit 0
find . -maxdepth 1 -type f -mmin "+$MIN_AGE" | while read -r file; do
  name=${file#./}
  sha=${name#$part_mark}
  sha=${sha%%.*}
  case "$sha" in *[!0-9a-f]* | "") continue ;; esac
  [ ${#sha} -eq 64 ] || continue
  case " $kept " in *" $sha "*) continue ;; esac
  echo "$name $(size_of "$file")"
  [ -z "$delete" ] || rm -f "$file"
done
# What an upload that was cut has left.
find . -maxdepth 1 -type d -name "$any_staging" -mmin "+$MIN_AGE" |
  while read -r folder; do
    echo "${folder#./} $(size_of "$folder")"
    [ -z "$delete" ] || find "$folder" -delete
  done
if cd "$cache_dir" 2>/dev/null; then
  find . -maxdepth 1 -type f -mmin "+$OLD" | while read -r file; do
    echo "${cache_dir##*/}/${file#./} $(size_of "$file")"
    [ -z "$delete" ] || rm -f "$file"
  done
fi
cd "$runs_dir" 2>/dev/null && [ -n "$delete" ] || exit 0
for run in rs_*; do
  [ -s "$run" ] && read -r held < "$run" && [ ! -d "$batches_dir/$held" ] && rm -f "./$run"
done
exit 0
