"""Files of this machine that are to be brought to a host, and what can be wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Self

from cosmos_jobs.errors import HostError


class SourceChanged(Exception):
    """A file is not what was planned; the text says how."""

    @classmethod
    def since_planned(cls, path: Path) -> Self:
        """Return the error for a file that has another content now."""
        return cls(f"{path} has changed since it was planned")


def opened(path: Path) -> BinaryIO:
    """Open a file to read its bytes; SourceChanged when it is gone or cannot be read."""
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise SourceChanged(f"{path} is gone") from error
    except OSError as error:
        raise SourceChanged(f"{path} cannot be read: {error.strerror}") from error


def cannot_write(path: Path, error: OSError) -> HostError:
    """Return the error for a file of this machine that cannot be written."""
    words = f"this machine: cannot write {path}: {error.strerror}"
    return HostError(words, hint="make room for it here; then repeat: nothing is lost")
