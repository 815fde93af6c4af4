"""How long runs take: by NVIDIA's tables, and by what the store remembers once it does."""

from __future__ import annotations

import heapq
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, islice
from statistics import median, quantiles
from typing import TypeAlias

from cosmos_jobs.core.batch import Batch
from cosmos_jobs.core.record import Attempt, Record, State
from cosmos_jobs.core.run import Run
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.plan.model import Estimate

Work: TypeAlias = tuple[Run, int]
"""A run, and the frames of its input video; 0 where they are not known."""

RECENT = 50
"""How many past batches count: the newest, so that a new driver or disk is soon learnt."""

FEW = 4
"""Below so many batches their range is from the least to the most, else that of the middle half."""

SPREAD = 1.1
"""Batches whose work differs by less tell nothing about what they have in common."""

MIN_LIMIT_S = 600
"""No batch is stopped earlier because of an estimate."""

CHUNK_LIMIT_S = 3600
"""What a chunk of a run may take, in the usual number of steps, while nothing is known."""

FIRST_START_S = 7200
"""What a batch may take longer while only tables tell: its start is unknown, with downloads."""


# --- NVIDIA's tables ------------------------------------------------------------------------

STEPS = 35
DISTILLED_STEPS = 4
MAX_FRAMES = 5000

_Curve: TypeAlias = Mapping[int, float]
"""Seconds by number of GPUs."""

# Source: cosmos-transfer2.5 at 2ff49d07, docs/inference.md: 720p, 35 steps, guardrails off, the
# model loaded. One B200, H100 PCIe, H100 NVL or H20: end-to-end times of 121 frames, which are two
# chunks. All others: diffusion times of the edge model. Their clip is not named there; they agree
# with two chunks on B200 (179.7 to 186.92) and H20 (1374.6 to 1370.39), so it is taken to be the
# same one. (H100 NVL and H100 PCIe look exchanged in the first table: the edge model takes 502.6
# on one NVL. They stand here as they are published.)
_TRANSFER2_5: Mapping[str, _Curve] = {
    "B200": {1: 186.92, 4: 62.3, 8: 41.8},
    "H100 PCIe": {1: 533.58},
    "H100 NVL": {1: 895.33, 4: 154.5, 8: 92.5},
    "H20": {1: 1370.39, 4: 373.4, 8: 201.5},
    "H200 NVL": {1: 374.4, 4: 117.0, 8: 82.4},
    "B300": {1: 415.5, 4: 127.7, 8: 76.1},
    "RTX PRO 6000": {1: 605.7, 4: 196.1, 8: 118.8},
}

# Source: the same page, the edge model distilled to 4 steps.
_TRANSFER2_5_DISTILLED: Mapping[str, _Curve] = {
    "B200": {1: 24.2, 4: 12.6, 8: 11.1},
    "H100 NVL": {1: 64.5, 4: 27.4, 8: 20.4},
    "H20": {1: 176.4, 4: 62.7, 8: 44.0},
    "H200 NVL": {1: 49.8, 4: 20.4, 8: 16.9},
    "B300": {1: 53.2, 4: 25.6, 8: 19.9},
    "RTX PRO 6000": {1: 78.5, 4: 33.7, 8: 25.0},
}

# Source: cosmos-framework at 5eee9ed5, its documentation of Cosmos3-Nano: text to video, 720p, 189
# frames at once. A chunk of 93 frames is half of it in the model's time, 24 steps of 48.
_COSMOS3: Mapping[str, _Curve] = {
    "H100": {1: 207.8, 8: 41.8},
    "H200": {1: 214.3},
    "B200": {1: 114.9},
    "RTX PRO 6000": {1: 786.0},
}

_CHUNKS = 2
"""How many chunks of 93 frames each number of the tables is for."""

# The 16:9 sizes of each bucket. Sources: `VIDEO_RES_SIZE_INFO` of cosmos-transfer2.5 in
# `_src/predict2/datasets/utils.py`, of cosmos-framework in `data/generator/utils.py`.
_PIXELS: Mapping[str, Mapping[str, int]] = {
    "transfer2.5": {
        "1080": 1920 * 1056,
        "1024": 1280 * 768,
        "720": 1280 * 704,
        "720p": 1280 * 720,
        "720robocasa": 1280 * 720,
        "512": 640 * 384,
        "480": 768 * 432,
        "480p": 832 * 480,
        "256": 320 * 192,
    },
    "cosmos3": {"768": 1360 * 768, "720": 1280 * 720, "480": 832 * 480, "256": 320 * 192},
}


