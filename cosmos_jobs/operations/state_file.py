"""Operations on the state as a whole: where it is, taken out, put back, moved."""

from __future__ import annotations

from pathlib import Path

from cosmos_jobs.core.snapshot import StateFacts
from cosmos_jobs.errors import AnswerIsNo, UsageError
from cosmos_jobs.operations.session import Session
from cosmos_jobs.state.backends.base import Content
from cosmos_jobs.state.backends.migrate import Moving
from cosmos_jobs.state.store import Tables, Transaction


def show_state(session: Session) -> StateFacts:
    """Return where the state is, which one it is, and who wrote it last."""
    found, data = _found(session)
    tables = session.store.parsed(data)
    meta = tables["meta"]["store"]
    file = session.store.file
    return StateFacts(
        place=file.place(found) if isinstance(file, Moving) else file.name,
        shared=bool(session.project.state),
        lineage=meta["lineage"],
        serial=meta["serial"],
        size=len(data),
        prompts=len(tables.get("prompts", {})),
        runs=len(tables.get("runs", {})),
        written=meta.get("written"),
        client=meta.get("client", ""),
    )


def pull_state(session: Session, *, backup: bool = False) -> bytes:
    """Return the state file as it is, also a damaged one, or its backup.

    Raises AnswerIsNo when there is none.
    """
    if not backup:
        return _found(session)[1]
    data = session.store.file.backup()
    if data is None:
        raise AnswerIsNo(f"{session.store.file.name} has no backup yet")
    return data


def push_state(session: Session, data: bytes, name: str, *, force: bool = False) -> int:
    """Put a state file in the place of the state, and return its new serial.

    `name` is what messages call it. Raises AnswerIsNo when it is of another
    lineage or older than what is there, unless with `force`, which also
    replaces a damaged one; StoreError when it is no state file.
    """
    tables = session.store.parsed(data, name)

    def replace(change: Transaction) -> int:
        if not force:
            _check_follows(session, change, tables, name)
        change.replace(tables)
        return int(change.meta["serial"]) + 1

    return session.store.change(replace, over_damage=force)


def migrate_state(session: Session) -> str:
    """Move the local state to where `state` in cosmos-jobs.yaml says; return where that is.

    Raises UsageError when it says nothing, AnswerIsNo when there is nothing
    to move, or the shared state is another one.
    """
    file = session.store.file
    if not isinstance(file, Moving):
        raise UsageError(
            "the state is not shared",
            hint="say in cosmos-jobs.yaml where it is to be: state: {target: NAME}",
        )
    file.check_movable()

    def write(change: Transaction) -> None:
        change.changed = True

    session.store.change(write)
    return file.name


def state_holder(session: Session) -> str:
    """Return who keeps others from writing the state just now; "" when nobody does."""
    return session.store.file.holder()


def _found(session: Session) -> tuple[Content, bytes]:
    found = session.store.file.read("")
    if found is None or found.data is None:
        if found is not None and found.is_lost:
            raise session.store.damaged("it is gone")
        raise AnswerIsNo(
            f"there is no state yet: {session.store.file.name}",
            hint="the first command that writes makes it: cosmos-jobs apply",
        )
    return found, found.data


def _check_follows(session: Session, change: Transaction, tables: Tables, name: str) -> None:
    theirs, ours = tables["meta"]["store"], change.meta
    hint = "to replace it all the same: --force"
    if ours.get("lineage") and theirs["lineage"] != ours["lineage"]:
        message = f"{name} is of another lineage than {session.store.file.name}"
        raise AnswerIsNo(f"{message}; nothing was changed", hint=hint)
    if theirs["serial"] < ours.get("serial", 0):
        message = f"{name} is older than {session.store.file.name}"
        counts = f"serial {theirs['serial']}, and there is {ours['serial']}"
        raise AnswerIsNo(f"{message}: {counts}; nothing was changed", hint=hint)


def read(path: str) -> bytes:
    """Return the bytes of a state file to push; UsageError when it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
