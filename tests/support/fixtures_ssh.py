"""Fixtures: a home folder, real OpenSSH servers that it knows, and networks in front of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.needs import need
from tests.support.ssh_server import Home, Proxy, Server, missing


class Servers(Protocol):
    """Start a server that `ssh_home` knows by an alias; `lines` are of its sshd_config."""

    def __call__(self, alias: str, *lines: str, known: bool = True) -> Server: ...


Proxies = Callable[..., Proxy]


@pytest.fixture(scope="session")
def openssh() -> None:
    """Skip where there is no OpenSSH server; in CI that is a failure."""
    need(missing())


@pytest.fixture
def ssh_home(openssh: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Return a home folder with a key, where this process lives for the test."""
    home = Home(tmp_path / "home")
    monkeypatch.setenv("HOME", str(home.folder))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return home


@pytest.fixture
def ssh_servers(ssh_home: Home, tmp_path: Path) -> Iterator[Servers]:
    """Return how to start a server; all are stopped after the test."""
    with ExitStack() as stack:

        def start(alias: str, *lines: str, known: bool = True) -> Server:
            server = Server(tmp_path / f"sshd-{alias}", lines)
            ssh_home.add(alias, server, known=known)
            return stack.enter_context(server)

        yield start


@pytest.fixture
def ssh_proxies(ssh_home: Home) -> Iterator[Proxies]:
    """Return how to put a network in front of a server, and lead an alias through it."""
    with ExitStack() as stack:

        def start(alias: str, server: Server, round_trip_s: float = 0) -> Proxy:
            proxy = stack.enter_context(Proxy(server.port, round_trip_s))
            ssh_home.add(alias, server, port=proxy.port)
            return proxy

        yield start
