"""Operations on the state as a whole: where it is, taken out, put back, moved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_jobs.core.snapshot import StateFacts
from cosmos_jobs.errors import AnswerIsNo, UsageError
from cosmos_jobs.operations.base import Base
from cosmos_jobs.state.backends.migrate import Moving

if TYPE_CHECKING:
    from cosmos_jobs.state.backends.base import Content
    from cosmos_jobs.state.store import Tables, Transaction


class States(Base):
    """What can be done with the state as a whole."""

    def show_state(self) -> StateFacts:
        """Return where the state is, which one it is, and who wrote it last."""
        found, data = self._found()
        tables = self.store.parsed(data)
        meta = tables["meta"]["store"]
        file = self.store.file
        return StateFacts(
            file.place(found) if isinstance(file, Moving) else file.name,
            bool(self.project.state),
            meta["lineage"],
            meta["serial"],
            len(data),
            len(tables.get("prompts", {})),
            len(tables.get("runs", {})),
            meta.get("written"),
            meta.get("client", ""),
        )

    def pull_state(self, *, backup: bool = False) -> bytes:
        """Return the state file as it is, also a damaged one, or its backup.

        Raises AnswerIsNo when there is none.
        """
        if not backup:
            return self._found()[1]
        data = self.store.file.backup()
        if data is None:
            raise AnswerIsNo(f"{self.store.file.name} has no backup yet")
        return data

    def push_state(self, data: bytes, name: str, *, force: bool = False) -> int:
        """Put a state file in the place of the state, and return its new serial.

        `name` is what messages call it. Raises AnswerIsNo when it is of another
        lineage or older than what is there, unless with `force`, which also
        replaces a damaged one; StoreError when it is no state file.
        """
        tables = self.store.parsed(data, name)

        def replace(change: Transaction) -> int:
            if not force:
                self._check_follows(change, tables, name)
            change.replace(tables)
            return int(change.meta["serial"]) + 1

        return self.store.change(replace, over_damage=force)

    def migrate_state(self) -> str:
        """Move the local state to where `state` in cosmos-jobs.yaml says; return where that is.

        Raises UsageError when it says nothing, AnswerIsNo when there is nothing
        to move, or the shared state is another one.
        """
        file = self.store.file
        if not isinstance(file, Moving):
            raise UsageError(
                "the state is not shared",
                hint="say in cosmos-jobs.yaml where it is to be: state: {target: NAME}",
            )
        file.check_movable()

        def write(change: Transaction) -> None:
            change.changed = True

        self.store.change(write)
        return file.name

    def state_holder(self) -> str:
        """Return who keeps others from writing the state just now; "" when nobody does."""
        return self.store.file.holder()

    def _found(self) -> tuple[Content, bytes]:
        found = self.store.file.read("")
        if found is None or found.data is None:
            if found is not None and found.is_lost:
                raise self.store.damaged("it is gone")
            raise AnswerIsNo(
                f"there is no state yet: {self.store.file.name}",
                hint="the first command that writes makes it: cosmos-jobs apply",
            )
        return found, found.data

    def _check_follows(self, change: Transaction, tables: Tables, name: str) -> None:
        theirs, ours = tables["meta"]["store"], change.meta
        hint = "to replace it all the same: --force"
        if ours.get("lineage") and theirs["lineage"] != ours["lineage"]:
            message = f"{name} is of another lineage than {self.store.file.name}"
            raise AnswerIsNo(f"{message}; nothing was changed", hint=hint)
        if theirs["serial"] < ours.get("serial", 0):
            message = f"{name} is older than {self.store.file.name}"
            counts = f"serial {theirs['serial']}, and there is {ours['serial']}"
            raise AnswerIsNo(f"{message}: {counts}; nothing was changed", hint=hint)


def read(path: str) -> bytes:
    """Return the bytes of a state file to push; UsageError when it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
