"""What scripts for a host share: a digest, and errors in the host's own words."""

from __future__ import annotations

from pathlib import PurePosixPath

from cosmos_jobs.core import failures
from cosmos_jobs.errors import HostError
from cosmos_jobs.targets.hosts.ssh.channel import Reply

# openssl uses the processor's own SHA-256, five times as fast as older sha256sum.
DIGEST = (
    "digest() { if command -v openssl >/dev/null; then openssl dgst -sha256 -r;"
    " else sha256sum; fi | cut -c1-64; }\n"
)
DAMAGED = 3  # a script's exit code: what is there has another digest


def folder(path: str) -> str:
    """Return the folder of a path on a host."""
    return str(PurePosixPath(path).parent)


def name(path: str) -> str:
    """Return the last part of a path on a host."""
    return PurePosixPath(path).name


def refused(host: str, what: str, reply: Reply) -> HostError:
    """Return the error for a script that failed; `what` is what could not be done."""
    lines = reply.stderr.decode(errors="replace").strip().splitlines()
    # The first complaint is the cause: tar, for one, has a last word on it.
    told = [line for line in lines if ": " in line] or lines or ["its shell ended"]
    why = told[0].rpartition(": ")[2]
    return HostError(f"{host}: {what}: {why}", hint=failures.hint(why))
