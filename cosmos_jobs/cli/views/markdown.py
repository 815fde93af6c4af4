"""A plan as Markdown, for a comment on a pull request."""

from __future__ import annotations

import hashlib
import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from cosmos_jobs.cli.views import plans
from cosmos_jobs.cli.views.diagnostics import visible
from cosmos_jobs.core.diagnostics import Diagnostic
from cosmos_jobs.core.job import Job
from cosmos_jobs.plan import diff
from cosmos_jobs.plan.model import WITHOUT_TEXT, Action, Change, Planned
from cosmos_jobs.plan.reasons import Cause

MAX_BYTES = 65_535
"""GitHub's limit of a comment in characters; a character has one byte or more."""

ROOMS = {"jobs": 16_000, "refusals": 6_000, "warnings": 10_000}
"""Bytes that parts may take, so that some are left for the others."""

FOOT = 300
"""Bytes that are kept for what is said of runs that are not shown."""

SHOWN = 20
"""How many runs are shown unfolded."""

MAX_TEXT = 300
"""Characters of a reason or message that are shown."""

COLUMNS: Mapping[str, tuple[Action, ...]] = {
    "new": (Action.CREATE,),
    "retry": (Action.RETRY,),
    "up to date": (Action.TAKE, Action.KEEP),
    "orphaned": (Action.ORPHAN,),
    "blocked": (Action.BLOCKED,),
}
SELDOM: Mapping[str, tuple[Action, ...]] = {
    "again": (Action.FORCE,),
    "in flight": (Action.WAIT,),
    plans.WORDS[Action.ENHANCE]: tuple(WITHOUT_TEXT),
}
"""Columns that are there only where a job has such runs."""

_SAFE = "-,/.;"
_ESCAPES = str.maketrans(
    {each: f"&#{ord(each)};" for each in string.punctuation if each not in _SAFE}
    # GitHub and GitLab make links of these and of what follows in the same piece of text.
    | {each: f"&#{ord(each)};<wbr>" for each in "@#"}
)
_ADDRESS = re.compile(r"(?<=www)\.", re.IGNORECASE)


def text(planned: Planned, place: str = ".") -> str:
    """Return a plan as a comment of at most MAX_BYTES; how much is cut is said.

    Its first line is a marker, unseen and always the same for the project at
    `place` in its repository, by which a later comment replaces this one.
    """
    changes = [each for each in planned.plan.changes if each.action.told is not Action.KEEP]
    head = "\n".join([marker(place), "", _title(planned), "", *_head(planned)])
    room = MAX_BYTES - len(head.encode()) - FOOT
    return "\n".join([head, *_runs(_ordered(changes), room)]) + "\n"


def marker(place: str) -> str:
    """Return the comment in HTML that says which project's plan this is."""
    return f"<!-- cosmos-jobs plan {hashlib.sha256(place.encode()).hexdigest()[:12]} -->"


def escaped(written: str) -> str:
    """Return text that is read as it is written, in any place of a line of Markdown or HTML.

    All punctuation that could mean something becomes character references;
    line breaks become blanks. Mentions and numbers of issues do not become links.
    """
    line = visible(" ".join(written.split())).translate(_ESCAPES)
    # The one link that needs no other punctuation than dots.
    return _ADDRESS.sub("&#46;<wbr>", line)


def _code(written: str) -> str:
    shown = written if len(written) <= MAX_TEXT else f"{written[: MAX_TEXT - 1]}…"
    # In code no renderer looks for mentions and emoji at all.
    return f"<code>{escaped(shown)}</code>" if shown.strip() else ""


# --- the parts ------------------------------------------------------------------------------


def _title(planned: Planned) -> str:
    counts = Counter(change.action.told for change in planned.plan.changes)
    said = [f"{counts[action]:,} {word}" for action, word in plans.WORDS.items() if counts[action]]
    if counts.keys() <= {Action.KEEP}:
        taken = len(diff.taken(planned.plan))
        said = [f"nothing to run, {taken:,} published" if taken else "nothing to do"]
    return f"### Plan: {', '.join(said)}"


