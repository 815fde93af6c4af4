"""The processes of this machine, and which of them are of a test: others run tests, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def alive(pid: int) -> bool:
    """Return whether a process runs; one that is dead but not yet reaped does not."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return _stat(Path(f"/proc/{pid}"))[0] != "Z"
    return False


def members(session: int) -> list[int]:
    """Return the living processes of a session."""
    return [pid for pid, (state, _, _, of, *_) in _all() if int(of) == session and state != "Z"]


def group(leader: int) -> list[int]:
    """Return the living processes of a process group."""
    return [pid for pid, (state, _, of, *_) in _all() if int(of) == leader and state != "Z"]


def working_in(folder: Path, words: str = "") -> list[int]:
    """Return the processes that work in a folder or below, with `words` on the command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if words in command and (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
    return found


def _all() -> Iterator[tuple[int, list[str]]]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield int(process.name), _stat(process)


def _stat(process: Path) -> list[str]:
    """Return state, parent, group, session, ...: what follows the name, which may be anything."""
    return (process / "stat").read_text().rpartition(")")[2].split()
