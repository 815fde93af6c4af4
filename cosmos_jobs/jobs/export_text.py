"""Runs as job files: what `export` writes once it has read it back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import orjson

from cosmos_jobs.config import schema
from cosmos_jobs.core.job import Upscale
from cosmos_jobs.core.record import PromptRecord, Record
from cosmos_jobs.core.run import CONTROLS, RUN, Prompt, Scalar
from cosmos_jobs.core.snapshot import Snapshot

ALREADY_SAID = ("regions", "upscale")
"""Internal parameters that a job file has sections for."""

_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_JOB = re.compile(r"[^a-z0-9-]+")
_WORD = re.compile(r"[A-Za-z][\w./-]*", re.ASCII)
_PLAIN = re.compile(r"[^\W\d_][\w ,.;'()/+-]*")
_RESERVED = frozenset({"true", "false", "null", "y", "n", "yes", "no", "on", "off", "nan", "inf"})
_MAX_NAME = 60

Key: TypeAlias = tuple[bool, Scalar]
"""A value so that True and 1 differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one job file can say: runs of one engine and set of regions, all upscaled alike.

    `behind` are the ids of the runs that upscale them.
    """

    engine: str
    regions: str
    upscale: Upscale | None
    runs: tuple[Record, ...]
    behind: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """Every run that the file asks for."""
        return (*(each.run.id for each in self.runs), *self.behind)


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination: names of prompt, video and weights, and the parameters that it has."""

    prompt: str
    video: str
    weights: str
    params: Mapping[str, Scalar]


def job_name(text: str) -> str:
    """Return the nearest name that a job may have."""
    name = _JOB.sub("-", text.lower()).strip("-")[:_MAX_NAME].strip("-")
    return "runs-export" if name in ("", "runs") else name


# --- which runs make a file -----------------------------------------------------------------


def parts(run_ids: Iterable[str], known: Snapshot) -> tuple[tuple[Part, ...], dict[str, str]]:
    """Return the job files that ask for the runs, and why no file can ask for some of them.

    A run that upscales another one brings that one along.
    """
    refused: dict[str, str] = {}
    bases: dict[str, dict[tuple[float, str], str]] = {}
    for run_id in dict.fromkeys(run_ids):
        record = known.runs[run_id]
        prompt = known.prompts.get(record.run.prompt_id)
        base = prompt.prompt.inputs.get(RUN) if prompt else None
        if prompt and base and base in known.states:
            upscale = _upscale(record, prompt.prompt, known, base)
            bases.setdefault(base, {})[upscale] = run_id
            why = _unsayable(known.runs[base], known)
        else:
            bases.setdefault(run_id, {})
            why = _unsayable(record, known)
        if why:
            refused[run_id] = why
    return tuple(_grouped(bases, known)) if not refused else (), refused


def _upscale(record: Record, prompt: Prompt, known: Snapshot, base: str) -> tuple[float, str]:
    """Return the weight and the words that upscale a run; no words where they are its own."""
    own = known.prompts.get(known.runs[base].run.prompt_id)
    words = "" if own and own.prompt.text == prompt.text else prompt.text
    return float(record.run.params["upscale"] or 0), words


def _unsayable(record: Record, known: Snapshot) -> str:
    """Return why no job file can ask for a run; empty when one can."""
    run = record.run
    prompt = known.prompts.get(run.prompt_id)
    if prompt is None:
        return "its prompt is not in the store"
    if run.engine not in schema.engines():
        return f"there is no engine `{run.engine}` here"
    if run.params.get("upscale") is not None:
        return "it upscales a file or a run that is not in the store; only `upscale` makes it"
    contract = schema.contract(run.engine)
    if contract.version != run.contract:
        return f"it was made by version {run.contract} of {run.engine}'s contract"
    for name, value in _given(record).items():
        if name not in contract.schemas:
            return f"{run.engine} has no parameter `{name}` any more"
        if contract.schemas[name].get("x-internal") and name not in ALREADY_SAID:
            return "it was made by `preview` for another engine's job file; export that job"
        if contract.schemas[name].get("x-file") and value is None:
            return f"the file of its parameter `{name}` is not known"
    missing = [role for role in prompt.prompt.inputs if role not in prompt.files]
    return f"where its {missing[0]} video is, is not known" if missing else ""


def _grouped(
    bases: Mapping[str, Mapping[tuple[float, str], str]], known: Snapshot
) -> Iterator[Part]:
    groups: dict[tuple[str, str, tuple[float, str] | None], dict[str, str]] = {}
    for base, behind in bases.items():
        run = known.runs[base].run
        regions = str(run.params.get("regions") or "")
        for upscale in behind or (None,):
            members = groups.setdefault((run.engine, regions, upscale), {})
            members[base] = behind[upscale] if upscale else ""
    for (engine, regions, upscale), members in groups.items():
        yield Part(
            engine=engine,
            regions=regions,
            upscale=Upscale(*upscale) if upscale else None,
            runs=tuple(known.runs[base] for base in members),
            behind=tuple(run_id for run_id in members.values() if run_id),
        )


