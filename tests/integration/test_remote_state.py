"""A state on a host: who holds its lock, what becomes of it, and what a change costs."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosmos_jobs.errors import StoreAway, StoreError
from cosmos_jobs.state.backends.base import Unwritten
from cosmos_jobs.state.backends.host import RemoteFile
from cosmos_jobs.state.store import Store, Transaction
from cosmos_jobs.targets.hosts.ssh.host import SSHHost
from tests.integration.test_store import put, record
from tests.support.fixtures_ssh import Proxies, Servers
from tests.support.ssh_server import Proxy, Server
from tests.support.state_files import Kept, count, hold


@pytest.fixture
def server(ssh_servers: Servers) -> Server:
    return ssh_servers("gpu")


@pytest.fixture
def far(ssh_proxies: Proxies, server: Server) -> Proxy:
    """Return the network before `far`, which is the same host."""
    return ssh_proxies("far", server)


class Clients:
    """Clients of one state, who are closed after the test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.opened: list[RemoteFile] = []

    def file(
        self, host: str = "gpu", client: str = "ann@laptop", wait_s: int = 30, hold_s: int = 60
    ) -> RemoteFile:
        ssh = SSHHost(host, connect_timeout_s=20)
        self.opened.append(RemoteFile(ssh, str(self.root), client, wait_s, hold_s))
        return self.opened[-1]

    def store(self, host: str = "gpu") -> Store:
        return Store(self.file(host), "ann@laptop")


@pytest.fixture
def clients(tmp_path: Path, server: Server) -> Iterator[Clients]:
    made = Clients(tmp_path / "a 'root'")
    yield made
    for each in made.opened:
        each.close()


def test_who_waits_in_vain_is_told_who_writes_and_since_when(clients: Clients) -> None:
    patient, impatient = clients.file(), clients.file(client="bob@ci", wait_s=1)

    with patient.writing(""):
        with pytest.raises(StoreError, match=r"ann@laptop since 20..-..-.. ..:..:.."):
            Store(impatient).change(lambda change: change.put_runs([record(1)]))
        assert impatient.holder().startswith("ann@laptop since 20")

    assert impatient.holder() == ""
    put(Store(impatient), record(1))


def test_a_connection_that_is_cut_frees_the_lock(clients: Clients, far: Proxy) -> None:
    cut, other = clients.file("far"), clients.store()

    with cut.writing("") as writing:
        far.cut_all()
        put(other, record(1))
        with pytest.raises(Unwritten):
            writing.write(b"{}")

    assert list(other.snapshot().runs) == [record(1).run.id]


def test_a_client_that_says_nothing_for_long_loses_the_lock(clients: Clients, far: Proxy) -> None:
    silent, other = clients.file("far", hold_s=1), clients.store()

    with silent.writing("") as writing:
        far.stall()
        put(other, record(1))
        far.flow()
        with pytest.raises(Unwritten):
            writing.write(b"{}")

    assert list(clients.store().snapshot().runs) == [record(1).run.id]


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_change_whose_answer_is_lost_is_made_once(clients: Clients, far: Proxy, way: str) -> None:
    store = clients.store("far")
    count(store, 0)
    cut = threading.Event()

    def work(change: Transaction) -> int:
        number = int(change.job("all") or 0) + 1
        change.put_jobs({"all": str(number)})
        if not cut.is_set():
            cut.set()
            # What is to be written is on its way, or the answer to it.
            far.cut_after(1_000 if way == "up" else 1, way)
        return number

    assert store.change(work) == 2

    known = clients.store().snapshot()
    assert dict(known.jobs) == {"all": "2", "writer-0": "1"}
    assert known.serial == 2


def test_a_change_on_a_warm_connection_opens_nothing(clients: Clients) -> None:
    file = clients.file()
    store = Store(file)
    count(store, 0)
    before = file._host.traffic
    for _ in range(10):
        count(store, 0)
    after = file._host.traffic

    assert (before.connections, after.connections) == (1, 1)
    assert before.channels == after.channels


def test_a_full_disk_leaves_the_state_and_its_backup(clients: Clients, small_disk: Path) -> None:
    clients.root = small_disk / "root"
    store = clients.store()
    put(store, record(1))
    put(store, record(2))
    folder = clients.root / "state"
    before = {each.name: each.read_bytes() for each in folder.glob("state.json*")}
    full = pytest.raises(OSError, match="No space")
    with (small_disk / "filler").open("wb", buffering=0) as filler, full:
        while True:
            filler.write(bytes(4096))

    with pytest.raises(StoreError, match="No space left") as caught:
        put(store, *(record(number) for number in range(2_000)))

    assert caught.value.hint
    assert {each.name: each.read_bytes() for each in folder.glob("state.json*")} == before
    (small_disk / "filler").unlink()
    put(store, record(3))
    assert len(clients.store().snapshot().runs) == 3
    assert not list(folder.glob(".new*"))


def test_what_a_killed_writer_left_goes_with_the_next_write(clients: Clients) -> None:
    store = clients.store()
    put(store, record(1))
    left = clients.root / "state" / ".new.1234"
    left.write_bytes(b"half")

    put(store, record(2))

    assert not left.exists()


def test_a_folder_that_may_not_be_written_is_told(clients: Clients, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("in the way")
    clients.root = tmp_path / "a file" / "root"

    with pytest.raises(StoreError, match="gpu: cannot write the state: Not a directory"):
        put(clients.store(), record(1))


def test_a_host_without_flock_is_told(
    clients: Clients, ssh_servers: Servers, tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for each in Path("/usr/bin").iterdir():
        if each.name != "flock":
            (programs / each.name).symlink_to(each)
    ssh_servers("bare", f"SetEnv PATH={programs}")

    with pytest.raises(StoreError, match="cannot write the state: there is no flock"):
        put(clients.store("bare"), record(1))


def test_a_host_that_does_not_answer_is_out_of_reach(clients: Clients, server: Server) -> None:
    server.stop()
    file = RemoteFile(SSHHost("gpu", connect_timeout_s=1), str(clients.root), "ann@laptop")

    with pytest.raises(StoreAway, match="out of reach"):
        Store(file).snapshot()


def test_the_lock_of_a_killed_client_is_free(clients: Clients) -> None:
    spawn = multiprocessing.get_context("spawn")
    held = spawn.Event()
    holder = spawn.Process(target=hold, args=(Kept("remote", str(clients.root), "gpu"), held))
    holder.start()
    assert held.wait(30)
    assert clients.file().holder().startswith("ann@laptop since ")
    holder.kill()
    holder.join()

    put(clients.store(), record(1))

    assert len(clients.store().snapshot().runs) == 1


def test_a_state_that_cannot_be_read_there_is_told_at_once(clients: Clients) -> None:
    store = clients.store()
    put(store, record(1))
    path = clients.root / "state" / "state.json"
    path.unlink()
    path.mkdir()

    with pytest.raises(StoreError, match=r"gpu: cannot write the state: .*[Dd]irectory"):
        put(store, record(2))
    with pytest.raises(StoreError, match=r"gpu: cannot read the state: .*[Dd]irectory"):
        clients.store().snapshot()
