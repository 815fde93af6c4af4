# Print, of each file of `files` that exists below the folder of batches, its number and its content.

cd "$batches_dir" 2>/dev/null || exit 0
number=0
files | while IFS= read -r file; do
  [ -f "$file" ] && echo $number && base64 -w 0 "$file" && echo
  number=$((number + 1))
done
exit 0
