"""A plan for people: by job, then by action and reason, with what stays the same last."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator

from click import style

from cosmos_jobs.cli.views import reasons
from cosmos_jobs.cli.views.diagnostics import visible
from cosmos_jobs.plan import diff
from cosmos_jobs.plan.model import Action, Change, Estimate, Planned
from cosmos_jobs.plan.reasons import Cause

SHOWN = 8
"""How many runs of a group are named without -v."""

LEAST_HOURS = 0.1
"""GPU hours that are told exactly."""

WIDTH = 80
"""Characters of a line without -v; what is longer ends in an ellipsis."""

SYMBOLS = {
    Action.CREATE: ("+", "green"),
    Action.RETRY: ("~", "yellow"),
    Action.FORCE: ("~", "yellow"),
    Action.ENHANCE: ("?", "magenta"),
    Action.UNKNOWN: ("?", "magenta"),
    Action.WAIT: (">", "cyan"),
    Action.BLOCKED: ("!", "red"),
    Action.ORPHAN: ("-", "red"),
    Action.TAKE: (" ", None),
    Action.KEEP: (" ", None),
}
"""The symbol and colour of each action, in the order in which a plan lists them."""

WORDS = {
    Action.CREATE: "to run",
    Action.RETRY: "to retry",
    Action.FORCE: "to run again",
    Action.ENHANCE: reasons.AFTER_ENHANCE,
    Action.UNKNOWN: reasons.AFTER_ENHANCE,
    Action.WAIT: "in flight",
    Action.BLOCKED: "blocked",
    Action.ORPHAN: "orphaned",
    Action.TAKE: "published",
    Action.KEEP: "up to date",
}


def text(planned: Planned, *, verbose: bool = False) -> str:
    """Return a plan as lines of text; `verbose` names every run, with its id."""
    changes: dict[str, list[Change]] = {job.name: [] for job in planned.jobs}
    for change in planned.plan.changes:
        changes[change.job].append(change)
    lines: list[str] = []
    for job in planned.jobs:
        if members := changes[job.name]:
            engine = ", ".join(job.engines)
            path = style(visible(job.shown), bold=True)
            lines += [f"{path}  engine {engine}, target {job.target}"]
            lines += [*_groups(members, verbose=verbose), ""]
    lines.append(summary(planned))
    lines += [style(f"apply will refuse: {why}", fg="red") for why in planned.refusals]
    if count(planned, Action.BLOCKED):
        lines.append("Blocked runs are not retried: change their prompts, or use --force.")
    if count(planned, Action.ORPHAN):
        lines.append(_pruning(planned))
    return "\n".join(lines)


def _pruning(planned: Planned) -> str:
    """Return how to remove what has left job files: without one, what others ask for stays."""
    left = {each.job for each in planned.plan.changes if each.action is Action.ORPHAN}
    paths = [visible(job.file) for job in planned.jobs if job.name in left]
    said = "Orphaned runs are kept until you remove them: cosmos-jobs prune "
    return said + (paths[0] if len(paths) == 1 and len(said + paths[0]) <= WIDTH else "FILE")


def summary(planned: Planned) -> str:
    """Return the last lines: how many of each, and what it takes."""
    if planned.selection.since is not None and not planned.jobs:
        return f"Nothing to do: no job file differs from {visible(planned.selection.since)}."
    counts = Counter(change.action.told for change in planned.plan.changes)
    if counts.keys() <= {Action.KEEP}:
        runs = counts[Action.KEEP]
        files = sum(job.spec is not None for job in planned.jobs)
        of = f" of {plural(files, 'job file')}" if files else ""
        taken = len(diff.taken(planned.plan))
        if taken:
            return (
                f"Nothing to run: of {plural(runs, 'run')}{of} {taken:,} {_are(taken)} published."
            )
        return f"Nothing to do: {plural(runs, 'run')}{of} {_are(runs)} up to date."
    said = [f"{counts[action]:,} {word}" for action, word in WORDS.items() if counts[action]]
    said_of_cost = textwrap.fill(cost(planned.estimate), WIDTH, break_on_hyphens=False)
    return "\n".join(filter(None, (_wrapped(said), said_of_cost)))


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def duration(seconds: float) -> str:
    """Return a time for people: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min"


def count(planned: Planned, *actions: Action) -> int:
    """Return how many changes of a plan are one of `actions`."""
    return sum(change.action in actions for change in planned.plan.changes)


