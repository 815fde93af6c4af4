"""What came of prompts that were to be enhanced: ids for scripts, texts side by side for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from click import style

from cosmos_jobs.cli.views.diagnostics import visible
from cosmos_jobs.cli.views.plans import WIDTH
from cosmos_jobs.core.record import Enhancement

NAMED = 10
"""How many ids the line of the next step names."""

SAME = "it is the same text"
_GAP = " │ "
_COLUMN = (WIDTH - len(_GAP)) // 2


def beside(made: Sequence[Enhancement]) -> str:
    """Return the old and the new texts side by side, WIDTH characters wide."""
    return "\n\n".join("\n".join(_beside(each)) for each in made)


def _beside(made: Enhancement) -> Iterator[str]:
    before = made.before
    yield style(visible(f"{before.name}  {before.prompt.id}"), bold=True)
    if not made.text:
        yield from _wrapped(before.prompt.text, WIDTH)
        yield from _wrapped(f"No new text: {made.reason}", WIDTH)
        return
    if made.text == before.prompt.text:
        yield from _wrapped(made.text, WIDTH)
        yield from _wrapped(f"Left as it is: {made.reason or SAME}", WIDTH)
        return
    old, new = (_wrapped(text, _COLUMN) for text in (before.prompt.text, made.text))
    for left, right in zip_longest(("now", *old), ("enhanced", *new), fillvalue=""):
        yield f"{left:<{_COLUMN}}{_GAP}{right}".rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    return [
        line for part in visible(text).split("\n") for line in textwrap.wrap(part, width) or [""]
    ]


def notes(made: Sequence[Enhancement]) -> Iterator[str]:
    """Yield which prompts have no new text, and why."""
    for each in made:
        name = visible(f"{each.before.name} ({each.before.prompt.id})")
        if each.after is None:
            yield f"{style('not enhanced', fg='red', bold=True)}  {name}: {visible(each.reason)}"
        elif each.after.prompt.id == each.before.prompt.id:
            yield f"{name} is left as it is: {visible(each.reason or SAME)}"


def created(made: Sequence[Enhancement], program: str) -> str:
    """Return the ids of the prompts, each alone on its line, and what to type next."""
    after = [each.after for each in made if each.after]
    ids = list(dict.fromkeys(each.prompt.id for each in after))
    names = {each.prompt.id: each.name for each in after}
    lines = []
    for each in ids:
        lines += [f"ID: {each}", f"Name: {names[each]}"]
    if not ids:
        return ""
    if len(ids) <= NAMED:
        return "\n".join([*lines, f"Next step: {program} inference {' '.join(ids)}"])
    return "\n".join(
        [
            *lines,
            f"Next step: {program} inference --prompts-file FILE",
            "FILE has the ids above, of this OUTPUT: sed -n 's/^ID: //p' OUTPUT > FILE",
        ]
    )
