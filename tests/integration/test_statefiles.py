"""Every kind of state file keeps the store's promises: one suite, on real servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import orjson
import pytest

from cosmos_jobs.errors import StoreError
from cosmos_jobs.state.backends.base import StateFile
from cosmos_jobs.state.store import FORMAT, Store, Transaction
from tests.integration.test_store import put, record
from tests.support.state_files import Bench, count


@pytest.fixture
def clients(bench: Bench) -> Iterator[list[Store]]:
    """Return two clients of the same state."""
    stores = [Store(bench.kept.open(), "ann@laptop") for _ in range(2)]
    yield stores
    for each in stores:
        each.file.close()


@pytest.fixture
def file(bench: Bench) -> Iterator[StateFile]:
    file = bench.kept.open()
    yield file
    file.close()


def fresh(bench: Bench) -> Store:
    return Store(bench.kept.open())


def test_where_nothing_was_ever_written_the_store_is_empty(clients: list[Store]) -> None:
    known = clients[0].snapshot()

    assert (known.lineage, known.serial, dict(known.runs)) == ("", 0, {})


def test_what_one_client_writes_another_one_reads(clients: list[Store]) -> None:
    ann, bob = clients
    put(ann, record(1))
    put(bob, record(2))

    known = bob.snapshot()

    assert list(known.runs.values()) == [record(1), record(2)]
    assert known.serial == 2
    assert known.lineage == ann.snapshot().lineage


def test_what_a_client_wrote_itself_it_knows_at_once(clients: list[Store]) -> None:
    ann, _ = clients
    for number in range(3):
        put(ann, record(number))
        assert len(ann.snapshot().runs) == number + 1


def test_the_file_says_who_wrote_last(clients: list[Store], bench: Bench) -> None:
    put(clients[0], record(1))

    meta = orjson.loads(bench.get())["meta"]["store"]

    assert (meta["format"], meta["serial"], meta["client"]) == (FORMAT, 1, "ann@laptop")


def test_nothing_is_read_again_that_is_known(file: StateFile, clients: list[Store]) -> None:
    put(clients[0], record(1))
    found = file.read("")
    assert found is not None
    assert file.read(found.mark) is None

    put(clients[1], record(2))
    again = file.read(found.mark)

    assert again is not None
    assert again.mark != found.mark


def test_a_change_that_fails_or_changes_nothing_writes_nothing(
    clients: list[Store], bench: Bench
) -> None:
    ann, _ = clients
    put(ann, record(1))
    before = bench.get()

    def fail(change: Transaction) -> None:
        change.put_runs([record(2)])
        _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        ann.change(fail)
    ann.change(lambda change: change.put_runs([]))

    assert bench.get() == before
    put(ann, record(3))
    assert set(ann.snapshot().states) == {record(1).run.id, record(3).run.id}


def test_the_backup_is_an_earlier_write(clients: list[Store], bench: Bench) -> None:
    ann, _ = clients
    assert ann.file.backup() is None
    put(ann, record(1))
    before = bench.get()
    put(ann, record(2))

    assert ann.file.backup() == before


@pytest.mark.parametrize("content", [b"", b'{"meta":', b"[]", b"\xff\x00"])
def test_a_damaged_file_is_refused_with_the_way_back(
    clients: list[Store], bench: Bench, content: bytes
) -> None:
    ann, bob = clients
    put(ann, record(1))
    put(ann, record(2))
    bench.put(content)

    with pytest.raises(StoreError, match="damaged") as caught:
        put(bob, record(3))

    assert "backup" in caught.value.hint
    assert bench.get() == content


def test_a_file_that_is_gone_while_its_backup_is_there_is_not_an_empty_one(
    clients: list[Store], bench: Bench
) -> None:
    ann, bob = clients
    put(ann, record(1))
    put(ann, record(2))
    bench.remove()

    with pytest.raises(StoreError, match="gone"):
        bob.snapshot()


def test_a_newer_format_is_refused(clients: list[Store], bench: Bench) -> None:
    meta = {"store": {"format": FORMAT + 1, "lineage": "x", "serial": 1}}
    bench.put(orjson.dumps({"meta": meta}))

    with pytest.raises(StoreError, match=f"has format {FORMAT + 1}"):
        put(clients[0], record(1))


def test_clients_at_once_decide_by_what_is_there(clients: list[Store]) -> None:
    def work(number: int) -> None:
        for _ in range(15):
            count(clients[number], number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    count(clients[0], 0)
    known = clients[0].snapshot()
    assert dict(known.jobs) == {"all": "31", "writer-0": "16", "writer-1": "15"}
    assert known.serial == 31


def test_nobody_holds_what_nobody_writes(file: StateFile, clients: list[Store]) -> None:
    assert file.holder() == ""
    put(clients[0], record(1))
    assert file.holder() == ""


def test_a_large_state_arrives_whole(clients: list[Store]) -> None:
    ann, bob = clients
    put(ann, *(record(number) for number in range(5_000)))

    assert len(bob.snapshot().runs) == 5_000
