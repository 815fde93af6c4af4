# Print the batches that have a folder here.

cd "$batches_dir" 2>/dev/null || exit 0
find . -maxdepth 1 -name 'ba_*'
exit 0
