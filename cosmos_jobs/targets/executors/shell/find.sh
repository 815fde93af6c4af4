# Say which batch each of the runs on standard input was last given to.

cd "$runs_dir" 2>/dev/null || exit 0
runs | while read -r run; do
  held=
  [ -s "$run" ] && read -r held < "$run" && echo "$run $held"
done
exit 0
