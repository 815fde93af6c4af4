"""The store: one TinyDB file, read without a lock, changed in short transactions."""

from __future__ import annotations

import itertools
import math
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias, TypeVar

import orjson
from tinydb import TinyDB
from tinydb.storages import Storage
from tinydb.table import Table

from cosmos_jobs.core import serialize
from cosmos_jobs.core.backoff import Backoff
from cosmos_jobs.core.batch import Batch
from cosmos_jobs.core.job import Enhanced
from cosmos_jobs.core.record import PromptRecord, Record
from cosmos_jobs.core.serialize import Document
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.errors import StoreDamaged, StoreError
from cosmos_jobs.state.backends.base import Content, StateFile, Unwritten
from cosmos_jobs.state.backends.local import LocalFile

FORMAT = 1
PATIENCE_S = 120.0
REMEMBERED = 256
"""How many of the last writes a state tells of: who does not know whether it wrote looks there."""

# Writers that met once do not meet again in step.
_PAUSES = Backoff(0.02, 1.0, spread=1.0)

Tables: TypeAlias = dict[str, dict[str, Document]]
_Value = TypeVar("_Value")
_Result = TypeVar("_Result")

_EMPTY: Tables = {"meta": {"store": {"lineage": "", "serial": 0, "format": FORMAT}}}


class Store:
    """The prompts, runs and batches of a project, in a state file; a Path is a local one.

    Every error of the file or its lock is a StoreError; what is kept is then
    as it was. `client` is told to others as the one who wrote. Several threads
    may use one.
    """

    def __init__(self, file: StateFile | Path, client: str = "") -> None:
        self.file = LocalFile(file) if isinstance(file, Path) else file
        self._client = client
        self._mark = ""
        self._tables: Tables = _EMPTY
        self._looked = -math.inf
        self._last: tuple[Tables, Snapshot] | None = None
        # What is in memory belongs together: the tables of one write, and its mark.
        self._guard = threading.Lock()
        self._turn = threading.RLock()

    def snapshot(self) -> Snapshot:
        """Return all that is known; an absent file is an empty store.

        What nobody has written since is the same snapshot: a look that finds
        nothing new costs nothing, however much is known.
        """
        tables, last = self._load(), self._last
        if last is None or last[0] is not tables:
            last = self._last = tables, self._snapshot(tables)
        return last[1]

    def _snapshot(self, tables: Tables) -> Snapshot:
        meta = tables["meta"]["store"]
        runs = tables.get("runs", {})
        try:
            states = {key: serialize.STATES[each["state"]] for key, each in runs.items()}
            sizes = {key: each["output"]["size"] for key, each in runs.items() if "output" in each}
            jobs = {key: each["path"] for key, each in tables.get("jobs", {}).items()}
        except (KeyError, TypeError) as error:
            raise self.damaged("a record is not as it should be") from error

        def decoded(name: str, decode: Callable[[str, Document], _Value]) -> _Decoded[_Value]:
            return _Decoded(tables.get(name, {}), decode, self.damaged)

        return Snapshot(
            decoded("runs", serialize.record),
            states,
            decoded("prompts", serialize.prompt_record),
            decoded("batches", serialize.batch),
            jobs,
            sizes,
            decoded("enhanced", serialize.enhanced),
            meta["lineage"],
            meta["serial"],
        )

    def table(self, name: str) -> dict[str, Document]:
        """Return the documents of a table as last read."""
        return self._tables.get(name, {})

    def change(
        self, work: Callable[[Transaction], _Result], *, over_damage: bool = False
    ) -> _Result:
        """Let `work` change many records, write them at once and return its result.

        An error of `work` writes nothing. It decides by what the transaction
        tells, and may be called again: when others wrote first, or when it is
        not known whether it was written. It takes milliseconds: others wait.
        With `over_damage` a damaged file counts as none.
        """
        tried: dict[str, tuple[int, _Result]] = {}
        deadline = time.monotonic() + PATIENCE_S
        with self._turn:
            for number in itertools.count():
                try:
                    return self._change(work, tried, over_damage=over_damage)
                except Unwritten as why:
                    pause = _PAUSES.pause(number)
                    if time.monotonic() + pause > deadline:
                        raise self._unwritten(why) from why
                    time.sleep(pause)
        raise AssertionError

    def _change(
        self,
        work: Callable[[Transaction], _Result],
        tried: dict[str, tuple[int, _Result]],
        *,
        over_damage: bool,
    ) -> _Result:
        with self._guard:
            mark, tables = self._mark, self._tables
        with self.file.writing(mark) as writing:
            # Not what a reader may have put into memory meanwhile: this is what is replaced.
            if writing.found is not None:
                tables = self._replaced(writing.found, over_damage=over_damage)
            if (landed := self._landed(tables, tried)) is not None:
                return tried[landed][1]
            change = Transaction(dict(tables))
            result = work(change)
            if change.changed:
                write = secrets.token_hex(6)
                tables = change.tables(write, self._client, time.time())
                tried[write] = tables["meta"]["store"]["serial"], result
                self._keep(tables, writing.write(orjson.dumps(tables)))
        return result

    def _replaced(self, found: Content, *, over_damage: bool) -> Tables:
        try:
            return self._read(found)
        except StoreDamaged:
            if not over_damage:
                raise
            return _EMPTY

    def _landed(self, tables: Tables, tried: dict[str, tuple[int, _Result]]) -> str | None:
        """Return which of our writes was written after all, if one was; it is one at most.

        Forget those that can no longer be: another write is in their place.
        """
        if not tried:
            return None
        meta = tables["meta"]["store"]
        known = meta.get("writes", ())
        for write, (serial, _) in list(tried.items()):
            if write in known:
                return write
            if meta["serial"] - serial >= len(known):
                raise StoreError(
                    f"{self.file.name} has moved on so far that it does not tell"
                    " whether the last change was written",
                    hint="look, then repeat: cosmos-jobs status",
                )
            if meta["serial"] >= serial:
                del tried[write]
        return None

    def _unwritten(self, why: Unwritten) -> StoreError:
        return StoreError(
            f"{self.file.name} could not be written for {PATIENCE_S:.0f} s: {why}",
            hint="try again in a moment; cosmos-jobs state lock-info tells who writes",
        )

    def _load(self) -> Tables:
        with self._guard:
            mark, tables, looked = self._mark, self._tables, self._looked
        if time.monotonic() - looked < self.file.fresh_s:
            return tables
        return self._taken(mark, self.file.read(mark))

    def _taken(self, mark: str, found: Content | None) -> Tables:
        """Return the tables of what was found by someone who had the one with `mark`."""
        tables = None if found is None else self._read(found)
        with self._guard:
            # A reader may be slower than a writer.
            if self._mark == mark:
                self._looked = time.monotonic()
                if found is not None and tables is not None:
                    self._mark, self._tables = found.mark, tables
            return self._tables

    def _keep(self, tables: Tables, mark: str) -> None:
        with self._guard:
            self._tables, self._mark, self._looked = tables, mark, time.monotonic()

    def _read(self, found: Content) -> Tables:
        if found.data is not None:
            return self.parsed(found.data)
        if found.is_lost:
            raise self.damaged("it is gone")
        return _EMPTY

    def parsed(self, data: bytes, name: str = "") -> Tables:
        """Return the tables of a state file's bytes, our own or one called `name`.

        Raises StoreError for what is none, and for a newer format.
        """
        try:
            tables: Tables = orjson.loads(data)
            meta = tables["meta"]["store"]
            found, lineage, serial = meta["format"], meta["lineage"], meta["serial"]
            kinds = [type(each) for each in (found, lineage, serial, *tables.values())]
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise self._no_state(name) from error
        if kinds != [int, str, int, *(dict for _ in tables)]:
            raise self._no_state(name)
        if found > FORMAT:
            what = f"{name or self.file.name} has format {found}"
            raise StoreError(
                f"{what}; this cosmos-jobs knows up to {FORMAT}",
                hint="upgrade: pip install --upgrade cosmos-jobs",
            )
        return tables

    def _no_state(self, name: str) -> StoreError:
        if name:
            return StoreError(f"{name} is not a whole state file; nothing was changed")
        return self.damaged("it is not a whole state file")

    def damaged(self, why: str) -> StoreDamaged:
        """Return the error of a file that cannot be trusted: it names the backup."""
        message = f"{self.file.name} is damaged: {why}; nothing was changed"
        return StoreDamaged(message, hint=self.file.restoring())


