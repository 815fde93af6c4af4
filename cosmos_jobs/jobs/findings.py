"""What is wrong with a job file gathers here while its sections are read."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, TypeAlias

from cosmos_jobs.config import ranges, schema
from cosmos_jobs.config.document import MAX_PROBLEMS, Document, shortened, too_many_problems
from cosmos_jobs.core.diagnostics import Diagnostic, Severity, Where
from cosmos_jobs.core.placeholders import normalised
from cosmos_jobs.core.run import Scalar

Axis: TypeAlias = list[tuple[Where, Scalar]]


class Findings:
    """The problems of one document, `found`, and how its values are read where many sections do."""

    def __init__(self, document: Document, found: list[Diagnostic]) -> None:
        self.found = found
        self._document = document
        self._worst_unreported: Severity | None = None

    def add(self, problem: Diagnostic) -> None:
        """Report a problem; beyond MAX_PROBLEMS only that there are more."""
        if not self.full(problem.severity):
            self.found.append(problem)

    def full(self, severity: Severity = Severity.ERROR) -> bool:
        """Say whether nothing more is reported, and note that a problem is left out."""
        if len(self.found) < MAX_PROBLEMS:
            return False
        if self._worst_unreported is not Severity.ERROR:
            self._worst_unreported = severity
        return True

    def unreported(self) -> tuple[Diagnostic, ...]:
        """Return the diagnostic that stands for those beyond MAX_PROBLEMS, if any."""
        if self._worst_unreported is None:
            return ()
        return (too_many_problems(self._document.path, self._worst_unreported),)

    def error(
        self, at: Where, code: str, message: str, hint: str = "", *, key: bool = False
    ) -> None:
        """Report an error at the value, or with `key` the key, of `at`."""
        self.add(self._document.diagnostic(at, code, message, key=key, hint=hint))

    def warn(self, at: Where, code: str, message: str, hint: str, *, key: bool = False) -> None:
        """Report a warning at the value, or with `key` the key, of `at`."""
        severity = Severity.WARNING
        self.add(
            self._document.diagnostic(at, code, message, key=key, hint=hint, severity=severity)
        )

    def within(
        self, at: Where, part: str, code: str, message: str, *, nth: int = 0, hint: str
    ) -> None:
        """Report an error at the `nth` (from 0) occurrence of `part` in the text at `at`."""
        self.add(self._document.within(at, part, code, message, nth=nth, hint=hint))

    def unknown(self, at: Where, kind: str, name: str, known: Collection[str], key: bool) -> None:
        """Report that there is no `kind` called `name`."""
        if self.full():
            return
        by_control = [one for one in known if one.startswith(f"{name}.")]
        hint = (
            (f"write {schema.listed(by_control, 'or')}" if by_control else "")
            or schema.suggestion(name, known)
            or (f"there is {schema.listed(known)}" if known else f"the file defines no {kind}")
        )
        message = f"unknown {kind} `{shortened(name)}`"
        self.error(at, f"unknown-{kind}", message, hint, key=key)

    def text(self, at: Where) -> str:
        """Return a value of a variable: as written, in NFC."""
        self.warn_when_cut(at)
        return normalised(self._document.text(at))

    def warn_when_cut(self, at: Where) -> None:
        """Warn of a text that ends where YAML sees a comment, though none may be meant."""
        if comment := self._document.cut_at(at):
            short = shortened(comment)
            message = f"the text ends before `{short}`, which YAML reads as a comment"
            hint = 'quote the text ("…"), or put two blanks before a comment that is meant'
            self.warn(at, "prompt-cut", message, hint)

    def axis(self, given: Any, at: Where) -> Axis:
        """Return the values of a scalar, a list or a range, each with its place."""
        if isinstance(given, list):
            return [((*at, i), value) for i, value in enumerate(given)]
        if not isinstance(given, dict):
            return [(at, given)]
        if not {"start", "stop", "step"} <= given.keys():
            return []
        bounds = float(given["start"]), float(given["stop"]), float(given["step"])
        count = ranges.count(*bounds)
        if count == 0:
            message = f"the range is empty: it goes up, and {bounds[1]:g} is below {bounds[0]:g}"
            self.error(at, "empty-range", message, "swap `start` and `stop`")
        elif count > ranges.MAX_VALUES:
            message = f"the range has {count:,} values; {ranges.MAX_VALUES:,} is the most"
            self.error(at, "range-too-long", message, "use a larger `step`")
        else:
            return [(at, value) for value in ranges.values(*bounds)]
        return []

    def distinct(self, axis: Iterable[tuple[Where, Any]], *, zipped: bool = False) -> list[Any]:
        """Return the values, each once, with a warning; axes of a zip may repeat values."""
        values = []
        seen: set[tuple[type, Any]] = set()
        for at, value in axis:
            kind = (type(value), value)
            if not zipped and kind in seen:
                message = f"`{shortened(str(value))}` is given twice"
                self.warn(at, "duplicate-value", message, "remove one of the two")
            else:
                values.append(value)
            seen.add(kind)
        return values

    def written_at(self, at: Where) -> Any:
        """Return what the file says at `at`, also where its shape is wrong."""
        value: Any = self._document.value
        for step in at:
            value = value[step]
        return value
