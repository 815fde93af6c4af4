"""Names of combinations for people: `pier-dusk-balanced-seed1`, unique in their prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cosmos_jobs.core import naming
from cosmos_jobs.core.run import InputFile, Run, Scalar
from cosmos_jobs.jobs.combinations import Columns
from cosmos_jobs.jobs.matrix import Cell, Matrix


def shown_axes(
    matrix: Matrix, axes: Mapping[str, Columns], included: Iterable[Cell]
) -> tuple[str, ...]:
    """Return the axes that a label shows: the weights, and all that vary within a prompt."""
    job, contract = matrix.job, matrix.contract
    values: dict[tuple[Scalar, str], set[Scalar]] = {}
    for prompt, columns in axes.items():
        for group, rows in columns.items():
            for index, name in enumerate(group):
                values[prompt, name] = {row[index] for row in rows}
    for cell in included:
        for name, value in cell.items():
            default = {contract.defaults[name]} if name in contract.defaults else set()
            values.setdefault((cell["prompt"], name), default).add(value)
    varying = {name for (_, name), found in values.items() if len(found) > 1}
    order = dict.fromkeys(("video", *job.variables, "weights", *job.params, *contract.schemas))
    return tuple(name for name in order if name in varying or name == "weights")


def label(
    cell: Cell,
    shown: tuple[str, ...],
    run: Run,
    files: Mapping[str, InputFile],
    *,
    taken: set[str],
) -> str:
    """Return a file name for a combination, unique in its prompt: `pier-dusk-balanced-seed1`."""
    parts = []
    for name in shown:
        if name in cell:
            value = naming.part(files[name].path.stem if name in files else str(cell[name]))
            parts.append(f"{name}{value}" if name in run.params else value)
    # A file name has at most 255 bytes on every file system.
    label = "-".join(parts).encode()[:180].decode(errors="ignore")
    # No hidden file, and none that a command takes for an option.
    return untaken(label.lstrip(".-") or "_", taken, run)


def untaken(label: str, taken: set[str], run: Run) -> str:
    """Return a label that is not `taken`, and take it; the id of the run makes it another one."""
    # Some file systems do not tell upper from lower case.
    if label.casefold() in taken:
        label = f"{label}-{run.id[3:]}"
    taken.add(label.casefold())
    return label