class Transaction:
    """Records read and changed under the lock, and written together at its end."""

    def __init__(self, tables: Tables) -> None:
        self._storage = _Memory(tables)
        self._database = _Database(storage=lambda: self._storage)
        self.changed = False

    @property
    def meta(self) -> Document:
        """Return which state this is: its lineage and serial, and of its last writes."""
        return self._get("meta", "store") or {}

    def replace(self, tables: Tables) -> None:
        """Put all of another state in the place of this one, later than either."""
        theirs, ours = tables["meta"]["store"], self.meta
        meta = {
            "lineage": theirs["lineage"],
            "serial": max(theirs["serial"], ours.get("serial", 0)),
            "writes": ours.get("writes", []),
        }
        self._storage.write({**tables, "meta": {"store": meta}})
        self.changed = True

    def run(self, run_id: str) -> Record | None:
        """Return what is known of a run."""
        document = self._get("runs", run_id)
        return None if document is None else serialize.record(run_id, document)

    def prompts_with_runs(self) -> frozenset[str]:
        """Return the ids of the prompts that runs are of."""
        runs = self._storage.tables.get("runs", {})
        return frozenset(str(document["prompt"]) for document in runs.values())

    def children(self) -> dict[str, list[str]]:
        """Return the ids of the prompts that were made of others, by the ids of these."""
        found: dict[str, list[str]] = {}
        for key, each in self._storage.tables.get("prompts", {}).items():
            if parent := each.get("parent"):
                found.setdefault(str(parent), []).append(key)
        return found

    def names(self) -> frozenset[str]:
        """Return the names of all prompts."""
        return frozenset(
            str(each["name"]) for each in self._storage.tables.get("prompts", {}).values()
        )

    def prompt(self, prompt_id: str) -> PromptRecord | None:
        """Return what is known of a prompt."""
        document = self._get("prompts", prompt_id)
        return None if document is None else serialize.prompt_record(prompt_id, document)

    def batch(self, batch_id: str) -> Batch | None:
        """Return a batch."""
        document = self._get("batches", batch_id)
        return None if document is None else serialize.batch(batch_id, document)

    def put_runs(self, records: Iterable[Record]) -> None:
        """Add or replace runs."""
        self._put("runs", {each.run.id: serialize.record_document(each) for each in records})

    def put_prompts(self, prompts: Iterable[PromptRecord]) -> None:
        """Add or replace prompts."""
        self._put("prompts", {each.prompt.id: serialize.prompt_document(each) for each in prompts})

    def enhanced(self, enhanced_id: str) -> Enhanced | None:
        """Return a text that an enhancer made."""
        document = self._get("enhanced", enhanced_id)
        return None if document is None else serialize.enhanced(enhanced_id, document)

    def put_enhanced(self, texts: Iterable[Enhanced], *, replacing: bool = False) -> None:
        """Add texts that enhancers made; what is there stays, unless `replacing`."""
        new = (each for each in texts if replacing or self._get("enhanced", each.id) is None)
        self._put("enhanced", {each.id: serialize.enhanced_document(each) for each in new})

    def put_batches(self, batches: Iterable[Batch]) -> None:
        """Add or replace batches."""
        self._put("batches", {each.id: serialize.batch_document(each) for each in batches})

    def put_jobs(self, paths: Mapping[str, str]) -> None:
        """Note which files jobs come from."""
        self._put("jobs", {name: {"path": path} for name, path in paths.items()})

    def job(self, name: str) -> str | None:
        """Return the file that a job was last applied from, "" if it had none; None if unknown."""
        document = self._get("jobs", name)
        return None if document is None else str(document.get("path", ""))

    def remove(self, table: str, ids: Iterable[str]) -> None:
        """Remove documents of a table; ids that are not there do not matter."""
        gone = set(ids)
        if gone:
            self.changed = True
            self._database.documents(table).change(
                lambda documents: [documents.pop(each, None) for each in gone]
            )

    def table(self, name: str) -> Mapping[str, Document]:
        """Return the documents of a table."""
        return self._storage.tables.get(name, {})

    def tables(self, write: str, client: str, now: float) -> Tables:
        """Return everything, as the next write: the same lineage, one serial later.

        `write` is this one's name among the last ones, `client` who writes it.
        """
        meta = self.meta
        made = {
            "format": FORMAT,
            "lineage": meta.get("lineage") or str(uuid.uuid4()),
            "serial": meta.get("serial", 0) + 1,
            "writes": [*meta.get("writes", ()), write][-REMEMBERED:],
            "written": int(now),
            "client": client,
        }
        self._put("meta", {"store": made})
        return self._storage.tables

    def _get(self, table: str, document_id: str) -> Document | None:
        return self._storage.tables.get(table, {}).get(document_id)

    def _put(self, table: str, documents: Mapping[str, Document]) -> None:
        if documents:
            self.changed = True
            self._database.documents(table).change(lambda known: known.update(documents))