def _head(planned: Planned) -> Iterator[str]:
    if planned.selection.since is not None and not planned.jobs:
        yield f"No job file differs from {_code(planned.selection.since)}."
        return
    yield from _jobs(planned)
    yield ""
    if cost := plans.cost(planned.estimate):
        yield from (cost, "")
    if planned.refusals:
        yield "**apply will refuse:**\n"
        lines = (f"- {_code(why)}" for why in planned.refusals)
        yield from _part("refusals", lines, len(planned.refusals), "- ")
        yield ""
    if planned.warnings:
        yield f"**{plans.plural(len(planned.warnings), 'warning')}:**\n"
        lines = (f"- {_warning(one)}" for one in planned.warnings)
        yield from _part("warnings", lines, len(planned.warnings), "- ")
        yield ""


def _jobs(planned: Planned) -> Iterator[str]:
    """Yield the table that counts the changes of each job."""
    counts: dict[str, Counter[Action]] = {job.name: Counter() for job in planned.jobs}
    for change in planned.plan.changes:
        counts[change.job][change.action] += 1
    there = {action for each in counts.values() for action in each}
    seldom = {name: of for name, of in SELDOM.items() if there.intersection(of)}
    columns = {**COLUMNS, **seldom}
    yield f"| job | engine | target | {' | '.join(columns)} |"
    yield f"|---|---|---|{'--:|' * len(columns)}"
    rows = (_row(job, counts[job.name], columns.values()) for job in planned.jobs)
    yield from _part("jobs", rows, len(planned.jobs), "| ")


def _row(job: Job, counts: Counter[Action], columns: Iterable[tuple[Action, ...]]) -> str:
    cells = [_code(job.shown), ", ".join(job.engines), _code(job.target)]
    cells += [f"{sum(counts[action] for action in of):,}" for of in columns]
    return f"| {' | '.join(cells)} |"


def _warning(one: Diagnostic) -> str:
    line = f":{one.span.line}" if one.span else ""
    return f"{_code(f'{one.path}{line}')} {_code(one.message)}"


def _ordered(changes: Sequence[Change]) -> list[Change]:
    order = list(plans.SYMBOLS)
    return sorted(changes, key=lambda change: order.index(change.action.told))


def _runs(changes: Sequence[Change], room: int) -> Iterator[str]:
    """Yield the changes, the first ones open and the others folded, as far as there is room."""
    if not changes:
        return
    yield "**Runs:**\n"
    shown = _fitting(map(_change, changes[:SHOWN]), room)
    yield from shown
    rest = _fitting(map(_change, changes[len(shown) :]), room - _size(shown))
    if rest:
        yield f"\n<details><summary>{len(rest):,} more</summary>\n"
        yield from rest
        yield "\n</details>"
    if hidden := len(changes) - len(shown) - len(rest):
        yield (
            f"\n**{plans.plural(hidden, 'run')} {'is' if hidden == 1 else 'are'} not shown:**"
            " a comment has no room for more. See all: `cosmos-jobs plan -v`"
        )


def _change(change: Change) -> str:
    symbol, _ = plans.SYMBOLS[change.action]
    said = "" if change.reason.cause is Cause.NEW else f" {_code(plans.title(change))}"
    return f"- `{symbol}` {_code(f'{change.job}/{change.place}')}{said}"


def _part(name: str, lines: Iterable[str], count: int, lead: str) -> Iterator[str]:
    """Yield those of `count` lines that the part has room for, and how many these leave out."""
    shown = _fitting(lines, ROOMS[name])
    yield from shown
    if len(shown) < count:
        yield f"{lead}… and {count - len(shown):,} more, not shown"


def _fitting(lines: Iterable[str], room: int) -> list[str]:
    shown: list[str] = []
    for line in lines:
        room -= _size([line])
        if room < 0:
            break
        shown.append(line)
    return shown


def _size(lines: Iterable[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)
