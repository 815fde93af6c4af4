"""What a Slurm cluster has and lacks for a target: questions to it, and its answers as checks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cosmos_jobs.config.project import FILE, Slurm
from cosmos_jobs.config.schema import listed
from cosmos_jobs.config.target_rules import gpu_types
from cosmos_jobs.targets.executors import script as scripts
from cosmos_jobs.targets.executors.slurm import script
from cosmos_jobs.targets.findings import Check, Facts, Verdict


def questions(slurm: Slurm) -> str:
    """Return shell text that asks a login node for the facts of its cluster."""
    request = scripts.printing("request", ["#!/bin/sh", *script.head(slurm)])
    return f"{request}{scripts.texts('slurm/variables', 'slurm/doctor')}"


def judged(root: str, slurm: Slurm, found: Facts) -> Iterator[Check]:
    """Yield the checks of the cluster whose login node is asked, and that works in `root`."""
    if "clock-at-end" not in found:
        return
    if "slurm" not in found:
        yield _away(found.one("slurm-trouble"))
        return
    yield Check("slurm", Verdict.OK, f"version {found.one('slurm')} answers")
    partitions = [each for line in found.all("partition") if (each := _partition(line))]
    asked = [each for each in partitions if _is_asked(each, slurm)]
    yield from _partitions(slurm, partitions, asked)
    yield from _account(slurm, found)
    yield _request(found)
    if "root-is-writable" in found and "locks" not in found:
        said = f"files in {root} cannot be locked: two clients may submit the same"
        hint = "mount it with locks, or choose another `root`"
        yield Check("locks", Verdict.WARNING, said, hint)


def _away(said: str) -> Check:
    hint = "is its controller up? scontrol ping"
    if "not installed" in said:
        hint = f"is this a login node? correct `hosts` in {FILE}"
    return Check("slurm", Verdict.MISSING, said or "does not answer", hint)


@dataclass(frozen=True, slots=True)
class _Partition:
    """Nodes of one kind in a partition, as a line of `sinfo` has them."""

    name: str
    is_default: bool
    is_up: bool
    limit: str
    nodes: int
    gres: str
    cpus: int
    memory_mib: int
    features: frozenset[str]


def _partition(line: str) -> _Partition | None:
    parts = line.split("|")
    if len(parts) != 8:
        return None
    name, state, limit, nodes, gres, cpus, memory, features = parts
    return _Partition(
        name.rstrip("*"),
        name.endswith("*"),
        state == "up",
        limit,
        _number(nodes),
        # It may say which sockets they are of.
        re.sub(r"\(S:[^)]*\)", "", gres),
        _number(cpus),
        _number(memory),
        frozenset(features.split(",")),
    )


def _number(text: str) -> int:
    """Return a number that may have a `+` behind it: at least so many."""
    match = re.match(r"\d+", text)
    return int(match[0]) if match else 0


def _is_asked(partition: _Partition, slurm: Slurm) -> bool:
    if slurm.partition:
        return partition.name in slurm.partition.split(",")
    return partition.is_default


def _partitions(
    slurm: Slurm, known: Sequence[_Partition], asked: Sequence[_Partition]
) -> Iterator[Check]:
    named = slurm.partition.split(",") if slurm.partition else []
    there = {each.name for each in known}
    if unknown := [each for each in named if each not in there]:
        said = f"there is no {listed(unknown, 'or')}, only {listed(sorted(there))}"
        hint = f"correct `partition` of `slurm` in {FILE}"
        yield Check("partition", Verdict.MISSING, said, hint)
        return
    if not asked:
        said = "the cluster has no default partition"
        hint = f"name one of {listed(sorted(there), 'or')} as `partition` of `slurm` in {FILE}"
        yield Check("partition", Verdict.MISSING, said, hint)
        return
    yield _described(asked)
    if problems := list(_lacks(slurm, asked)):
        yield from (Check("nodes", Verdict.MISSING, *each) for each in problems)
    else:
        yield Check("nodes", Verdict.OK, "some have all that a batch asks for")


def _described(asked: Sequence[_Partition]) -> Check:
    names = ", ".join(sorted({each.name for each in asked}))
    gres = sorted({each.gres for each in asked} - {"(null)"})
    nodes = sum(each.nodes for each in asked)
    parts = [f"{nodes:,} nodes" if nodes != 1 else "1 node", f"limit {asked[0].limit}", *gres]
    said = f"{names}: {', '.join(parts)}"
    if any(each.is_up for each in asked):
        return Check("partition", Verdict.OK, said)
    return Check("partition", Verdict.WARNING, f"{said}; it is down", "ask when it is up again")


def _lacks(slurm: Slurm, asked: Sequence[_Partition]) -> Iterator[tuple[str, str]]:
    """Yield what no node of the partitions has, and what to do about it."""
    limits = [script.seconds(each.limit) for each in asked]
    time_s = script.seconds(slurm.time)
    if time_s and not any(limit is None or limit >= time_s for limit in limits):
        said = f"a job may take {asked[0].limit}, and `time` is {slurm.time}"
        yield said, f"lower `time` in {FILE}, and max_batch with it"
    wanted = list(gpu_types(slurm.gres))
    if not any(all(_has(each.gres, *one) for one in wanted) for each in asked):
        has = listed(sorted({each.gres for each in asked}))
        yield f"no node has {slurm.gres}; they have {has}", f"correct `gres` in {FILE}"
    if slurm.cpus and slurm.cpus > (most := max(each.cpus for each in asked)):
        yield f"no node has {slurm.cpus} CPUs; they have {most:,}", f"lower `cpus` in {FILE}"
    if _mib(slurm.mem) > (most := max(each.memory_mib for each in asked)):
        yield f"no node has {slurm.mem}; they have {most / 1024:,.0f}G", f"lower `mem` in {FILE}"
    if features_asked := _constraint(slurm.extra):
        features = {feature for each in asked for feature in each.features}
        if unknown := sorted(features_asked - features):
            has = listed(sorted(features - {"(null)"})) or "no features"
            yield f"no node has the feature {listed(unknown, 'or')}, only {has}", "see: sinfo -o %f"


def _has(gres: str, kind: str, count: int) -> bool:
    there = [(name, number) for name, number in gpu_types(gres) if kind in ("", name)]
    return sum(number for _, number in there) >= count


def _mib(memory: str) -> int:
    """Return the MiB that `64G` means; Slurm counts in M where no unit is said."""
    if not memory:
        return 0
    number, unit = int(memory.rstrip("KMGT")), memory[-1]
    return int(number * {"K": 1 / 1024, "G": 1024, "T": 1024 * 1024}.get(unit, 1))


def _constraint(extra: Sequence[str]) -> set[str]:
    """Return the features that options ask for, where any one or all of them are named."""
    found = (re.fullmatch(r"(?:--constraint[= ]|-C ?)([\w&|,-]+)", each) for each in extra)
    return {word for each in found if each for word in re.split(r"[&|,]", each[1]) if word}


def _account(slurm: Slurm, found: Facts) -> Iterator[Check]:
    qos = next((each.split("=")[1] for each in slurm.extra if each.startswith("--qos=")), "")
    if not slurm.account and not qos:
        return
    if "none" in found.one("accounting") or not found.one("accounting").startswith("accounting"):
        yield Check("account", Verdict.OK, "not checked: the cluster keeps no accounts")
        return
    rows = [line.partition("|")[::2] for line in found.all("account")]
    accounts = {account for account, _ in rows}
    if slurm.account and slurm.account not in accounts:
        said = f"you have no account {slurm.account}, only {listed(sorted(accounts)) or 'none'}"
        yield Check("account", Verdict.MISSING, said, f"correct `account` of `slurm` in {FILE}")
        return
    known = {each for a, all_ in rows if a == (slurm.account or a) for each in all_.split(",")}
    if qos and qos not in known:
        said = f"you may not use the QoS {qos}, only {listed(sorted(known))}"
        yield Check("account", Verdict.MISSING, said, f"correct `extra` of `slurm` in {FILE}")
        return
    said = ", ".join(filter(None, (slurm.account, qos and f"QoS {qos}")))
    yield Check("account", Verdict.OK, said)


def _request(found: Facts) -> Check:
    if "slurm-test" in found:
        start = re.search(r"to start at (\S+)", found.one("slurm-test"))
        said = f"a batch could start at {start[1].replace('T', ' ')}" if start else "is accepted"
        return Check("request", Verdict.OK, said)
    refusal = found.one("slurm-refusal")
    hint = f"correct `slurm` in {FILE}; try it by hand: sbatch --test-only"
    return Check("request", Verdict.MISSING, f"Slurm refuses it: {refusal}", hint)
