# Set `life` to what the files of batch $1 tell of it, and say where it is in Slurm and how often it
# had been restarted when it began; fail when it was never submitted. Whether one that has neither
# ended nor been cancelled lives, Slurm knows.
judge() {
  place "$1"
  [ -n "$array" ] || [ -d "$1/$its_claim" ] || [ -s "$1/$its_refused" ] || return 1
  life=running begun=- mark=-
  if [ -f "$1/$its_claim/$its_pid" ]; then
    begun=0
    [ ! -s "$1/$its_claim/$its_restarts" ] || read -r begun < "$1/$its_claim/$its_restarts"
  fi
  [ ! -f "$1/$its_requeued" ] || mark=requeued
  [ ! -f "$1/$its_cancel" ] || mark=cancelled
  # Nobody begins it any more.
  [ $mark$begun != cancelled- ] || life=cancelled
  [ -z "$array" ] || echo "element $1 $array $index ${job:--} $begun $mark"
}