def _groups(changes: Iterable[Change], *, verbose: bool) -> Iterator[str]:
    groups: dict[tuple[Action, str], list[Change]] = {}
    for change in changes:
        groups.setdefault((change.action, title(change)), []).append(change)
    order = list(SYMBOLS)
    width = len(f"{max(len(members) for members in groups.values()):,}")
    for (action, why), members in sorted(
        groups.items(), key=lambda item: order.index(item[0][0].told)
    ):
        symbol, color = SYMBOLS[action]
        count = f"{len(members):>{width},}"
        said = visible(why)
        said = said if verbose else _shortened(said, width + 5)
        yield f"  {style(f'{symbol} {count} {said}', fg=color)}"
        yield from _members(action, members, verbose=verbose, indent=width + 5)


def title(change: Change) -> str:
    """Return what happens to a run, and why."""
    action, reason = change.action, reasons.text(change.reason)
    match action:
        case Action.RETRY:
            return f"retry: {reason}"
        case Action.WAIT | Action.BLOCKED | Action.ORPHAN:
            return f"{WORDS[action]}: {reason}" if reason else WORDS[action]
        case _:
            return reason


def _members(action: Action, members: list[Change], *, verbose: bool, indent: int) -> Iterator[str]:
    space = " " * indent
    if verbose:
        # What is not known yet has no id.
        names = (f"{each.run_id}  {each.place}" if each.run_id else each.place for each in members)
        yield from (f"{space}{name}" for name in names)
        return
    # The places of replaced runs are those of the runs that replace them.
    if action.told is Action.KEEP or members[0].reason.cause is Cause.REPLACED:
        return
    # A list that would hide one line only is shown whole.
    shown = members if len(members) <= SHOWN + 1 else members[:SHOWN]
    yield from (f"{space}{_shortened(change.place, indent)}" for change in shown)
    if len(shown) < len(members):
        yield style(f"{space}… and {len(members) - len(shown):,} more; -v shows all", dim=True)


def cost(estimate: Estimate) -> str:
    """Return how long a plan takes and what it costs, in a sentence; empty without runs."""
    if not estimate.runs:
        return ""
    if estimate.runs == estimate.unknown:
        return "How long it takes is unknown until the first run."
    others = plural(estimate.unknown, "run")
    said = [f"It takes about {duration(estimate.wall_s)}{_measures(estimate)}"]
    said += [f"plus {others} of unknown length"] if estimate.unknown else []
    said += [source] if (source := _source(estimate)) else []
    return f"{', '.join(said)}."


def _measures(estimate: Estimate) -> str:
    """Return GPU hours, their range and price in brackets; without GPUs the range of the time."""
    if not estimate.gpu_hours:
        low, high = (duration(estimate.wall_s * each) for each in (estimate.low, estimate.high))
        return f" ({low} to {high})" if low != high else ""
    few = estimate.gpu_hours < LEAST_HOURS
    hours = f"under {LEAST_HOURS}" if few else f"{estimate.gpu_hours:,.1f}"
    low, high = (f"{estimate.gpu_hours * each:,.1f}" for each in (estimate.low, estimate.high))
    between = f", {low} to {high}" if low != high else ""
    price = f"; {estimate.price:,.2f} at the target's price" if estimate.price else ""
    return f" ({hours} GPU hours{between}{price})"


def _source(estimate: Estimate) -> str:
    """Return what an estimate goes by."""
    past = f"{estimate.batches} {'batch' if estimate.batches == 1 else 'batches'} made before"
    tables = "NVIDIA's tables, without guardrails and the start of the model"
    match bool(estimate.tables), bool(estimate.batches):
        case True, True:
            return f"going by {past} and by {tables}"
        case True, False:
            return f"going by {tables}"
        case False, True:
            return f"going by {past}"
    return ""


def _wrapped(parts: list[str]) -> str:
    """Return `Plan: …, …, ….`, broken after commas only."""
    # Blanks within a part do not break, and textwrap knows no other kind than this one.
    joined = ", ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts)
    filled = textwrap.fill(f"Plan: {joined}.", WIDTH, subsequent_indent=" " * len("Plan: "))
    return filled.replace("\N{NO-BREAK SPACE}", " ")


def _shortened(written: str, indent: int) -> str:
    room = WIDTH - indent
    return written if len(written) <= room else f"{written[: room - 1]}…"


def plural(count: int, noun: str) -> str:
    """Return `1 run`, `2,000 runs`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
