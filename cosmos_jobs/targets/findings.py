"""What is asked of a machine, and what is found: facts in its own words, and checks of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

MARK = "@fact"
"""How a line with a fact begins, before a tab."""


class Verdict(StrEnum):
    """What a check found; a warning is no reason not to apply."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a machine has or lacks, and what to type then."""

    name: str
    verdict: Verdict
    detail: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the script printed, by name; of one name, such as `gpu`, there may be several."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value of a name."""
        return self.values.get(name, ())

    def one(self, name: str) -> str:
        """Return the value of a name, "" when it was not told."""
        return self.all(name)[0] if self.all(name) else ""


def facts(printed: str) -> Facts:
    """Return the facts in what the script printed; other lines, as shells greet with, are none."""
    values: dict[str, tuple[str, ...]] = {}
    for line in printed.splitlines():
        mark, _, rest = line.partition("\t")
        if mark == MARK:
            name, _, value = rest.partition("\t")
            values[name] = (*values.get(name, ()), value.strip())
    return Facts(values)
