# What an engine says, on its way to a log: line by line, and without its secrets.

# Run the function $2 on GPUs $3, its output covered line by line on the way to the log $1.
covered() {
  rm -f $its_pipe
  mkfifo $its_pipe || { code=1; return; }
  # Told to end, it still takes the engine's last words. When it fails nothing is written.
  { trap '' TERM HUP INT; lines | mask >> "$1"; cat > /dev/null; } < $its_pipe &
  covering=$!
  exec 5> $its_pipe
  rm -f $its_pipe
  "$2" "$3" < /dev/null >&5 2>&1 5>&-
  code=$?
  exec 5>&-
  # What the engine has left behind may go on talking: it is not waited for.
  tries=0
  while birth $covering; [ -n "$born" ] && [ $tries -lt 50 ]; do
    sleep 0.1
    tries=$((tries + 1))
  done
}

# Make lines of what draws over itself, as progress bars do: they are to be seen as they come.
lines() {
  if command -v stdbuf > /dev/null; then stdbuf -o0 tr '\r' '\n'; else cat; fi
}

# Cover what `secrets` names, letter by letter, so that places in the log stay the same.
mask() {
  interactive=
  # mawk waits for more than a line, and cuts long ones of its main input if it does not.
  ! awk -W version < /dev/null 2>&1 | grep -q mawk || interactive='-W interactive'
  LC_ALL=C awk $interactive -v names="$secrets" -v mawk="$interactive" '
    BEGIN {
      count = split(names, name, " ")
      for (i = 1; i <= count; i++) {
        parts = split(ENVIRON[name[i]], part, /[\r\n]+/)
        for (j = 1; j <= parts; j++) if (length(part[j]) > 3) {
          values++
          value[values] = stars[values] = part[j]
          gsub(/./, "*", stars[values])
        }
      }
      if (mawk) {
        while ((getline < "-") > 0) cover()
        exit
      }
    }
    { cover() }
    function cover() {
      shown = $0
      for (i = 1; i <= values; i++) {
        from = 1
        while (at = index(substr($0, from), value[i])) {
          at += from - 1
          shown = substr(shown, 1, at - 1) stars[i] substr(shown, at + length(value[i]))
          from = at + 1
        }
      }
      print shown
      fflush()
    }'
}