class _Memory(Storage):
    """The storage of one transaction: the file is read before it and written after it."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    def read(self) -> Tables:
        return self.tables

    def write(self, data: Tables) -> None:
        self.tables = data


class _Documents(Table):
    """A table whose document ids are our ids."""

    document_id_class = str  # type: ignore[assignment]

    def change(self, change: Callable[[dict[str, Document]], object]) -> None:
        # TinyDB's own update methods rebuild the table for each document.
        self._update_table(change)  # type: ignore[arg-type]


class _Database(TinyDB):
    table_class = _Documents

    def documents(self, name: str) -> _Documents:
        table = self.table(name, cache_size=0)
        assert isinstance(table, _Documents)  # noqa: S101
        return table


class _Decoded(Mapping[str, _Value]):
    """A table whose documents become values when they are asked for: most never are."""

    def __init__(
        self,
        table: Mapping[str, Document],
        decode: Callable[[str, Document], _Value],
        damaged: Callable[[str], StoreError],
    ) -> None:
        self._damaged = damaged
        self._documents = table
        self._decode = decode

    def __getitem__(self, key: str) -> _Value:
        document = self._documents[key]
        try:
            return self._decode(key, document)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            why = f"the record of {key} is not as it should be"
            raise self._damaged(why) from error

    def __contains__(self, key: object) -> bool:
        return key in self._documents

    def __iter__(self) -> Iterator[str]:
        return iter(self._documents)

    def __len__(self) -> int:
        return len(self._documents)
