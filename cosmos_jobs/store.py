"""The store: one TinyDB file, read without a lock, changed in short transactions."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar

import orjson
from tinydb import TinyDB
from tinydb.storages import Storage
from tinydb.table import Table

from cosmos_jobs import documents, files
from cosmos_jobs.documents import Document
from cosmos_jobs.errors import StoreError
from cosmos_jobs.model import Batch, Enhanced, PromptRecord, Record, Snapshot

FORMAT = 1
LOCK_TIMEOUT_S = 30.0

Tables: TypeAlias = dict[str, dict[str, Document]]
_Value = TypeVar("_Value")


class Store:
    """The prompts, runs and batches of a project in `path`, with its backup and lock beside it.

    Every error of the file or its lock is a StoreError; what is on disk is
    then as it was. Several threads may use one.
    """

    def __init__(self, path: Path, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self.path = path
        self.backup = path.with_name(path.name + ".bak")
        self._lock_timeout_s = lock_timeout_s
        self._mark: tuple[int, int, int] | None = None
        self._tables: Tables = {}
        # What is in memory belongs together: the tables of one write, and its mark.
        self._guard = threading.RLock()

    def snapshot(self) -> Snapshot:
        """Return all that is known; an absent file is an empty store."""
        with self._guard:
            return self._snapshot()

    def _snapshot(self) -> Snapshot:
        meta = self._load()["meta"]["store"]
        runs = self.table("runs")
        try:
            states = {key: documents.STATES[each["state"]] for key, each in runs.items()}
            sizes = {key: each["output"]["size"] for key, each in runs.items() if "output" in each}
            jobs = {key: each["path"] for key, each in self.table("jobs").items()}
        except (KeyError, TypeError) as error:
            raise self.damaged("a record is not as it should be") from error
        return Snapshot(
            _Decoded(self, "runs", documents.record),
            states,
            _Decoded(self, "prompts", documents.prompt_record),
            _Decoded(self, "batches", documents.batch),
            jobs,
            sizes,
            _Decoded(self, "enhanced", documents.enhanced),
            meta["lineage"],
            meta["serial"],
        )

    def table(self, name: str) -> dict[str, Document]:
        """Return the documents of a table as last read."""
        return self._tables.get(name, {})

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Lock the store, let many records be changed, write once; an error writes nothing.

        Hold it for milliseconds: every other writer waits.
        """
        with self._locked():
            change = Transaction(dict(self._load()))
            yield change
            if change.changed:
                self._commit(change.tables())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Readers never lock, and filelock takes 50 ms to import.
        from filelock import FileLock, Timeout

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock", timeout=self._lock_timeout_s):
                # What a killed writer left; nobody else writes now.
                for stale in self.path.parent.glob(f".*.{self.path.name}*"):
                    stale.unlink()
                yield
        except Timeout as error:
            raise StoreError(
                f"{self.path} is being written by another process", hint="try again in a moment"
            ) from error
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from error

    def _load(self) -> Tables:
        with self._guard:
            return self._read()

    def _read(self) -> Tables:
        try:
            mark = _mark(self.path)
            if mark != self._mark:
                self._tables, self._mark = self._parsed(self.path.read_bytes()), mark
        except FileNotFoundError:
            if self.backup.exists():
                raise self.damaged("it is gone") from None
            self._mark = None
            self._tables = {"meta": {"store": {"lineage": "", "serial": 0, "format": FORMAT}}}
        except OSError as error:
            raise StoreError(f"cannot read {self.path}: {error.strerror}") from error
        return self._tables

    def _parsed(self, data: bytes) -> Tables:
        try:
            tables: Tables = orjson.loads(data)
            meta = tables["meta"]["store"]
            found, lineage, serial = meta["format"], meta["lineage"], meta["serial"]
            kinds = [type(each) for each in (found, lineage, serial, *tables.values())]
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise self.damaged("it is not a whole state file") from error
        if kinds != [int, str, int, *(dict for _ in tables)]:
            raise self.damaged("it is not a whole state file")
        if found > FORMAT:
            raise StoreError(
                f"{self.path} has format {found}; this cosmos-jobs knows up to {FORMAT}",
                hint="upgrade: pip install --upgrade cosmos-jobs",
            )
        return tables

    def damaged(self, why: str) -> StoreError:
        """Return the error of a file that cannot be trusted: it names the backup."""
        if self.backup.exists():
            hint = f"look at its backup, then restore it: cp {self.backup} {self.path}"
        else:
            hint = f"there is no backup; move {self.path} away to start with an empty store"
        return StoreError(f"{self.path} is damaged: {why}; nothing was changed", hint=hint)

    def _commit(self, tables: Tables) -> None:
        if self.path.exists():
            files.link(self.path, self.backup)
        files.write(self.path, orjson.dumps(tables))
        with self._guard:
            self._tables, self._mark = tables, _mark(self.path)


class Transaction:
    """Records read and changed under the lock, and written together at its end."""

    def __init__(self, tables: Tables) -> None:
        self._storage = _Memory(tables)
        self._database = _Database(storage=lambda: self._storage)
        self.changed = False

    def run(self, run_id: str) -> Record | None:
        """Return what is known of a run."""
        document = self._get("runs", run_id)
        return None if document is None else documents.record(run_id, document)

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
        return None if document is None else documents.prompt_record(prompt_id, document)

    def batch(self, batch_id: str) -> Batch | None:
        """Return a batch."""
        document = self._get("batches", batch_id)
        return None if document is None else documents.batch(batch_id, document)

    def put_runs(self, records: Iterable[Record]) -> None:
        """Add or replace runs."""
        self._put("runs", {each.run.id: documents.record_document(each) for each in records})

    def put_prompts(self, prompts: Iterable[PromptRecord]) -> None:
        """Add or replace prompts."""
        self._put("prompts", {each.prompt.id: documents.prompt_document(each) for each in prompts})

    def enhanced(self, enhanced_id: str) -> Enhanced | None:
        """Return a text that an enhancer made."""
        document = self._get("enhanced", enhanced_id)
        return None if document is None else documents.enhanced(enhanced_id, document)

    def put_enhanced(self, texts: Iterable[Enhanced], *, replacing: bool = False) -> None:
        """Add texts that enhancers made; what is there stays, unless `replacing`."""
        new = (each for each in texts if replacing or self._get("enhanced", each.id) is None)
        self._put("enhanced", {each.id: documents.enhanced_document(each) for each in new})

    def put_batches(self, batches: Iterable[Batch]) -> None:
        """Add or replace batches."""
        self._put("batches", {each.id: documents.batch_document(each) for each in batches})

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

    def tables(self) -> Tables:
        """Return everything, as the next write: the same lineage, one serial later."""
        meta = self._get("meta", "store") or {}
        self._put(
            "meta",
            {
                "store": {
                    "format": FORMAT,
                    "lineage": meta.get("lineage") or str(uuid.uuid4()),
                    "serial": meta.get("serial", 0) + 1,
                }
            },
        )
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


def _mark(path: Path) -> tuple[int, int, int]:
    """Return what tells one written state file from the next; each is a new file."""
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


class _Decoded(Mapping[str, _Value]):
    """A table whose documents become values when they are asked for: most never are."""

    def __init__(self, store: Store, name: str, decode: Callable[[str, Document], _Value]) -> None:
        self._damaged = store.damaged
        self._documents = store.table(name)
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
