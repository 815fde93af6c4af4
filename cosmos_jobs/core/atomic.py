"""Files that are whole or not there: temp + fsync + rename."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when all went well it becomes `path`, synced.

    If the block raises, nothing of it stays. The temporary name is
    `.<12 hex>.<name>`: it keeps the suffix, by which some libraries choose a format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(6)}.{path.name}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: a reader sees the old or the new, never a part."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`: a hard link, or a copy where links fail.

    `source` is taken to be synced already, and the link itself is not.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{secrets.token_hex(6)}.{target.name}")
    try:
        temporary.hardlink_to(source)
        temporary.replace(target)
    except FileNotFoundError:
        raise
    except OSError:
        with replacing(target) as copy:
            shutil.copyfile(source, copy)
    finally:
        # POSIX: a rename onto another link of the same file leaves both names.
        temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Return the digest of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
