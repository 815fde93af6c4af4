"""What a command tells programs beside people: events on stdout, and a JUnit file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click

from cosmos_jobs import cli
from cosmos_jobs.cli import console
from cosmos_jobs.cli.views import junit
from cosmos_jobs.cli.views.events import Stream
from cosmos_jobs.config.project import environment_secrets
from cosmos_jobs.core import atomic
from cosmos_jobs.core.diagnostics import Diagnostic
from cosmos_jobs.core.record import Record
from cosmos_jobs.errors import CosmosJobsError, HostError, InvalidFiles
from cosmos_jobs.plan.model import Applied, Followed


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a command has ended early: its exit code, what is said, and which files are wrong."""

    exit_code: int
    message: str
    hint: str = ""
    problems: tuple[Diagnostic, ...] = ()


@dataclass(slots=True)
class Report:
    """What is told to programs: a stream of events and a JUnit file, where they are wanted."""

    stream: Stream | None = None
    junit: Path | None = None
    written: bool = False
    left: tuple[Record, ...] = ()
    """What was followed when the user interrupted."""

    def applied(self, applied: Applied) -> None:
        """Tell what came of an apply."""
        if self.stream:
            self.stream.applied(applied)
        self._write(junit.applied(applied) if self.junit else b"")

    def followed(self, done: Followed) -> None:
        """Tell what became of runs in flight."""
        if self.stream:
            self.stream.followed(done)
        self._write(junit.followed(done) if self.junit else b"")

    def interrupted(self, records: Iterable[Record]) -> None:
        """Take how far runs had come into the reports of a command that is interrupted."""
        self.left = tuple(records)
        if self.stream:
            self.stream.followed(Followed(self.left, (), ()))

    def failed(self, verdict: Verdict) -> None:
        """Tell why a command has ended early."""
        if self.stream:
            self.stream.error(verdict.message, verdict.hint, verdict.exit_code, verdict.problems)
        if not self.written:
            said = junit.refused(verdict.message, verdict.hint, self.left) if self.junit else b""
            self._write(said)

    def _write(self, data: bytes) -> None:
        if self.junit:
            atomic.write(self.junit, data)
            self.written = True


@contextmanager
def reporting(form: str, junit: Path | None = None) -> Iterator[Report]:
    """Yield what takes reports; whatever happens, the stream ends with its summary."""
    report = Report(_stream() if form == "json" else None, junit)
    code = 0
    try:
        yield report
    except click.exceptions.Exit as leaving:
        code = leaving.exit_code
        raise
    except BaseException as error:
        verdict = _masked(_verdict(error))
        code = verdict.exit_code
        report.failed(verdict)
        raise
    finally:
        if report.stream:
            report.stream.close(code)


def _stream() -> Stream:
    return Stream(console.echo, secrets=environment_secrets())


def _masked(verdict: Verdict) -> Verdict:
    message, hint = map(cli.masked, (verdict.message, verdict.hint))
    return replace(verdict, message=message, hint=hint)


def _verdict(error: BaseException) -> Verdict:
    match error:
        case CosmosJobsError():
            problems = error.diagnostics if isinstance(error, InvalidFiles) else ()
            return Verdict(error.exit_code, error.message, error.hint, problems)
        case click.ClickException():
            return Verdict(error.exit_code, error.format_message())
        case KeyboardInterrupt() | click.Abort():
            return Verdict(cli.INTERRUPTED, "interrupted", "the same command goes on")
        case OSError():
            return Verdict(HostError.exit_code, str(error), "mend that, then repeat")
    # What an exception of a library says is on standard error, and never in a report.
    return Verdict(cli.BUG, f"a bug in cosmos-jobs: {type(error).__name__}", "please report it")