def _given(record: Record) -> dict[str, Scalar]:
    """Return the parameters of a run that are not the default; a file by its path, or None."""
    run, contract = record.run, schema.contract(record.run.engine)
    return {
        name: record.files.get(name) if contract.schemas.get(name, {}).get("x-file") else value
        for name, value in run.params.items()
        if _key(value) != _key(contract.defaults.get(name))
    }


def _key(value: Scalar) -> Key:
    return isinstance(value, bool), value


# --- names and combinations -----------------------------------------------------------------


class _Names:
    """Gives each thing a name that no other has, also where case does not matter."""

    def __init__(self) -> None:
        self._names: dict[object, str] = {}
        self._taken: set[str] = set()

    def of(self, thing: object, wish: str) -> str:
        """Return the name of `thing`, the first time one like `wish`."""
        if thing not in self._names:
            name = first = _NAME.sub("_", wish).lstrip("._-")[:_MAX_NAME] or "unnamed"
            number = 1
            while name.casefold() in self._taken:
                number += 1
                name = f"{first}-{number}"
            self._taken.add(name.casefold())
            self._names[thing] = name
        return self._names[thing]


@dataclass(slots=True)
class _Content:
    """What the sections of a job file hold, by name."""

    videos: dict[str, Mapping[str, str]]
    prompts: dict[str, Prompt]
    weights: dict[str, Mapping[str, float]]
    cells: list[Cell]

    def videos_of(self) -> dict[str, list[str]]:
        """Return the videos that each prompt is used with."""
        found: dict[str, dict[str, None]] = {}
        for cell in self.cells:
            found.setdefault(cell.prompt, {})[cell.video] = None
        return {prompt: list(videos) for prompt, videos in found.items()}


def _content(part: Part, prompts: Mapping[str, PromptRecord]) -> _Content:
    content = _Content({}, {}, {}, [])
    texts, clips = _Names(), _Names()
    paths: dict[object, Scalar] = {}
    for record in sorted(part.runs, key=lambda each: _place(each, prompts)):
        known = prompts[record.run.prompt_id]
        prompt = known.prompt
        name = texts.of((prompt.text, prompt.negative), known.name)
        video = clips.of(tuple(sorted(prompt.inputs.items())), known.video)
        label = "_".join(f"{key}{value:g}" for key, value in record.run.weights.items())
        content.prompts.setdefault(name, prompt)
        content.videos.setdefault(video, {role: known.files[role] for role in prompt.inputs})
        content.weights.setdefault(label, record.run.weights)
        # The same file may have been seen at two paths: one of them will do.
        params = {
            key: paths.setdefault((key, record.run.params[key]), value)
            for key, value in _given(record).items()
            if key not in ALREADY_SAID
        }
        content.cells.append(Cell(name, video, label, params))
    return content


def _place(record: Record, prompts: Mapping[str, PromptRecord]) -> tuple[object, ...]:
    prompt = prompts[record.run.prompt_id]
    weights = tuple(-record.run.weights.get(name, 0) for name in CONTROLS)
    params = tuple(_sortable(value) for value in record.run.params.values())
    return prompt.name, prompt.prompt.text, prompt.video, weights, params, record.run.id


def _sortable(value: Scalar) -> tuple[int, float, str]:
    if isinstance(value, str):
        return 2, 0.0, value
    return (0, 0.0, "") if value is None else (1, float(value), "")


def _shared(cells: Sequence[Cell]) -> dict[str, Scalar]:
    """Return the parameters that all combinations have, with the one value that they have."""
    first, *others = (cell.params for cell in cells)
    return {
        name: value
        for name, value in first.items()
        if all(name in each and _key(each[name]) == _key(value) for each in others)
    }


def _axes(content: _Content, engine: str) -> dict[str, list[Scalar]] | None:
    """Return the values of the parameters that vary, if the combinations are all there are."""
    cells, defaults = content.cells, schema.contract(engine).defaults
    shared = _shared(cells)
    names = dict.fromkeys(name for cell in cells for name in cell.params if name not in shared)
    axes: dict[str, dict[Key, Scalar]] = {name: {} for name in names}
    for cell in cells:
        for name, values in axes.items():
            value = cell.params.get(name, defaults.get(name))
            values.setdefault(_key(value), value)
    pairs = sum(len(videos) for videos in content.videos_of().values())
    size = pairs * len(content.weights) * prod(map(len, axes.values()))
    if size != len(cells):
        return None
    return {name: list(values.values()) for name, values in axes.items()}


