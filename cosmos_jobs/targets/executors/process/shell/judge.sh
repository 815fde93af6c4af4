# Batches as processes of this machine.

# Set `life` to how the process of batch $1 stands; fail when nobody has claimed it.
judge() {
  [ -d "$1/$its_claim" ] || return 1
  life=running
  works "$1" || life=gone
  [ $life = running ] || [ ! -f "$1/$its_cancel" ] || life=cancelled
}

# Whether batch $1, which was claimed, is at work, or about to be.
works() {
  if [ -f "$1/$its_claim/$its_pid" ]; then
    noted "$1/$its_claim/$its_pid"
    lives "$pid" "$born_then" || [ -n "$(containers "$1")" ]
  elif [ -f "$1/$its_cancel" ]; then
    return 1
  else
    [ $(($(date +%s) - $(stat -c %Y "$1/$its_claim"))) -le "$grace" ]
  fi
}
