"""Host keys: what known_hosts says about a server, and what people are told when it differs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_jobs.core import atomic
from cosmos_jobs.errors import HostError

if TYPE_CHECKING:
    from asyncssh import SSHKey

ACCEPT = "cosmos-jobs doctor --accept-new-host-key"
_USER = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
_GLOBAL = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
_SSH_PORT = 22


@dataclass(frozen=True, slots=True)
class Known:
    """The entries of known_hosts files for one server: trusted keys, authorities, revoked keys."""

    keys: tuple[SSHKey, ...]
    authorities: tuple[SSHKey, ...]
    revoked: tuple[SSHKey, ...]


def user_files(setting: object) -> tuple[Path, ...]:
    """Return the user's known_hosts files; `setting` is UserKnownHostsFile, None if not set."""
    return tuple(Path(each).expanduser() for each in _names(setting, _USER))


def global_files(setting: object) -> tuple[Path, ...]:
    """Return the machine's known_hosts files; `setting` is GlobalKnownHostsFile."""
    return tuple(Path(each) for each in _names(setting, _GLOBAL))


def _names(setting: object, default: Sequence[str]) -> Sequence[str]:
    return [str(each) for each in setting] if isinstance(setting, list) else default


def lookup(paths: Iterable[Path], host: str, port: int) -> Known:
    """Return what the files that exist say about a server; hashed and `[host]:port` entries too."""
    import asyncssh

    known = asyncssh.SSHKnownHosts()
    for path in paths:
        # asyncssh takes a missing file for an error, and no file at all for no check.
        if path.is_file():
            try:
                known.load(path.read_text(encoding="utf-8", errors="replace"))
            except ValueError as error:
                raise HostError(f"{path}: {error}") from error
    # By name alone, as OpenSSH does: an address may belong to another machine tomorrow.
    found = known.match(host, "", None if port == _SSH_PORT else port)
    return Known(tuple(found[0]), tuple(found[1]), tuple(found[2]))


def pattern(host: str, port: int) -> str:
    """Return how known_hosts names a server."""
    return host if port == _SSH_PORT else f"[{host}]:{port}"


def refusal(name: str, entry: str, shown: SSHKey | None, known: Known) -> HostError:
    """Return the error for a server whose key is not the one that is known.

    `name` is what messages call it, `entry` what known_hosts does, `shown`
    the key that it proved to have.
    """
    new = describe(shown) if shown else "one that cannot be read"
    if shown is None and known.revoked:
        # asyncssh asks about keys that are not known, not about revoked ones.
        return HostError(f"the host key of {name} is revoked", hint="ask its administrator")
    if known.keys:
        old = ", ".join(describe(key) for key in known.keys)
        return HostError(
            f"the host key of {name} has changed: known is {old}, it shows {new}",
            hint="somebody may be listening: ask its administrator for the fingerprint;"
            f" ssh-keygen -F '{entry}' shows the old key, ssh-keygen -R '{entry}' removes it",
        )
    return HostError(
        f"the host key of {name} is not known: {new}",
        hint=f"compare the fingerprint with what its administrator says, then {ACCEPT}",
    )


def describe(key: SSHKey) -> str:
    """Return a key's type and SHA256 fingerprint."""
    return f"{key.get_algorithm()} {key.get_fingerprint('sha256')}"


def remember(path: Path, entry: str, key: SSHKey) -> None:
    """Append a key to a known_hosts file, which is made if there is none."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = f"{entry} {key.export_public_key('openssh').decode().strip()}\n".encode()
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(handle).st_size
        # A file that somebody edited may end within a line.
        if size and os.pread(handle, 1, size - 1) != b"\n":
            line = b"\n" + line
        os.write(handle, line)
        os.fsync(handle)
    finally:
        os.close(handle)
    atomic.sync(path.parent)
