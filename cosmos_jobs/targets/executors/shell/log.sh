# Print a part of the log of `batch`: `most` bytes from byte number `from` on.

log=$batches_dir/$batch/$its_log
[ ! -f "$log" ] || tail -c "+$from" "$log" | head -c "$most" | base64 -w 0
