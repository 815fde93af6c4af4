"""What is found, taken over and deleted, for people."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from cosmos_jobs.cli.views.diagnostics import visible
from cosmos_jobs.cli.views.plans import plural

if TYPE_CHECKING:
    from cosmos_jobs.state.delete import Doomed
    from cosmos_jobs.state.importing import Imported
    from cosmos_jobs.state.verify import Finding, Verified

SHOWN = 20
HASHING_AFTER_S = 0.5
HASHING_EVERY_S = 0.2


def size(count: float) -> str:
    """Return bytes for people: `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def counted(prompts: int, runs: int) -> str:
    """Return `1 prompt and 3 runs`."""
    parts = [plural(n, noun) for n, noun in ((prompts, "prompt"), (runs, "run")) if n]
    return " and ".join(parts) or "nothing"


@contextmanager
def redrawing() -> Iterator[Callable[[str], None]]:
    """Yield what shows a text in place of the one before, on a terminal; at the end it is gone."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(), transient=True, auto_refresh=False) as live:
        yield lambda text: live.update(Text.from_ansi(text), refresh=True)


# --- verify ---------------------------------------------------------------------------------


def verified(done: Verified) -> str:
    """Return what was found, by kind, with what to do about it."""
    checked = f"{plural(done.files, 'file')} ({size(done.bytes)}) of {plural(done.runs, 'run')}"
    lines = []
    by_kind: dict[tuple[str, bool], list[Finding]] = {}
    for each in done.findings:
        by_kind.setdefault((each.kind, each.repaired), []).append(each)
    for (kind, repaired), members in by_kind.items():
        lines += [*_kind(kind, members, repaired=repaired), ""]
    if not done.findings:
        return f"Checked {checked}: all as it should be."
    mended = len(done.findings) - len(done.left)
    said = [plural(len(done.left), "finding"), *([f"{mended:,} repaired"] if mended else [])]
    lines.append(f"Checked {checked}: {', '.join(said)}.")
    if any(each.repaired and each.kind.endswith("-video") for each in done.findings):
        lines.append("Make again what was given up: cosmos-jobs apply")
    return "\n".join(lines)


def _kind(kind: str, members: list[Finding], *, repaired: bool) -> Iterator[str]:
    title = f"{kind.replace('-', ' ')}{', repaired' if repaired else ''}"
    color = "green" if repaired else "red"
    yield f"{click.style(title, fg=color, bold=True)} ({len(members):,})"
    for each in members[:SHOWN]:
        yield "  " + "  ".join(filter(None, (each.id, visible(each.path))))
    if len(members) > SHOWN:
        yield f"  … and {len(members) - SHOWN:,} more: cosmos-jobs verify --format json"
    if not repaired:
        yield f"  {members[0].hint}"


def hashing(clock: Callable[[], float] = time.monotonic) -> Callable[[int, int], None]:
    """Return what shows on a terminal how far hashing is, once it takes long."""
    began = last = clock()

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = clock()
        ended = done >= total
        if now - began < HASHING_AFTER_S or (now - last < HASHING_EVERY_S and not ended):
            return
        last = now
        shown = "" if ended else f"reading {size(done)} of {size(total)}"
        click.echo(f"\r{shown}\x1b[K", nl=False, err=True)

    return tell


# --- import and delete ----------------------------------------------------------------------


def imported(done: Imported) -> str:
    """Return how much of another store was new."""
    lines = [f"New: {plural(done.prompts, 'prompt')}, {plural(done.runs, 'run')}."]
    if done.videos:
        lines[0] = f"{lines[0][:-1]}, {done.videos:,} of them with their video."
    if done.known:
        lines.append(f"Known already: {plural(done.known, 'run')}, left as here.")
    if done.in_flight:
        lines.append(f"In flight there: {plural(done.in_flight, 'run')}, left to that project.")
    if done.odd:
        lines.append(f"Not what their ids say: {plural(done.odd, 'record')}, left out.")
    return "\n".join(lines)


def doomed(going: Doomed, *, keep_outputs: bool) -> str:
    """Return what is to go, and what that means for those who ask for it."""
    lines = [f"- {each.prompt.id}  {visible(each.name)}" for each in going.prompts]
    lines += [
        f"- {each.run.id}  "
        + visible(" ".join(f"{job}/{place}" for job, place in each.jobs.items()) or each.state)
        for each in going.runs
    ]
    if len(lines) > SHOWN:
        lines = [*lines[:SHOWN], f"… and {len(lines) - SHOWN:,} more"]
    outputs = f"{size(going.size)} of outputs {'stay' if keep_outputs else 'go'}"
    total = counted(len(going.prompts), len(going.runs))
    lines.append(f"To delete: {total}{f'; {outputs}' if going.runs else ''}.")
    for path, count in going.asking.items():
        lines.append(
            f"{visible(path)} asked for {count:,} of them:"
            " its next apply makes again what it still asks for."
        )
    if going.behind:
        lines.append(f"Upscaled from them, and left alone: {plural(len(going.behind), 'run')}.")
    return "\n".join(lines)


def deleted(going: Doomed, runs: int, freed: int) -> str:
    """Return what went, and what stayed as it was started meanwhile."""
    busy = len(going.runs) - runs
    said = f"Deleted {counted(len(going.prompts), runs)}; freed {size(freed)}."
    return f"{said}\nStarted meanwhile, and left alone: {plural(busy, 'run')}." if busy else said