# --- the text -------------------------------------------------------------------------------


def text(
    part: Part,
    prompts: Mapping[str, PromptRecord],
    name: str,
    *,
    target: str = "",
    comments: Sequence[str] = (),
) -> str:
    """Return the job file that asks for the runs of a part and no others.

    It multiplies prompts, videos, weights and parameters where the runs are
    all of their combinations; else it lists each. `comments` stand at its top.
    """
    content = _content(part, prompts)
    axes = _axes(content, part.engine)
    params: dict[str, Any] = dict(_shared(content.cells)) | (axes or {})
    lines = [
        *(f"# {line}".rstrip() for line in comments),
        "version: 1",
        f"name: {_word(name)}",
        f"engine: {_word(part.engine)}",
        *([f"target: {_word(target)}"] if target else []),
        "videos:",
        *(f"  {_word(video)}: {_flow(files)}" for video, files in content.videos.items()),
        "prompts:",
        *_prompts(content),
        "weights:",
        *(f"  {_word(label)}: {_flow(weights)}" for label, weights in content.weights.items()),
        *_params(params),
        *_regions(part.regions),
        *_upscaled(part.upscale),
        *(_listed(content) if axes is None else ()),
    ]
    return "\n".join(lines) + "\n"


def _prompts(content: _Content) -> Iterator[str]:
    videos = content.videos_of()
    for name, prompt in content.prompts.items():
        words = prompt.text.replace("{", "{{").replace("}", "}}")
        every = set(videos[name]) == set(content.videos)
        if every and not prompt.negative:
            yield f"  {_word(name)}: {_block(words, 4)}"
            continue
        yield f"  {_word(name)}:"
        yield f"    text: {_block(words, 6)}"
        if prompt.negative:
            yield f"    negative: {_block(prompt.negative, 6)}"
        if not every:
            yield f"    videos: {_flow(videos[name])}"


def _params(params: Mapping[str, Any]) -> Iterator[str]:
    if not params:
        return
    yield "params:"
    by_control: dict[str, dict[str, Any]] = {}
    for name, value in params.items():
        key, _, control = name.partition(".")
        by_control.setdefault(key, {})[control] = value
    for key, values in by_control.items():
        yield f"  {key}: {_flow(values.get('', values))}"


def _regions(regions: str) -> Iterator[str]:
    if regions:
        yield "regions:"
        yield from (f"  - {_flow(each)}" for each in orjson.loads(regions))


def _upscaled(upscale: Upscale | None) -> Iterator[str]:
    if upscale:
        words = {"prompt": upscale.prompt} if upscale.prompt else {}
        yield f"upscale: {_flow({'weight': upscale.weight, **words})}"


def _listed(content: _Content) -> Iterator[str]:
    shared = _shared(content.cells)
    yield "# Not all combinations are wanted: leave all out, then name each."
    yield "exclude:"
    yield f"  - prompt: {_flow(list(content.prompts))}"
    yield "include:"
    for cell in content.cells:
        own = {name: value for name, value in cell.params.items() if name not in shared}
        given = {"prompt": cell.prompt, "video": cell.video, "weights": cell.weights}
        yield f"  - {_flow({**given, **own})}"


def _flow(value: object) -> str:
    """Return a value on one line, as YAML 1.2 reads it."""
    match value:
        case Mapping():
            return f"{{{', '.join(f'{_word(key)}: {_flow(each)}' for key, each in value.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(_flow, value))}]"
        case str():
            return _word(value)
    return orjson.dumps(value).decode()


def _word(text: str) -> str:
    """Return a text so that it is one wherever it stands, quoted where it must be."""
    if _WORD.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    return _quoted(text)


def _block(text: str, indent: int) -> str:
    """Return a text for readers: as it is, in lines, or quoted where nothing else holds."""
    plain = _PLAIN.fullmatch(text) and text.isprintable() and text.lower() not in _RESERVED
    if plain and not text.endswith(" "):
        return text
    lines = text.split("\n")
    if len(lines) > 1 and all(map(str.isprintable, lines)) and lines[0][:1].strip():
        return "|-\n" + "\n".join(f"{' ' * indent}{line}" if line else "" for line in lines)
    return _quoted(text)


def _quoted(text: str) -> str:
    """Return a text in double quotes; whatever does not print is escaped."""
    shown = orjson.dumps(text).decode()
    return "".join(one if one.isprintable() else _escaped(one) for one in shown)


def _escaped(one: str) -> str:
    return f"\\u{ord(one):04x}" if ord(one) < 0x10000 else f"\\U{ord(one):08x}"
