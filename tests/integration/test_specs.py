"""Random valid job files: every spec that comes of them obeys the contract of its program."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosmos_jobs import engines
from cosmos_jobs.config import schema
from cosmos_jobs.core.batch import Command, Setup, Task
from cosmos_jobs.core.diagnostics import Severity
from cosmos_jobs.core.job import Desired, Expansion, JobInputs
from cosmos_jobs.core.run import CONTROLS, ROLE_OF, InputFile
from cosmos_jobs.jobs import expand, parse
from cosmos_jobs.plan import batching
from tests.support.stand_in_models import CHECKOUTS, INSTALLED, STAND_INS

ENGINES = ("transfer1", "transfer2.5", "cosmos3")
FILES = {"image": "look.jpg", "video": "mask.mp4", "tensor": "weights.pt"}
SETUP = Setup("/venv/bin/python", "/cache", "/root/batches/ba_1", "/opt/model")
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1).filter(
    lambda text: text.strip() and not set(text) & set("{}#")
)


@pytest.fixture(scope="module", autouse=True)
def checkouts() -> Iterator[None]:
    """Let the stand-ins' own loaders be imported."""
    paths = [STAND_INS / CHECKOUTS[e] / each for e in ENGINES for each in (*INSTALLED[e], "")]
    before = list(sys.path)
    sys.path[:0] = [str(STAND_INS), *map(str, paths)]
    yield
    sys.path[:] = before


# --- random job files ---------------------------------------------------------------------


