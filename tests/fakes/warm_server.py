"""A warm server without a model: it does what the lines of `batch.jsonl` say.

Started as `warm_server.py IDLE_S SLOT`. It notes each start in the file LEDGER.
A line is a list of a word and its arguments: `say TEXT`, `write NAME TEXT`,
`await NAME` (a file of `out/`), `deaf`, `die CODE`, `exit CODE`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

STEP_S = 0.05


def main() -> int:
    """Take batches until none comes for IDLE_S seconds."""
    idle_s, slot = float(sys.argv[1]), Path(sys.argv[2])
    with Path(os.environ["LEDGER"]).open("a", encoding="utf-8") as ledger:
        print("load", os.environ.get("CUDA_VISIBLE_DEVICES", ""), Path.cwd(), file=ledger)
    if "CANNOT_IMPORT" in os.environ:
        raise ModuleNotFoundError(f"No module named {os.environ['CANNOT_IMPORT']}")
    since = time.monotonic()
    while time.monotonic() - since < idle_s:
        if (slot / "next").exists():
            (slot / "next").rename(slot / "current")
            work(slot)
            since = time.monotonic()
        time.sleep(STEP_S)
    return 0


def work(slot: Path) -> None:
    """Work the batch in `current`."""
    folder = Path((slot / "current").read_text(encoding="utf-8").rstrip("\n"))
    write_to(folder / "log")
    code = 0
    for line in (folder / "batch.jsonl").read_text(encoding="utf-8").splitlines():
        code = do(folder / "out", *json.loads(line)) or code
    sys.stdout.flush()
    write_to(slot / "log")
    (slot / "current").unlink()
    (folder / "served.tmp").write_text(f"{code}\n", encoding="utf-8")
    (folder / "served.tmp").rename(folder / "served")


def write_to(log: Path) -> None:
    """Append all that this process prints to a file."""
    sys.stdout.flush()
    opened = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(opened, 1)
    os.dup2(opened, 2)
    os.close(opened)


def do(out: Path, what: str, *given: str) -> int:
    """Do what a line says; return the exit code that the batch is to have."""
    match what, given:
        case "say", [text]:
            os.write(1, covered(os.path.expandvars(text) + "\n").encode())
        case "write", [name, text]:
            (out / name).write_text(text, encoding="utf-8")
        case "await", [name]:
            (out / "awaiting").touch()
            while not (out / name).exists():
                time.sleep(STEP_S)
        case "deaf", []:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case "die", [code]:
            os._exit(int(code))
        case "exit", [code]:
            return int(code)
    return 0


def covered(text: str) -> str:
    """Return a text without the values of the secrets."""
    for name in os.environ.get("COSMOS_JOBS_SECRETS", "").split():
        text = text.replace(os.environ[name], "*" * len(os.environ[name]))
    return text


if __name__ == "__main__":
    sys.exit(main())
