# Say of each of `batches` how it stands, a line a fact.

cd "$batches_dir" 2>/dev/null || exit 0
waiting=
at_work=
for batch in $batches; do
  judge "$batch" || continue
  # Asked after that, so that a batch that ends in between is seen to have ended.
  [ -s "$batch/$its_refused" ] && life=refused
  [ -s "$batch/$its_exit" ] && life=exited
  echo "batch $batch $life"
  for event in $its_started $its_exit $its_fault $its_gpu $its_refused; do
    [ -s "$batch/$event" ] && read -r line < "$batch/$event" && echo "$event $line"
  done
  if [ -s "$batch/$its_facts" ]; then
    while read -r line; do printf 'fact %s\n' "$line"; done < "$batch/$its_facts"
  fi
  if [ -d "$batch/$its_out" ]; then
    at_work="$at_work $batch"
  elif [ $life = running ]; then
    waiting=yes
  fi
done
for batch in $at_work; do
  echo "look $batch"
  # A name with a line break could be taken for a fact.
  (cd "$batch/$its_out" && find . -type f ! -name '*
*' ! -path '*
*/*') | sed 's/^\.\//file /'
  if [ -f "$batch/$its_log" ]; then
    size=$(stat -c %s "$batch/$its_log") cut=
    [ "$size" -le "$tail" ] || cut=1d
    # One byte more: the first line, of which there may be a part, is not shown.
    tail -c "+$((size > tail ? size - tail : 1))" "$batch/$its_log" | tr '\r' '\n' |
      sed "$cut
        s/^/log /"
  fi
  echo
done
[ -n "$waiting" ] || exit 0
for name in $gpus; do
  [ -f "$gpus_dir/$name$dot_holder" ] && read -r holder client < "$gpus_dir/$name$dot_holder" || continue
  # Who has ended is still named until the next has written its own name.
  { [ ! -s "$holder/$its_exit" ] && ! flock --nonblock "$gpus_dir/$name$dot_lock" true; } ||
    [ -n "$(containers "$holder")" ] || continue
  echo "holder $name $holder $client"
done
exit 0
