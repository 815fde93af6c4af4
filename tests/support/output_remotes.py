"""What lies on a shelf of published outputs, behind its back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from cosmos_jobs.apply.remotes.base import Shelf
from tests.support.object_server import BUCKET, ObjectServer

KINDS = ("host", "bucket")


class Place(Protocol):
    """Where a shelf is, for tests that look at it, or damage it."""

    def names(self, folder: str) -> list[str]: ...

    def read(self, name: str) -> bytes: ...

    def write(self, name: str, data: bytes) -> None: ...


class Folder:
    """A shelf on a host, which is this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root / "outputs"

    def names(self, folder: str) -> list[str]:
        found = (self.root / folder).rglob("*")
        return sorted(str(each.relative_to(self.root)) for each in found if each.is_file())

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        os.utime(path, (1, 1))


class Objects:
    """A shelf in a bucket."""

    def __init__(self, server: ObjectServer, prefix: str) -> None:
        self.prefix = prefix
        self._client = server.client()

    def names(self, folder: str) -> list[str]:
        prefix = f"{self.prefix}/{folder}/"
        found = self._client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", ())
        return sorted(each["Key"].removeprefix(f"{self.prefix}/") for each in found)

    def read(self, name: str) -> bytes:
        found = self._client.get_object(Bucket=BUCKET, Key=f"{self.prefix}/{name}")
        data: bytes = found["Body"].read()
        return data

    def write(self, name: str, data: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=f"{self.prefix}/{name}", Body=data)


def open_shelf(kind: str, where: str) -> Shelf:
    """Return a shelf of a kind: on the host `gpu` below a root, or in a bucket at a URL."""
    if kind == "bucket":
        from cosmos_jobs.apply.remotes.s3 import ObjectShelf

        return ObjectShelf(where, patience_s=5)
    from cosmos_jobs.apply.remotes.host import RemoteShelf
    from cosmos_jobs.targets.hosts.ssh.host import SSHHost

    return RemoteShelf(SSHHost("gpu", connect_timeout_s=20), where)