def expected_s(run: Run, frames: int, gpu: str, gpus: int) -> float | None:
    """Return the seconds of one run by NVIDIA's tables; None where they do not say.

    `gpu` is as nvidia-smi or a project file names it, `gpus` work on the run
    together. The load of the model and guardrails are not in it. Steps and
    chunks count in proportion, a `resolution` by its pixels; between the
    tables' numbers of GPUs a power law holds, beyond them nothing is said.
    """
    table = _table(run)
    curve = _of(gpu, tuple(table)) if table else ""
    whole = _at(table[curve], gpus) if curve else None
    if whole is None or frames < 1:
        return None
    steps = DISTILLED_STEPS if run.params.get("distilled") else STEPS
    return whole / _CHUNKS / steps * _amount(run, frames)


def _table(run: Run) -> Mapping[str, _Curve]:
    match run.engine:
        case "transfer2.5":
            return _TRANSFER2_5_DISTILLED if run.params.get("distilled") else _TRANSFER2_5
        case "cosmos3" if run.params.get("checkpoint") == "Cosmos3-Nano":
            return _COSMOS3
    return {}


@lru_cache
def _of(gpu: str, names: tuple[str, ...]) -> str:
    """Return which of `names` a GPU has, or "": `NVIDIA H100 NVL` is an `H100 NVL`."""
    return next((name for name in names if _words(name) <= _words(gpu)), "")


@lru_cache
def _words(gpu: str) -> frozenset[str]:
    return frozenset(re.findall("[a-z0-9]+", gpu.lower())) - {"nvidia"}


def _at(curve: _Curve, gpus: int) -> float | None:
    if gpus in curve:
        return curve[gpus]
    less = max((n for n in curve if n < gpus), default=0)
    more = min((n for n in curve if n > gpus), default=0)
    if not less or not more:
        return None
    power = math.log(curve[more] / curve[less]) / math.log(more / less)
    return float(curve[less] * (gpus / less) ** power)


def _amount(run: Run, frames: int) -> float:
    """Return how many steps of whole chunks of 720p a run takes; for preview frames of 720p."""
    params = run.params
    match run.engine:
        case "preview":
            used = min(frames or 1, _whole(run, "max_frames", MAX_FRAMES))
            return used * _share(run, "transfer2.5")
        case "transfer1":
            steps = 1 if params.get("distilled") else _whole(run, "num_steps", STEPS)
            return float(_chunks(frames, 121, 1) * steps)
        case "transfer2.5" | "cosmos3":
            # An image is made as one frame, whatever the chunks of videos are.
            size = 1 if frames == 1 else _whole(run, "num_video_frames_per_chunk", 93)
            limit = _whole(run, "max_frames", MAX_FRAMES)
            overlap = _whole(run, "num_conditional_frames", 1)
            chunks = _chunks(min(frames, limit, MAX_FRAMES), size, overlap)
            distilled = params.get("distilled")
            steps = DISTILLED_STEPS if distilled else _whole(run, "num_steps", STEPS)
            return chunks * steps * _share(run, run.engine) * _latents(size) / _latents(93)
    return 1.0


def _share(run: Run, engine: str) -> float:
    """Return the pixels of a run's resolution, in those of 720p."""
    pixels = _PIXELS[engine]
    return pixels.get(str(run.params.get("resolution")), pixels["720"]) / pixels["720"]


def _whole(run: Run, name: str, default: int) -> int:
    value = run.params.get(name)
    return value if isinstance(value, int) else default


def _chunks(frames: int, size: int, overlap: int) -> int:
    if frames <= size:
        return 1
    return 1 + math.ceil((frames - size) / max(1, size - overlap))


def _latents(frames: int) -> int:
    """Return how many pictures the model itself works on: 24 for 93 frames."""
    return 1 + math.ceil((frames - 1) / 4)


# --- what the store remembers ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Machine:
    """What one batch runs on: so many GPUs of a kind, of a target; "" where the kind is unknown."""

    target: str
    gpu: str = ""
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Fit:
    """How long batches take: `load_s` plus `scale` times their work.

    `low` and `high` are the range of what was measured, as a factor on that;
    `batches` is how many were, and 0 means that NVIDIA's tables say so.
    """

    load_s: float
    scale: float
    low: float = 1.0
    high: float = 1.0
    batches: int = 0


TABLES = Fit(0.0, 1.0)
"""What NVIDIA's tables tell: the work alone, whose unit is then a second."""


