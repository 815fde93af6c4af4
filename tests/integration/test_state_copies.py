"""What a machine keeps of a shared state: the last copy, and the local state it had before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cosmos_jobs.errors import AnswerIsNo, StoreAway
from cosmos_jobs.state.backends.base import Content
from cosmos_jobs.state.backends.cache import Copied
from cosmos_jobs.state.backends.local import LocalFile
from cosmos_jobs.state.backends.migrate import Moving
from cosmos_jobs.state.store import Store, Transaction
from tests.integration.test_store import put, record


class Shared(LocalFile):
    """A shared state, in a folder of this machine; it notes what it was asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[str] = []
        self.away = False

    def read(self, mark: str) -> Content | None:
        if self.away:
            raise StoreAway("no contact")
        self.asked.append(mark)
        return super().read(mark)


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    return Shared(tmp_path / "shared" / "state.json")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "here" / "cache" / "state.copy"


@pytest.fixture
def local(tmp_path: Path) -> Path:
    return tmp_path / "here" / "state.json"


@pytest.fixture
def said() -> list[str]:
    return []


def test_a_new_process_asks_only_whether_its_copy_still_holds(shared: Shared, copy: Path) -> None:
    put(Store(Copied(shared, copy)), record(1))
    shared.asked.clear()

    known = Store(Copied(shared, copy)).snapshot()

    assert len(known.runs) == 1
    assert len(shared.asked) == 1
    assert shared.asked[0]


def test_what_others_wrote_replaces_the_copy(shared: Shared, copy: Path, said: list[str]) -> None:
    put(Store(Copied(shared, copy)), record(1))
    put(Store(shared), record(2))
    assert len(Store(Copied(shared, copy)).snapshot().runs) == 2
    shared.away = True

    assert len(Store(Copied(shared, copy, said.append)).snapshot().runs) == 2


def test_who_does_not_ask_gets_the_copy_once_there_is_one(shared: Shared, copy: Path) -> None:
    put(Store(shared), record(1))
    assert len(Store(Copied(shared, copy, asking=False)).snapshot().runs) == 1
    put(Store(shared), record(2))
    shared.asked.clear()

    known = Store(Copied(shared, copy, asking=False)).snapshot()

    assert len(known.runs) == 1
    assert shared.asked == []


@pytest.mark.parametrize(
    ("age_s", "words"),
    [(30, "less than a minute"), (60, "1 minute"), (7_300, "2 hours"), (2e5, "2 days")],
)
def test_the_age_of_the_copy_is_told_once(
    shared: Shared, copy: Path, said: list[str], age_s: float, words: str
) -> None:
    put(Store(Copied(shared, copy)), record(1))
    then = copy.stat().st_mtime - age_s
    os.utime(copy, (then, then))
    shared.away = True

    store = Store(Copied(shared, copy, said.append))
    assert len(store.snapshot().runs) == len(store.snapshot().runs) == 1

    (line,) = said
    assert line.endswith(f"This is as it was {words} ago.")


def test_only_who_reads_gets_the_copy(shared: Shared, copy: Path, said: list[str]) -> None:
    put(Store(Copied(shared, copy)), record(1))
    shared.away = True

    with pytest.raises(StoreAway):
        Store(Copied(shared, copy)).snapshot()
    with pytest.raises(StoreAway):
        put(Store(Copied(shared, copy, said.append)), record(2))


@pytest.mark.parametrize("content", [b"", b"nonsense\n", b'{"of":"another","mark":"x"}\n{}'])
def test_a_copy_that_is_none_is_not_believed(
    shared: Shared, copy: Path, said: list[str], content: bytes
) -> None:
    copy.parent.mkdir(parents=True)
    copy.write_bytes(content)
    assert len(Store(Copied(shared, copy)).snapshot().runs) == 0
    shared.away = True

    copy.write_bytes(content)
    with pytest.raises(StoreAway):
        Store(Copied(shared, copy, said.append)).snapshot()


def test_the_first_write_takes_the_local_state_along(
    shared: Shared, local: Path, said: list[str]
) -> None:
    put(Store(local), record(1))
    lineage = Store(local).snapshot().lineage
    store = Store(Moving(shared, local, said.append))
    assert len(store.snapshot().runs) == 1
    assert not shared.path.exists()

    put(store, record(2))

    known = Store(shared).snapshot()
    assert (len(known.runs), known.lineage, known.serial) == (2, lineage, 2)
    assert not local.exists()
    assert local.with_name("state.json.moved").exists()
    assert said == [f"The state of this project is now {shared.name}."]
    put(store, record(3))
    assert len(Store(shared).snapshot().runs) == 3


def test_a_move_that_was_cut_short_is_finished_by_the_next_write(
    shared: Shared, local: Path, said: list[str]
) -> None:
    put(Store(local), record(1))
    before = local.read_bytes()
    put(Store(Moving(shared, local, said.append)), record(2))
    local.write_bytes(before)

    store = Store(Moving(shared, local, said.append))
    assert len(store.snapshot().runs) == 2
    assert local.exists()
    put(store, record(3))

    assert not local.exists()
    assert len(Store(shared).snapshot().runs) == 3


def test_another_state_is_left_alone_and_told(shared: Shared, local: Path, said: list[str]) -> None:
    put(Store(local), record(1))
    put(Store(shared), record(2))
    moving = Moving(shared, local, said.append)

    put(Store(moving), record(3))

    assert len(Store(local).snapshot().runs) == 1
    assert len(Store(shared).snapshot().runs) == 2
    assert f"cosmos-jobs import {local}" in "".join(said)
    with pytest.raises(AnswerIsNo, match="another state"):
        moving.check_movable()


def test_a_local_state_that_went_on_by_itself_is_not_dropped(
    shared: Shared, local: Path, said: list[str]
) -> None:
    put(Store(local), record(1))
    put(Store(Moving(shared, local, said.append)), record(2))
    local.write_bytes(shared.path.read_bytes())
    put(Store(local), record(3))
    said.clear()

    put(Store(Moving(shared, local, said.append)), record(4))

    assert len(Store(local).snapshot().runs) == 3
    assert f"cosmos-jobs state push {local}" in "".join(said)


def test_nothing_is_moved_by_a_change_that_fails(
    shared: Shared, local: Path, said: list[str]
) -> None:
    put(Store(local), record(1))
    store = Store(Moving(shared, local, said.append))

    def fail(change: Transaction) -> None:
        _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        store.change(fail)

    assert local.exists()
    assert not shared.path.exists()
