# Mark those of `batches` that are here as needed by `owner`; without `needed` take our mark away.

cd "$batches_dir" || exit 0
for batch in $batches; do
  mark="$batch/$its_needed/$owner"
  if [ -z "$needed" ]; then
    rm -f "$mark"
  elif [ -d "$batch" ]; then
    mkdir -p "$batch/$its_needed" && : > "$mark"
  fi
done