def fitted(measured: Sequence[tuple[float, float]]) -> Fit | None:
    """Return how long batches take, from the work and the seconds of past ones; None without any.

    Method: Theil-Sen, the median of the slopes between batches of different
    work, then the median of what is left over as the load of the model. Where
    all have the same work, or the load would be below 0, it is 0: it is then
    spread over the runs, and small batches are taken for quicker than they are.
    """
    if not measured:
        return None
    slopes = [
        (wall - other_wall) / (work - other_work)
        for (work, wall), (other_work, other_wall) in combinations(measured, 2)
        if max(work, other_work) > SPREAD * min(work, other_work)
    ]
    scale = median(slopes) if slopes else 0.0
    load_s = median(wall - scale * work for work, wall in measured)
    if scale <= 0 or load_s < 0:
        scale, load_s = median(wall / work for work, wall in measured), 0.0
    ratios = [wall / (load_s + scale * work) for work, wall in measured]
    low, high = min(ratios), max(ratios)
    if len(ratios) >= FEW:
        low, _, high = quantiles(ratios, n=4, method="inclusive")
    return Fit(load_s, scale, min(low, 1.0), max(high, 1.0), len(measured))


class History:
    """What one state of the store tells about times; nothing is asked of it twice."""

    def __init__(self, known: Snapshot) -> None:
        self._known = known
        self._newest = tuple(reversed(tuple(known.batches)))
        self._fits: dict[tuple[str, _Kind, Machine], Fit | None] = {}

    def machine(self, target: str, gpu: str, gpus: int) -> Machine:
        """Return what batches of a target run on; `gpu` is what the project file calls its GPUs.

        What nvidia-smi told there last counts, unless it is no such GPU.
        """
        there = (batch for batch in self._batches() if batch.target == target)
        names = (self._last(batch).gpu_name for batch in islice(there, RECENT))
        told = next(filter(None, names), "")
        return Machine(target, told if _words(gpu) <= _words(told) else gpu, gpus)

    def fit(self, run: Run, machine: Machine) -> Fit | None:
        """Return how long past batches of such runs took on such a machine."""
        kind = _kind(run)
        key = (run.engine, kind, machine)
        if key not in self._fits:
            past = self._past(run.engine, kind, machine)
            self._fits[key] = fitted(tuple(islice(past, RECENT)))
        return self._fits[key]

    def _past(self, engine: str, kind: _Kind, machine: Machine) -> Iterator[tuple[float, float]]:
        """Yield the work and the seconds of past batches, the newest first."""
        for batch in self._batches():
            # One record before all: they take the time.
            last = self._last(batch) if batch.engine == engine else _NEVER
            if last.batch != batch.id or not _is_alike(engine, last, machine):
                continue
            records = [self._known.runs[run_id] for run_id in batch.runs]
            wall_s = _wall_s(batch, records)
            if not wall_s or any(_kind(record.run) != kind for record in records):
                continue
            gpus = len(last.gpu.replace(",", " ").split()) or machine.gpus
            work = [_work(each.run, self._frames(each.run), machine.gpu, gpus) for each in records]
            by_table = any(known for _, known in work)
            # Without a table nobody knows what another number of GPUs would make of it.
            if gpus == machine.gpus or by_table or _is_uncounted(engine):
                yield sum(amount for amount, _ in work), wall_s

    def _batches(self) -> Iterator[Batch]:
        """Yield the batches all of whose runs have succeeded, in it or later, newest first."""
        states = self._known.states
        for batch_id in self._newest:
            batch = self._known.batches[batch_id]
            if all(states.get(run_id) is State.SUCCEEDED for run_id in batch.runs) and batch.runs:
                yield batch

    def _last(self, batch: Batch) -> Attempt:
        return self._known.runs[batch.runs[0]].last or _NEVER

    def _frames(self, run: Run) -> int:
        prompt = self._known.prompts.get(run.prompt_id)
        return prompt.frames if prompt else 0


_Kind: TypeAlias = tuple[object, ...]
_NEVER = Attempt("", "", State.PENDING)


def _kind(run: Run) -> _Kind:
    """Return what makes runs of one engine differ beyond their amount of work: another model."""
    params = run.params
    return params.get("checkpoint"), params.get("distilled"), params.get("upscale") is not None


def _is_uncounted(engine: str) -> bool:
    """Return whether an engine computes on the CPU: all its runs count alike."""
    return engine == "preview"


def _is_alike(engine: str, attempt: Attempt, machine: Machine) -> bool:
    own = attempt.target == machine.target
    if _is_uncounted(engine):
        return own
    there, here = _words(attempt.gpu_name), _words(machine.gpu)
    # The name of one's own GPUs may be cut short in the project file, or not be told.
    return there <= here or here <= there if own else bool(here) and there == here


