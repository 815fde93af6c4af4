"""Fixtures: an S3 server, and a place for a state of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.fixtures_ssh import Servers
from tests.support.object_server import BUCKET, ObjectServer
from tests.support.state_files import KINDS, Bench, Kept


@pytest.fixture(scope="session")
def object_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """Return a running server."""
    with ObjectServer(tmp_path_factory.mktemp("objects")) as server:
        yield server


@pytest.fixture
def objects(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    """Return a server that this process's environment knows."""
    for name, value in object_server.environment().items():
        monkeypatch.setenv(name, value)
    return object_server


@pytest.fixture(params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """Return a place for a state, of each kind in turn."""
    match request.param:
        case "local":
            return _files(Kept("local", str(tmp_path / "state.json")), tmp_path)
        case "remote":
            servers: Servers = request.getfixturevalue("ssh_servers")
            servers("gpu")
            root = tmp_path / "a root"
            return _files(Kept("remote", str(root), "gpu"), root / "state")
    server: ObjectServer = request.getfixturevalue("objects")
    return _objects(server, tmp_path.name)


def _files(kept: Kept, folder: Path) -> Bench:
    path = folder / "state.json"

    def put(data: bytes) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return Bench(kept, path.read_bytes, put, path.unlink)


def _objects(server: ObjectServer, prefix: str) -> Bench:
    place = {"Bucket": BUCKET, "Key": f"{prefix}/state.json"}

    def get() -> bytes:
        data: bytes = server.client().get_object(**place)["Body"].read()
        return data

    def put(data: bytes) -> None:
        server.client().put_object(**place, Body=data)

    kept = Kept("objects", f"s3://{BUCKET}/{prefix}")
    return Bench(kept, get, put, partial(server.client().delete_object, **place))
