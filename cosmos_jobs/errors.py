"""Every deliberate error and its exit code.

CosmosJobsError
├── AnswerIsNo          1    a limit refuses, a saved plan is stale
├── UsageError          2    a name on the command line that does not exist
├── InvalidFiles        3    job or project files with problems, all of them at once
├── StoreError          4    the state file is corrupt, too new or being written;
│   │                        published outputs cannot be had, or outputs not published
│   ├── StoreDamaged         it cannot be trusted; there may be a backup
│   └── StoreAway            where it is kept does not answer, for now
├── HostError           5    a machine or a scheduler
│   ├── NoContact            it does not answer: what runs there goes on, unseen
│   │   └── ConnectionLost       it did until just now: what was begun may be done
│   └── TransferError        a file arrives damaged each time
└── EngineError         6    an engine or an enhancer

A failed run is not an error: it is data, and is returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cosmos_jobs.core.diagnostics import Diagnostic


class CosmosJobsError(Exception):
    """Say what happened (`message`) and what to type next (`hint`)."""

    exit_code = 70

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class AnswerIsNo(CosmosJobsError):
    """The question was understood and the answer is no: nothing was started."""

    exit_code = 1


class UsageError(CosmosJobsError):
    """A word of the command line names something that does not exist."""

    exit_code = 2


class InvalidFiles(CosmosJobsError):
    """Files are wrong; `diagnostics` holds every problem of every file."""

    exit_code = 3

    def __init__(self, message: str, diagnostics: Sequence[Diagnostic], *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.diagnostics = tuple(diagnostics)


class StoreError(CosmosJobsError):
    """The store cannot be read or written; what is on disk is left as it is."""

    exit_code = 4


class StoreDamaged(StoreError):
    """The state file is not whole, or gone while its backup is there."""


class StoreAway(StoreError):
    """A shared state does not answer, for now: nothing is known of it but the last copy."""


class HostError(CosmosJobsError):
    """A machine or its scheduler refuses or does not answer."""

    exit_code = 5


class NoContact(HostError):
    """A machine does not answer, for now: nothing is known about what runs there."""


class ConnectionLost(NoContact):
    """A connection was cut while a machine was at something; it can be asked again at once."""


class TransferError(HostError):
    """A file cannot be brought over whole; the machine itself is well."""


class EngineError(CosmosJobsError):
    """An engine is unknown, missing or misconfigured."""

    exit_code = 6