def _wall_s(batch: Batch, records: Iterable[Record]) -> float:
    """Return the seconds from the first start to the last end; 0 when it did not make all runs."""
    attempts = [record.last or _NEVER for record in records]
    starts = [each.started for each in attempts if each.started is not None]
    ends = [each.finished for each in attempts if each.finished is not None]
    if not starts or not ends or any(each.batch != batch.id for each in attempts):
        return 0.0
    return max(0.0, max(ends) - min(starts))


def _work(run: Run, frames: int, gpu: str, gpus: int) -> tuple[float, bool]:
    """Return the work of a run, and whether it is seconds of a table or a mere amount."""
    seconds = expected_s(run, frames, gpu, gpus)
    return (_amount(run, frames), False) if seconds is None else (seconds, True)


# --- what is to come ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expected:
    """How long a batch takes: `seconds`, between `low_s` and `high_s`.

    `unknown` of its runs are not in it, `tables` of them go by NVIDIA's
    tables, the others by `batches` past ones.
    """

    seconds: float = 0.0
    low_s: float = 0.0
    high_s: float = 0.0
    unknown: int = 0
    tables: int = 0
    batches: int = 0


def expected(batch: Iterable[Work], history: History, machine: Machine) -> Expected:
    """Return how long a batch of runs takes on a machine."""
    amounts: dict[Fit, float] = defaultdict(float)
    unknown = tables = 0
    for run, frames in batch:
        amount, by_table = _work(run, frames, machine.gpu, machine.gpus)
        fit = history.fit(run, machine) or (TABLES if by_table else None)
        if fit is None:
            unknown += 1
            continue
        amounts[fit] += amount
        tables += fit is TABLES
    # One process loads one model, though it may make runs of two kinds.
    load_s = max((fit.load_s for fit in amounts), default=0.0)
    parts = [(fit, fit.scale * amount) for fit, amount in amounts.items()]
    parts += [(fit, load_s) for fit in amounts if fit.load_s == load_s][:1]
    return Expected(
        sum(seconds for _, seconds in parts),
        sum(seconds * fit.low for fit, seconds in parts),
        sum(seconds * fit.high for fit, seconds in parts),
        unknown,
        tables,
        max((fit.batches for fit in amounts), default=0),
    )


def limit_s(expected: Expected, factor: float, works: Sequence[Work]) -> int:
    """Return after how long a batch is stopped: `factor` times what it takes, if that is known.

    Where it is not, an hour for each chunk of its runs, `works`: what hangs is to end some day.
    """
    if expected.unknown or not expected.seconds:
        chunks = (max(1.0, _amount(*work) / STEPS) for work in works)
        return FIRST_START_S + math.ceil(CHUNK_LIMIT_S * sum(chunks))
    limit = max(MIN_LIMIT_S, math.ceil(expected.seconds * factor))
    return limit if expected.batches else limit + FIRST_START_S


def estimate(
    batches: Sequence[Sequence[Work]],
    history: History,
    machine: Machine,
    slots: int,
    price_per_gpu_hour: float = 0.0,
) -> Estimate:
    """Return what batches take of which `slots` are worked on at a time, in their order."""
    each = [expected(batch, history, machine) for batch in batches]
    ends = [0.0] * max(slots, 1)
    for one in each:
        heapq.heapreplace(ends, ends[0] + one.seconds)
    seconds = sum(one.seconds for one in each)
    gpu_hours = seconds * machine.gpus / 3600
    return Estimate(
        sum(map(len, batches)),
        sum(one.unknown for one in each),
        max(ends),
        gpu_hours,
        gpu_hours * price_per_gpu_hour,
        sum(one.low_s for one in each) / seconds if seconds else 1.0,
        sum(one.high_s for one in each) / seconds if seconds else 1.0,
        sum(one.tables for one in each),
        max((one.batches for one in each), default=0),
    )


def total(costs: Iterable[tuple[str, Estimate]]) -> Estimate:
    """Return the sum of what is to be done, each with its target.

    One target does its work one after the other; targets work at the same time.
    """
    costs = tuple(costs)
    walls: dict[str, float] = defaultdict(float)
    for target, cost in costs:
        walls[target] += cost.wall_s
    wall_s = sum(walls.values())
    return Estimate(
        sum(cost.runs for _, cost in costs),
        sum(cost.unknown for _, cost in costs),
        max(walls.values(), default=0.0),
        sum(cost.gpu_hours for _, cost in costs),
        sum(cost.price for _, cost in costs),
        sum(cost.low * cost.wall_s for _, cost in costs) / wall_s if wall_s else 1.0,
        sum(cost.high * cost.wall_s for _, cost in costs) / wall_s if wall_s else 1.0,
        sum(cost.tables for _, cost in costs),
        max((cost.batches for _, cost in costs), default=0),
    )
