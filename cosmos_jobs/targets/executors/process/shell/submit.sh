# Write a batch's files and start it, detached: it outlives us, and none of our streams is its own.

command -v setsid > /dev/null || { echo "setsid is not installed" >&2; exit 1; }
mkdir -p "$folder/$its_needed" || exit 1
cd "$folder" || exit 1
: > "$its_needed/$owner"
[ -d $its_claim ] && exit 0
write_files || exit 1
setsid sh $its_script < /dev/null > /dev/null 2>&1 &