def values(one: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Return valid values of a parameter, by its schema."""
    kinds = [one["type"]] if isinstance(one["type"], str) else list(one["type"])
    if "enum" in one:
        return st.sampled_from(one["enum"])
    if "x-file" in one:
        return st.just(FILES[one["x-file"]])
    low = one.get(
        "minimum", one.get("exclusiveMinimum", 0) + (0.5 if "exclusiveMinimum" in one else 0)
    )
    by_kind: dict[str, st.SearchStrategy[Any]] = {
        "boolean": st.booleans(),
        "integer": st.integers(math.ceil(low), min(one.get("maximum", 1000), 10**9)),
        "number": st.integers(0, 100).map(
            lambda n: round(low + (min(one.get("maximum", 100), 100) - low) * n / 100, 2)
        ),
        "string": TEXTS,
        "null": st.none(),
    }
    return st.one_of(*(by_kind[kind] for kind in kinds))


@st.composite
def jobs(draw: st.DrawFn, engine: str) -> dict[str, Any]:
    """Draw what a job file of an engine says."""
    contract = schema.contract(engine)
    names = draw(st.lists(st.sampled_from(schema.settable(contract)), unique=True, max_size=6))
    params: dict[str, Any] = {}
    for name in names:
        axis = draw(st.lists(values(contract.schemas[name]), min_size=1, max_size=2))
        group, _, control = name.partition(".")
        if control:
            params.setdefault(group, {})[control] = axis
        else:
            params[name] = axis
    weight = st.integers(0, 100).map(lambda n: n / 100)
    sets = st.dictionaries(st.sampled_from(CONTROLS), weight, min_size=1).filter(
        lambda found: any(found.values())
    )
    prompt = {"text": draw(TEXTS), "negative": draw(st.one_of(st.just(""), TEXTS))}
    return {
        "version": 1,
        "name": "x",
        "engine": engine,
        "videos": {"pier": "pier"},
        "prompts": {"p": prompt},
        "weights": draw(st.dictionaries(st.sampled_from("abc"), sets, min_size=1, max_size=3)),
        "params": params,
    }


@dataclass(frozen=True, slots=True)
class Made:
    """A batch of a job: its tasks and the command that runs them."""

    tasks: Sequence[Task]
    command: Command

    @property
    def lines(self) -> list[dict[str, Any]]:
        text = self.command.files["batch.jsonl"].decode("ascii")
        assert text.endswith("\n")
        return [json.loads(line) for line in text.removesuffix("\n").split("\n")]


def input_file(path: Path, frames: int) -> InputFile:
    digest = hashlib.sha256(path.name.encode()).hexdigest()
    return InputFile(path, digest, 1000, frames, 640, 480, 30.0)


def expanded(job: Mapping[str, Any], folder: Path, roles: Sequence[str], frames: int) -> Expansion:
    text = json.dumps(job, ensure_ascii=False).encode()
    found, problems = parse.parse(
        text, "x.yaml", engine="preview", target="local", targets=["local"]
    )
    wrong = [each.message for each in problems if each.severity is Severity.ERROR]
    assert found is not None, wrong
    videos = {"pier": {role: input_file(folder / f"{role}.mp4", frames) for role in roles}}
    files = {name: input_file(folder / name, frames) for name in FILES.values()}
    expansion, _ = expand.expand(found, JobInputs(videos, {}, files), schema.contract(found.engine))
    return expansion or Expansion({}, ())


def batches(job: Mapping[str, Any], folder: Path, roles: Sequence[str], frames: int) -> list[Made]:
    """Return the batches of a job, without the runs that the engine refuses."""
    engine = engines.get(job["engine"])
    expansion = expanded(job, folder, roles, frames)

    def refused(each: Desired) -> bool:
        files = expansion.prompts[each.run.prompt_id].files
        return any(note.is_error for note in engine.notes(each.run, files))

    wanted = {each.run.id: each for each in expansion.runs if not refused(each)}
    prompts = {key: source.prompt for key, source in expansion.prompts.items()}
    grouped = batching.group(
        [each.run for each in wanted.values()],
        {},
        "gpu",
        lambda run: engine.batch_key(run, prompts[run.prompt_id]),
        50,
    )
    made = []
    for batch in grouped:
        tasks = []
        for run_id in batch.runs:
            each = wanted[run_id]
            maps = {kind: str(folder / f"{kind}.mp4") for kind in engine.maps(each.run)}
            inputs = {**maps, **{role: str(folder / f"{role}.mp4") for role in roles}}
            named = {name: str(file.path) for name, file in each.files.items()}
            tasks.append(Task(each.run, prompts[each.run.prompt_id], inputs, named))
        made.append(Made(tasks, engine.command(tasks, SETUP)))
    return made


# --- the contracts ------------------------------------------------------------------------


def check_transfer2_5(made: Made, path: Path) -> None:
    config = importlib.import_module("cosmos_transfer2.config")
    samples, _ = config.InferenceArguments.from_files([path])
    assert len(samples) == len(made.lines)
    (hints,) = {frozenset(set(CONTROLS) & line.keys()) for line in made.lines}
    known = {"control_path", "control_weight", "mask_path", "mask_prompt"}
    own = {"edge": "preset_edge_threshold", "vis": "preset_blur_strength", "seg": "control_prompt"}
    for line, task in zip(made.lines, made.tasks, strict=True):
        assert isinstance(line["resolution"], str)
        assert isinstance(line.get("sigma_max", ""), str)
        assert type(line["guidance"]) is int
        assert "/" not in line["name"]
        assert line.get("context_frame_index", 1) > 0
        for control in hints:
            assert line[control].keys() <= known | {own.get(control, "")}
            assert line[control]["control_weight"] == task.run.weights[control]
    # What the model would only notice once it is loaded.
    for sample in samples:
        assert 0 <= float(sample.sigma_max or 0) <= 200


def check_transfer1(made: Made, path: Path) -> None:
    hints = importlib.import_module("cosmos_transfer1.diffusion.inference.hints")
    transfer = importlib.import_module("cosmos_transfer1.diffusion.inference.transfer")
    argv = list(made.command.argv[2:])
    assert not any("=" in each for each in argv if each.startswith("--"))
    cfg = transfer.parser().parse_args(argv)
    spec_path = path.with_name("spec.json")
    spec_path.write_bytes(made.command.files["spec.json"])
    controls, scalars = hints.load(spec_path)
    defaults = vars(transfer.parser().parse_args(["--controlnet_specs", "x"]))
    assert scalars.keys() <= defaults.keys() | {"regional_prompts"}
    assert not any(f"--{key}" in argv for key in scalars)
    given = SimpleNamespace(**{**vars(cfg), **scalars})
    hints.validate(given, controls)
    assert cfg.batch_size == 1
    allowed = {"control_weight", "input_control", "input_control_prompt", "control_weight_prompt"}
    for line, task in zip(made.lines, made.tasks, strict=True):
        assert line.keys() == {"prompt", "visual_input", "control_overrides"}
        overrides = line["control_overrides"]
        assert overrides.keys() == controls.keys() == task.run.weights.keys()
        for hint, override in overrides.items():
            assert override.keys() <= allowed
            assert hint == "seg" or "control_weight_prompt" not in override
            assert hints.valid(hint, override["control_weight"]) == override["control_weight"]
        # What the lines of a batch share is what each of its runs asks for.
        for name in ("seed", "guidance", "num_steps", "sigma_max", "fps"):
            assert getattr(given, name) == task.run.params[name]
        negative = scalars.get("negative_prompt", "")
        assert negative == task.prompt.negative


def check_cosmos3(made: Made, path: Path) -> None:
    samples = importlib.import_module("cosmos_framework.samples")
    found = samples.from_files([str(path)], {})
    assert len(found) == len(made.lines)
    assert len({line["name"] for line in made.lines}) == len(made.lines)
    for line, task in zip(made.lines, made.tasks, strict=True):
        hints = {"vis": "blur"}
        wanted = {hints.get(control, control): w for control, w in task.run.weights.items()}
        assert {hint: line[hint]["weight"] for hint in wanted} == wanted
        assert line.keys().isdisjoint({"vis", "mask_path", "control_weight"})
        assert all("control_path" in line[hint] for hint in wanted if hint in ("depth", "seg"))
        assert {"guidance", "control_guidance", "shift"} <= line.keys()


CHECKS = {
    "transfer1": check_transfer1,
    "transfer2.5": check_transfer2_5,
    "cosmos3": check_cosmos3,
}


@pytest.mark.campaign(part="specs")
@pytest.mark.parametrize("engine", ENGINES)
def test_every_spec_of_a_valid_job_obeys_the_contract(
    engine: str, tmp_path_factory: pytest.TempPathFactory, times: int
) -> None:
    checked = 0

    @settings(max_examples=times, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        job=jobs(engine),
        files=st.sets(st.sampled_from(("depth", "segmentation", "edge", "vis"))),
        frames=st.sampled_from((2, 93, 94, 121, 300)),
    )
    def check(job: Mapping[str, Any], files: set[str], frames: int) -> None:
        nonlocal checked
        folder = tmp_path_factory.mktemp("inputs")
        for name in (*FILES.values(), *(f"{role}.mp4" for role in ("color", *ROLE_OF.values()))):
            (folder / name).write_bytes(b"x")
        for number, made in enumerate(batches(job, folder, ["color", *files], frames)):
            path = folder / f"batch{number}.jsonl"
            path.write_bytes(made.command.files["batch.jsonl"])
            CHECKS[engine](made, path)
            checked += len(made.lines)

    check()

    assert checked > times * 2 / 3
