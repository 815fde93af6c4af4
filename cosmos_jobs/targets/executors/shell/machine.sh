# Say what this machine has: fact by fact, a line each. `questions` are those of one target.

cd / || exit 1
LC_ALL=C; export LC_ALL
fact() { printf '%s\t%s\t%s\n' "$mark" "$1" "$(printf '%s' "$2" | tr '\n\t\r' '   ')"; }
has() { command -v "$1" > /dev/null 2>&1; }
limited() { if has timeout; then timeout "$limit" "$@"; else "$@"; fi; }

fact clock "$(date +%s.%N)"
for program in $programs; do has $program || fact no-program $program; done
probe="$root/.doctor.$$"
if said=$(mkdir -p "$root" 2>&1 && {
    echo probe > "$probe" && mv "$probe" "$probe.moved" && rm "$probe.moved"; } 2>&1)
then fact root-is-writable; else fact root-trouble "$said"; fi
rm -f "$probe" "$probe.moved" 2> /dev/null
fact space "$(limited df -Pk "$root" 2> /dev/null | tail -n 1)"
questions
fact clock-at-end "$(date +%s.%N)"
exit 0
