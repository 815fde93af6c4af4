"""What came of runs as JUnit XML, which CI systems show as tests: one test case a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from cosmos_jobs.cli.views import reasons
from cosmos_jobs.cli.views.diagnostics import visible
from cosmos_jobs.core.record import BROKEN, Record, State
from cosmos_jobs.core.redaction import masked
from cosmos_jobs.plan.model import WITHOUT_TEXT, Applied, Followed

NAME = "cosmos-jobs"


def applied(applied: Applied) -> bytes:
    """Return a report of every run that was planned, a suite for each job."""
    known = {record.run.id: record for record in applied.records}
    root = Element("testsuites", name=NAME)
    for job in applied.planned.jobs:
        members = [each for each in applied.planned.desired if each.job == job.name]
        cases = [_case(each.job, each.place, known.get(each.run.id)) for each in members]
        cases += [
            _skipped(each.job, each.place, reasons.text(each.reason))
            for each in applied.planned.plan.changes
            if each.action in WITHOUT_TEXT and each.job == job.name
        ]
        _suite(root, job.name, cases)
    return _written(root)


def followed(done: Followed) -> bytes:
    """Return a report of runs that were in flight, a suite for each job that asks for them."""
    return _written(_by_job(done.records))


def refused(message: str, hint: str = "", records: Sequence[Record] = ()) -> bytes:
    """Return the report of a command that ended early: how far runs had come, and an error."""
    root = _by_job(records)
    case = Element("testcase", classname=NAME, name="apply", time="0")
    _told(case, "error", message, f"{message}\n{hint}")
    _suite(root, NAME, [case])
    return _written(root)


def _by_job(records: Sequence[Record]) -> Element:
    cases: dict[str, list[Element]] = {}
    for record in records:
        for job, place in (record.jobs or {NAME: record.run.id}).items():
            cases.setdefault(job, []).append(_case(job, place, record))
    root = Element("testsuites", name=NAME)
    for job, members in cases.items():
        _suite(root, job, members)
    return root


def _case(job: str, place: str, record: Record | None) -> Element:
    if record is None or record.state not in BROKEN | {State.SUCCEEDED}:
        state = record.state if record else State.PENDING
        reason = record.reason if record else ""
        return _skipped(job, place, f"{state}: {reason}" if reason else str(state))
    case = _element(job, place, _seconds(record))
    if record.state in BROKEN:
        reason = record.reason or str(record.state)
        _told(
            case, "failure", reason.splitlines()[0], f"{reason}\n{record.run.id}", what=record.state
        )
    return case


def _skipped(job: str, place: str, reason: str) -> Element:
    case = _element(job, place, 0.0)
    SubElement(case, "skipped", message=_text(reason))
    return case


def _element(job: str, place: str, seconds: float) -> Element:
    return Element("testcase", classname=_text(job), name=_text(place), time=f"{seconds:.3f}")


def _told(case: Element, kind: str, message: str, text: str, what: str = "error") -> None:
    told = SubElement(case, kind, message=_text(message), type=what)
    told.text = "\n".join(_text(line) for line in text.splitlines())


def _seconds(record: Record) -> float:
    last = record.last
    if last is None or last.started is None or last.finished is None:
        return 0.0
    return max(last.finished - last.started, 0.0)


def _suite(root: Element, name: str, cases: Sequence[Element]) -> None:
    kinds = Counter(each.tag for case in cases for each in case)
    seconds = sum(float(case.get("time", 0)) for case in cases)
    attributes = {
        "name": _text(name),
        "tests": str(len(cases)),
        "failures": str(kinds["failure"]),
        "errors": str(kinds["error"]),
        "skipped": str(kinds["skipped"]),
        "time": f"{seconds:.3f}",
    }
    SubElement(root, "testsuite", attributes).extend(cases)


def _text(written: str) -> str:
    """Return text without secrets, and without what XML cannot hold."""
    return visible(masked(written.encode(errors="backslashreplace").decode()))


def _written(root: Element) -> bytes:
    indent(root)
    text: str = tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()
