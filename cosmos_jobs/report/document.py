"""What a page shows, as one JSON document: runs, axes, prompts and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from typing import Any, TypeAlias

from cosmos_jobs.checks.registry import METRICS, Measured
from cosmos_jobs.core.naming import weights_text
from cosmos_jobs.core.record import PromptRecord, Record
from cosmos_jobs.core.run import CONTROLS, Scalar

FORMAT = 1

Value: TypeAlias = Scalar
Clip: TypeAlias = Mapping[str, Any]
"""A video as the page plays it: src, poster, frames, fps, width, height, image."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the runs were asked for by: `weights` maps labels to control weights."""

    name: str
    path: str = ""
    description: str = ""
    weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pictures:
    """What there is to see of a run: its output, and input and maps by their names.

    Without an `output`, `why` says what became of it.
    """

    output: Clip | None = None
    beside: Mapping[str, Clip] = field(default_factory=dict)
    why: str = ""


def document(
    job: Job,
    records: Sequence[Record],
    prompts: Mapping[str, PromptRecord],
    measured: Mapping[str, Measured],
    pictures: Mapping[str, Pictures],
) -> dict[str, Any]:
    """Return all that a page shows; what many runs share is said once."""
    shared = _shared(records)
    labels = _labels(job)
    variants = _variants({each.run.prompt_id: prompts.get(each.run.prompt_id) for each in records})
    clips: dict[str, int] = {}
    every: list[Clip] = []
    runs: list[dict[str, Any]] = []
    for record in records:
        run = record.run
        seen = pictures.get(run.id, Pictures())
        prompt = prompts.get(run.prompt_id)
        for each in seen.beside.values():
            if each["src"] not in clips:
                clips[each["src"]] = len(every)
                every.append(each)
        runs.append(
            {
                "id": run.id,
                "at": _at(record, prompt, labels, variants),
                "prompt": run.prompt_id,
                "weights": run.weights,
                "params": {key: one for key, one in run.params.items() if key not in shared},
                "state": str(record.state),
                "reason": record.reason or seen.why,
                "stars": record.rating,
                "note": record.note,
                "place": record.jobs.get(job.name, run.id),
                "output": seen.output,
                "beside": {name: clips[each["src"]] for name, each in seen.beside.items()},
                "metrics": _rounded(measured.get(run.id)),
            }
        )
    names = {each.run.prompt_id for each in records}
    return {
        "format": FORMAT,
        "job": {"name": job.name, "path": job.path, "description": job.description},
        "controls": CONTROLS,
        "axes": _axes(runs),
        "metrics": [
            asdict(each) for each in METRICS if any(each.name in r["metrics"] for r in runs)
        ],
        "prompts": {key: _prompt(one) for key, one in prompts.items() if key in names},
        "params": shared,
        "clips": every,
        "runs": runs,
    }


def _shared(records: Sequence[Record]) -> dict[str, Scalar]:
    """Return the parameters that all runs have alike."""
    if not records:
        return {}
    first, *others = (each.run.params for each in records)
    return {
        key: one
        for key, one in first.items()
        if all(key in each and _is(each[key], one) for each in others)
    }


def _is(one: Scalar, other: Scalar) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _labels(job: Job) -> dict[str, str]:
    """Return the labels of the job file by what they stand for."""
    return {weights_text(each) or "none": label for label, each in job.weights.items()}


def _at(
    record: Record,
    prompt: PromptRecord | None,
    labels: Mapping[str, str],
    variants: Mapping[str, str],
) -> dict[str, Value]:
    """Return where a run stands on each axis."""
    text = weights_text(record.run.weights) or "none"
    label = labels.get(text, "")
    return {
        "prompt": prompt.name if prompt else record.run.prompt_id,
        "text": variants.get(record.run.prompt_id),
        "video": prompt.video if prompt else "",
        "weights": f"{label}: {text}" if label else text,
        "engine": record.run.engine,
        **record.run.params,
    }


def _variants(prompts: Mapping[str, PromptRecord | None]) -> dict[str, str]:
    """Return what tells prompts of one name apart: the words in which their texts differ."""
    texts: dict[str, dict[str, list[str]]] = {}
    for prompt_id, each in prompts.items():
        if each:
            texts.setdefault(each.name, {})[prompt_id] = each.prompt.text.split()
    variants = {}
    for members in texts.values():
        if len({tuple(words) for words in members.values()}) > 1:
            first = _alike(members.values())
            last = _alike([words[first:][::-1] for words in members.values()])
            for prompt_id, words in members.items():
                variants[prompt_id] = " ".join(words[first : len(words) - last]).strip(" ,.;")
    return variants


def _alike(texts: Iterable[Sequence[str]]) -> int:
    """Return with how many equal words all texts begin."""
    columns = takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False))
    return sum(1 for _ in columns)


_TITLES = {
    "prompt": "Prompt",
    "text": "Words",
    "video": "Video",
    "weights": "Weights",
    "engine": "Engine",
}


def _axes(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the axes on which runs differ, numbers by size; where a run stands as numbers.

    Each run's `at` becomes the numbers of its values, axis by axis.
    """
    keys = dict.fromkeys(key for run in runs for key in run["at"])
    axes = []
    for key in keys:
        values = _ordered(run["at"].get(key) for run in runs)
        if len(values) > 1:
            axes.append({"key": key, "title": _TITLES.get(key, key), "values": values})
    numbers = [
        (axis["key"], {_key(each): n for n, each in enumerate(axis["values"])}) for axis in axes
    ]
    for run in runs:
        run["at"] = [number[_key(run["at"].get(key))] for key, number in numbers]
    return axes


def _ordered(values: Iterable[Value]) -> list[Value]:
    distinct = list({_key(each): each for each in values}.values())
    if all(isinstance(each, int | float) and not isinstance(each, bool) for each in distinct):
        return sorted(distinct, key=lambda each: float(each or 0))
    return distinct


def _key(value: Value) -> tuple[bool, Value]:
    return isinstance(value, bool), value


def _prompt(record: PromptRecord) -> dict[str, str]:
    return {
        "name": record.name,
        "text": record.prompt.text,
        "negative": record.prompt.negative,
        "video": record.video,
    }


def _rounded(measured: Measured | None) -> dict[str, float]:
    return (
        {name: float(f"{each:.4g}") for name, each in measured.values.items()} if measured else {}
    )
