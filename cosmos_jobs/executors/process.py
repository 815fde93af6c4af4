"""Batches as detached processes of a host: files say what they made, the process whether it lives.

Everything of a batch is in `<root>/batches/<batch id>/`. `run.sh` begins with
`mkdir claim`, so that a batch that is started twice runs once, and writes
`exit` last, by rename. A pid is only believed together with the process's
birth (its start time and the boot it belongs to).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from shlex import join, quote
from typing import Any

from cosmos_jobs.errors import HostError
from cosmos_jobs.model import Batch, Command, Life, Status
from cosmos_jobs.protocols import Host

LOG_TAIL_BYTES = 8192
CLAIM_GRACE_S = 10
KILL_GRACE_S = 10

# birth: prints the birth of process $1, nothing when it is dead or a zombie.
# lives: says whether the batch of process $1, born $2, is alive: that process,
# or after its death any other of its group, which keeps the number from being reused.
# Fields of /proc/<pid>/stat: proc(5); the name in parentheses may hold spaces.
_BIRTH = """\
birth() {
  if [ -d /proc/self ]; then
    [ -r "/proc/$1/stat" ] && IFS= read -r stat_line < "/proc/$1/stat" || return 0
    set -- ${stat_line##*) }
    [ "$1" = Z ] && return 0
    shift 19
    printf '%s@%s' "$1" "$(boot)"
  else
    ps -o stat= -p "$1" | grep -q '^Z' || ps -o lstart= -p "$1" | tr -s ' ' '_'
  fi
}
lives() {
  [ -n "$2" ] || return 1
  now_born=$(birth "$1")
  [ "$now_born" = "$2" ] && return 0
  # Another process has the number, or the machine was started anew.
  [ -z "$now_born" ] && [ "${2##*@}" = "$(boot)" ] || return 1
  for stat_file in /proc/[0-9]*/stat; do
    IFS= read -r stat_line 2>/dev/null < "$stat_file" || continue
    set -- "$1" "$2" ${stat_line##*) }
    [ "$5" = "$1" ] && [ "$3" != Z ] && return 0
  done
  return 1
}
boot() { cat /proc/sys/kernel/random/boot_id 2>/dev/null; }
"""

_RUN = """\
#!/bin/sh
# Made by cosmos-jobs. Started twice, the second does nothing.
cd {folder} || exit 1
mkdir claim 2>/dev/null || exit 0
{birth}
put() {{ cat > "$1.tmp" && mv "$1.tmp" "$1"; }}
printf '%s %s\\n' "$$" "$(birth $$)" | put claim/pid
# Whoever cancels writes `cancel` and then looks for the pid: one of us sees the other.
[ -f cancel ] && exit 1
date +%s.%N | put started
mkdir -p out
{command} < /dev/null >> log 2>&1
code=$?
printf '%s %s\\n' "$code" "$(date +%s.%N)" | put exit
"""

_POLL = """\
{birth}
cd {batches} 2>/dev/null || exit 0
now=$(date +%s)
for batch in {ids}; do
  [ -d "$batch/claim" ] || continue
  pid= born= life=running
  if [ -f "$batch/claim/pid" ]; then
    read -r pid born < "$batch/claim/pid"
    lives "$pid" "$born" || life=gone
  elif [ -f "$batch/cancel" ]; then
    life=gone
  else
    claimed=$(stat -c %Y "$batch/claim" 2>/dev/null || stat -f %m "$batch/claim")
    [ $((now - claimed)) -le {grace} ] || life=gone
  fi
  [ $life = gone ] && [ -f "$batch/cancel" ] && life=cancelled
  # Asked after the process, so that a batch that ends in between is seen to have ended.
  [ -f "$batch/exit" ] && life=exited
  echo "batch $batch $life"
  [ -f "$batch/started" ] && echo "started $(cat "$batch/started")"
  [ -f "$batch/exit" ] && echo "exit $(cat "$batch/exit")"
  [ -d "$batch/out" ] && (cd "$batch/out" && find . -type f) | sed 's/^\\.\\//file /'
  [ -f "$batch/log" ] && tail -c {tail} "$batch/log" | tr '\\r' '\\n' | sed 's/^/log /'
  echo
done
"""

_CANCEL = """\
{birth}
mkdir -p {batches} && cd {batches} || exit 1
alive() {{ lives "$pid" "$born"; }}
for batch in {ids}; do
  mkdir -p "$batch" && : > "$batch/cancel"
  mkdir "$batch/claim" 2>/dev/null && continue
  pid= born=
  [ -f "$batch/claim/pid" ] && read -r pid born < "$batch/claim/pid"
  alive || continue
  # dash takes `--` only after `-s`.
  kill -s TERM -- "-$pid" 2>/dev/null
  waited=0
  while alive && [ $waited -lt {grace}0 ]; do sleep 0.1; waited=$((waited + 1)); done
  alive && kill -s KILL -- "-$pid" 2>/dev/null
done
exit 0
"""


class ProcessExecutor:
    """Runs batches as processes of `host`, below the folder `root` (absolute, on the host)."""

    def __init__(self, host: Host, root: str, slots: int, kill_grace_s: int = KILL_GRACE_S) -> None:
        self._host = host
        self._kill_grace_s = kill_grace_s
        self._batches = f"{root}/batches"
        self.slots = slots

    async def submit(self, batch: Batch, command: Command) -> None:
        """Write the batch's folder and start it."""
        folder = f"{self._batches}/{batch.id}"
        contents = {f"{folder}/{name}": data for name, data in command.files.items()}
        script = script_of(folder, command)
        await self._host.write({**contents, f"{folder}/run.sh": script.encode()})
        await self._host.spawn(f"{folder}/run.sh")

    async def poll(self, batches: Sequence[str]) -> Mapping[str, Status]:
        """Return how the batches stand; one that nobody started is ABSENT."""
        script = _POLL.format(
            birth=_BIRTH,
            batches=quote(self._batches),
            ids=join(batches),
            grace=CLAIM_GRACE_S,
            tail=LOG_TAIL_BYTES,
        )
        done = await self._host.run(script)
        if done.exit_code != 0:
            raise HostError(f"{self._host.name} cannot list {self._batches}: {done.stderr.strip()}")
        return {batch: Status(Life.ABSENT) for batch in batches} | statuses(
            done.stdout.splitlines()
        )

    async def read(self, batch: str, names: Sequence[str]) -> Mapping[str, str]:
        """Return the texts of files below a batch's `out/`."""
        paths = {self.path(batch, name): name for name in names}
        found = await self._host.read(list(paths))
        return {paths[path]: data.decode(errors="replace") for path, data in found.items()}

    async def cancel(self, batches: Sequence[str]) -> None:
        """End the batches; when this returns none of their processes lives."""
        script = _CANCEL.format(
            birth=_BIRTH,
            batches=quote(self._batches),
            ids=join(batches),
            grace=self._kill_grace_s,
        )
        done = await self._host.run(script, timeout_s=60 + 2 * self._kill_grace_s * len(batches))
        if done.exit_code != 0:
            raise HostError(f"{self._host.name} cannot cancel: {done.stderr.strip()}")

    def path(self, batch: str, name: str) -> str:
        """Return where a file below a batch's `out/` is on the host."""
        return f"{self._batches}/{batch}/out/{name}"


def script_of(folder: str, command: Command) -> str:
    """Return the run.sh of a batch in `folder`; every value of `command` is quoted."""
    settings = [f"{name}={value}" for name, value in command.env.items()]
    argv = ["env", *settings, *command.argv] if settings else list(command.argv)
    return _RUN.format(folder=quote(folder), birth=_BIRTH, command=join(argv))


def statuses(lines: Iterable[str]) -> dict[str, Status]:
    """Return what a poll printed, by batch."""
    found: dict[str, dict[str, Any]] = {}
    current: dict[str, Any] = {}
    for line in lines:
        kind, _, rest = line.partition(" ")
        match kind:
            case "batch":
                batch, _, life = rest.partition(" ")
                current = found[batch] = {"life": Life(life), "files": [], "log": []}
            case "started":
                current["started"] = _time(rest)
            case "exit":
                code, _, when = rest.partition(" ")
                current |= {"exit_code": int(code), "finished": _time(when)}
            case "file":
                current["files"].append(rest)
            case "log":
                current["log"].append(rest)
    return {
        batch: Status(**{**each, "files": tuple(each["files"]), "log": "\n".join(each["log"])})
        for batch, each in found.items()
    }


def _time(text: str) -> float:
    """Return seconds since 1970; a `date` that knows no %N leaves the letter."""
    return float(text.strip().rstrip("N"))
