"""The script of a job array: each of its elements works one batch."""

from __future__ import annotations

import re

from cosmos_jobs.config.project import Slurm
from cosmos_jobs.targets.layout import Folder, Name

MARGIN_S = 300
"""Seconds that a job gets beside those of its engine: our own limit tells more than Slurm's."""

_WORK = f"""
# An element works the batch in the line of its number. A node that does not see the folder that
# this was submitted in fails here.
exec > "$SLURM_ARRAY_TASK_ID.log" 2>&1
batch=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {Name.MEMBERS})
cd "../../{Folder.BATCHES}/${{batch:?}}" && exec sh {Name.SCRIPT} element
"""


def script(name: str, count: int, slurm: Slurm, limit_s: int | None, client: str) -> str:
    """Return what sbatch is given for `count` batches, of which none takes longer than `limit_s`.

    It is submitted in the array's own folder.
    """
    options = [
        f"--job-name={name}",
        f'--comment="cosmos-jobs {name} of {re.sub(r"[^A-Za-z0-9_.@-]", "_", client)}"',
        f"--array=0-{count - 1}%{slurm.max_running}",
        # Slurm reads % and backslashes in paths, those of the folder as well.
        "--output=/dev/null",
        # Also the values of secrets, which are in no file of ours.
        "--export=ALL",
        *resources(slurm, limit_s),
    ]
    return "\n".join(["#!/bin/sh", *(f"#SBATCH {each}" for each in options), _WORK])


def head(slurm: Slurm) -> tuple[str, ...]:
    """Return the lines of a script for sbatch that say what a batch needs, with no time limit."""
    return tuple(f"#SBATCH {each}" for each in resources(slurm, None))


def resources(slurm: Slurm, limit_s: int | None) -> tuple[str, ...]:
    """Return the options of sbatch that say what a batch needs, and for how long."""
    asked = {
        "partition": slurm.partition,
        "account": slurm.account,
        "gres": slurm.gres,
        "time": slurm.time or _minutes(limit_s),
        "mem": slurm.mem,
        "cpus-per-task": slurm.cpus,
    }
    return (*(f"--{key}={value}" for key, value in asked.items() if value), *slurm.extra)


def _minutes(limit_s: int | None) -> str:
    """Return a time limit in whole minutes, as Slurm counts; "" for none."""
    return "" if limit_s is None else str(-(-(limit_s + MARGIN_S) // 60))


def seconds(limit: str) -> int | None:
    """Return the seconds that a time limit of Slurm means; None for none, such as UNLIMITED."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", limit)
    if not match:
        return None
    days, *parts = (int(each) if each else 0 for each in match.groups())
    if match[1] is not None or match[4] is not None:
        hours, minutes, rest = parts
    else:
        hours, (minutes, rest) = 0, parts[:2]
    return ((24 * days + hours) * 60 + minutes) * 60 + rest
