"""The store on a real file system: whole or not at all, and one writer at a time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from tinydb import TinyDB

from cosmos_jobs.core.batch import Batch
from cosmos_jobs.core.record import Attempt, Output, PromptRecord, Record, State
from cosmos_jobs.core.run import Prompt, Run
from cosmos_jobs.errors import StoreError
from cosmos_jobs.state.backends.base import Content, Unwritten, Writing
from cosmos_jobs.state.backends.delegate import Wrapped
from cosmos_jobs.state.backends.local import LocalFile
from cosmos_jobs.state.store import FORMAT, REMEMBERED, Store, Transaction

PROMPT = PromptRecord(
    prompt=Prompt("ps_0000000000000001", "a pier", "cartoon", {"color": "0" * 64}),
    name="golden",
    video="pier",
    files={"color": "clips/pier/color.mp4"},
    frames=97,
)

DOCUMENT = {
    "prompt": "ps_1",
    "engine": "preview",
    "contract": 1,
    "weights": {},
    "params": {},
    "jobs": {},
    "state": "failed",
}


def record(number: int) -> Record:
    run = Run(
        f"rs_{number:016x}",
        PROMPT.prompt.id,
        "preview",
        1,
        {"edge": 0.5},
        {"seed": number, "n": None},
    )
    attempt = Attempt("ba_1", "local", State.SUCCEEDED, 1.0, 2.5, 0)
    output = Output("f" * 64, 1234, 97)
    return Record(run, {"job": "golden/a"}, State.SUCCEEDED, "", (attempt,), output)


def put(store: Store, *records: Record) -> None:
    store.change(lambda change: change.put_runs(records))


def test_what_is_put_is_read_back_by_another_reader(tmp_path: Path) -> None:
    records = [record(1), replace(record(2), state=State.FAILED, reason="no", output=None)]
    batch = Batch("ba_1", "preview", "local", ("rs_1", "rs_2"))

    def work(change: Transaction) -> None:
        change.put_runs(records)
        change.put_prompts([PROMPT])
        change.put_batches([batch])

    Store(tmp_path / "state.json").change(work)

    known = Store(tmp_path / "state.json").snapshot()

    assert list(known.runs.values()) == records
    assert known.states == {each.run.id: each.state for each in records}
    assert dict(known.prompts) == {PROMPT.prompt.id: PROMPT}
    assert dict(known.batches) == {"ba_1": batch}


def test_the_file_is_a_tinydb_file(tmp_path: Path) -> None:
    put(Store(tmp_path / "state.json"), record(1))

    with TinyDB(tmp_path / "state.json") as database:
        assert database.tables() == {"runs", "meta"}
        assert orjson.loads((tmp_path / "state.json").read_bytes())["meta"]["store"]["serial"] == 1


def test_each_write_is_one_serial_later_in_the_same_lineage(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.json")
    seen = []
    for number in range(3):
        put(store, record(number))
        known = store.snapshot()
        seen.append((known.lineage, known.serial))

    assert [serial for _, serial in seen] == [1, 2, 3]
    assert len({lineage for lineage, _ in seen}) == 1


class Unlucky(Wrapped):
    """A file whose first writes are lost on their way, while others write a lot."""

    def __init__(self, file: LocalFile, losses: int) -> None:
        super().__init__(file)
        self.losses = losses
        self._others = Store(file.path)

    @contextmanager
    def writing(self, mark: str) -> Iterator[Writing]:
        if not self.losses:
            with self._file.writing(mark) as writing:
                yield writing
            return
        try:
            with self._file.writing(mark) as writing:
                yield _Lost(writing.found)
        finally:
            self.losses -= 1
            for number in range(REMEMBERED - 56):
                put(self._others, record(100 + self.losses * REMEMBERED + number))


class _Lost:
    def __init__(self, found: Content | None) -> None:
        self.found = found

    def write(self, data: bytes) -> str:
        raise Unwritten("the connection was cut")


def test_a_change_that_is_lost_again_and_again_is_made_once_however_much_others_write(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.json"

    put(Store(Unlucky(LocalFile(path), losses=3)), record(1))

    assert len(Store(path).snapshot().runs) == 3 * (REMEMBERED - 56) + 1


def test_a_transaction_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    def nothing(change: Transaction) -> None:
        change.put_runs([])
        change.remove("runs", [])

    Store(tmp_path / "state.json").change(nothing)

    assert not (tmp_path / "state.json").exists()


def test_a_look_at_what_nobody_has_written_since_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    store, other = Store(path), Store(path)
    put(store, record(1))

    first = store.snapshot()
    again = store.snapshot()
    put(other, record(2))
    later = store.snapshot()

    assert again is first
    assert set(first.runs) == {record(1).run.id}
    assert set(later.runs) == {record(1).run.id, record(2).run.id}


def test_an_error_within_a_transaction_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.json")
    put(store, record(1))
    before = (tmp_path / "state.json").read_bytes()

    def fail(change: Transaction) -> None:
        change.put_runs([record(2)])
        _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        store.change(fail)

    assert (tmp_path / "state.json").read_bytes() == before
    assert list(store.snapshot().runs) == [record(1).run.id]


def test_the_backup_is_the_write_before(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    store = Store(path)
    put(store, record(1))
    before = path.read_bytes()

    put(store, record(2))

    assert path.with_name("state.json.bak").read_bytes() == before


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_cut_file_is_refused_with_the_way_back(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "state.json"
    store = Store(path)
    for number in range(2):
        put(store, record(number))
    path.write_bytes(path.read_bytes()[:cut])

    with pytest.raises(StoreError) as caught:
        Store(path).snapshot()

    assert "nothing was changed" in caught.value.message
    assert f"cp {path.with_name('state.json.bak')} {path}" in caught.value.hint


@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b'{"meta":{"store":{"format":1}}}', b'{"meta":{"store":[]}}', b"null"]
)
def test_another_file_of_json_is_no_store(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.json").write_bytes(content)

    with pytest.raises(StoreError, match="not a whole state file"):
        Store(tmp_path / "state.json").snapshot()


@pytest.mark.parametrize(
    "table",
    [
        {"rs_1": {"state": "dreaming"}},
        {"rs_1": {"state": "failed"}},
        {"rs_1": []},
        {"rs_1": {**DOCUMENT, "attempts": [{"lap": 1}]}},
    ],
)
def test_a_record_of_another_shape_is_an_error_and_no_crash(tmp_path: Path, table: object) -> None:
    meta = {"store": {"format": FORMAT, "lineage": "x", "serial": 1}}
    (tmp_path / "state.json").write_bytes(orjson.dumps({"meta": meta, "runs": table}))

    with pytest.raises(StoreError, match="damaged"):
        list(Store(tmp_path / "state.json").snapshot().runs.values())


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    meta = {"store": {"format": FORMAT + 1, "lineage": "x", "serial": 1}}
    (tmp_path / "state.json").write_bytes(orjson.dumps({"meta": meta}))

    with pytest.raises(StoreError) as caught:
        Store(tmp_path / "state.json").snapshot()

    assert f"has format {FORMAT + 1}" in caught.value.message
    assert "upgrade" in caught.value.hint


def test_a_store_that_is_gone_while_its_backup_is_there_is_not_an_empty_store(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.json"
    store = Store(path)
    for number in range(2):
        put(store, record(number))
    path.unlink()

    with pytest.raises(StoreError, match="gone"):
        Store(path).snapshot()


def _write_many(path: Path, writer: int, count: int) -> None:
    store = Store(path)
    for number in range(count):
        put(store, record(writer * 1000 + number))


def test_four_writers_at_once_lose_no_record(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(path, n, 25)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)

    known = Store(path).snapshot()

    assert [writer.exitcode for writer in writers] == [0] * 4
    assert len(known.runs) == 100
    assert known.serial == 100


def test_a_writer_waits_for_the_lock_and_then_says_so(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    impatient = Store(LocalFile(path, lock_timeout_s=0.1))

    with LocalFile(path).writing(""), pytest.raises(StoreError, match="another process"):
        impatient.change(lambda change: None)


def test_a_full_disk_leaves_the_store_as_it_was(small_disk: Path) -> None:
    path = small_disk / "state.json"
    store = Store(path)
    put(store, record(1))
    before = path.read_bytes()

    with pytest.raises(StoreError, match="No space left"):
        put(store, *(record(number) for number in range(20_000)))

    assert path.read_bytes() == before
    assert len(Store(path).snapshot().runs) == 1
