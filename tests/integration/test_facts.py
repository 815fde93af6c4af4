"""The twenty facts about NVIDIA's programs that shape the adapters, each with what we make of it.

What the programs do is what the stand-ins do; `test_stand_ins.py` holds these
to their contracts.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cosmos_jobs import engines
from cosmos_jobs.config import schema
from cosmos_jobs.core import identity, serialize
from cosmos_jobs.core.batch import Batch, Command, Life, Setup, Status, Task
from cosmos_jobs.core.record import State
from cosmos_jobs.core.run import InputFile
from cosmos_jobs.core.safe_path import SafePath
from cosmos_jobs.core.serialize import ASKED, Asked
from cosmos_jobs.jobs import parse
from tests.support.model_batches import execute, look, run_batch, task
from tests.support.project import film
from tests.support.stand_in_models import Models, mark

T1, T2, C3 = "transfer1", "transfer2.5", "cosmos3"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "color.mp4"
    film(path, seed=1, frames=2)
    return path


class Bench:
    """Makes tasks on one video, and runs them."""

    def __init__(self, models: Models, video: Path, folder: Path) -> None:
        self.models, self.video, self.folder = models, video, folder

    def task(
        self,
        engine: str,
        text: str = "A pier",
        weights: Mapping[str, float] | None = None,
        **params: Any,
    ) -> Task:
        weights = weights or {"edge": 1.0}
        roles = {"seg": "segmentation"}
        files = {roles.get(control, control): self.video for control in weights}
        return task(engine, text, {"color": self.video, **files}, weights, **params)

    def command(self, tasks: Sequence[Task], gpus: int = 1, warm: bool = False) -> Command:
        engine = tasks[0].run.engine
        setup = Setup(
            str(self.models.python(engine)),
            "",
            str(self.folder / "batch"),
            str(self.models.checkout(engine)),
            gpus,
            9 if warm else None,
        )
        return engines.get(engine).command(tasks, setup)

    def lines(self, *tasks: Task) -> list[dict[str, Any]]:
        """Return the lines of the batch file."""
        data = self.command(tasks).files["batch.jsonl"]
        return [json.loads(line) for line in data.splitlines()]

    def marks(self, *tasks: Task) -> list[dict[str, Any]]:
        """Run the tasks and return what their videos carry."""
        ran = run_batch(self.models, tasks, self.folder / "batch")
        assert {each.state for each in ran.outcomes.values()} == {State.SUCCEEDED}
        return [
            mark(ran.folder / "out" / each.files[SafePath("output.mp4")])
            for each in ran.outcomes.values()
        ]


@pytest.fixture
def bench(models: Models, video: Path, tmp_path: Path) -> Bench:
    return Bench(models, video, tmp_path)


def key(each: Task) -> str:
    return engines.get(each.run.engine).batch_key(each.run, each.prompt)


def notes(each: Task, frames: int = 20, fps: float = 30.0, roles: Sequence[str] = ()) -> str:
    one = InputFile(Path("color.mp4"), "0" * 64, 1000, frames, 640, 480, fps)
    files = {"color": one, **dict.fromkeys(roles, one)}
    found = engines.get(each.run.engine).notes(each.run, files)
    return "\n".join(f"{note.about}: {note.message}" for note in found)


def errors(engine: str, params: str) -> list[str]:
    """Return the errors of a job file with these `params`."""
    text = f"version: 1\nname: x\nengine: {engine}\nvideos: {{a: a}}\nprompts: {{p: A pier}}\n"
    text += f"weights: {{edges: {{edge: 1}}}}\nparams: {params}\n"
    _, found = parse.parse(
        text.encode(), "x.yaml", engine=engine, target="local", targets=["local"]
    )
    return [each.message for each in found]


# --- what would silently make wrong videos ------------------------------------------------


def test_fact_01_a_process_works_for_one_hint_set_only(bench: Bench) -> None:
    edge, both = bench.task(T2), bench.task(T2, weights={"vis": 0.4, "edge": 0.6})

    mixed = bench.marks(bench.task(T2, weights={"vis": 0.4}), both)

    assert mixed[0]["effective_weights"] != mixed[0]["weights"], "what mixing would do"
    for engine in (T1, T2, C3):
        one, other = (bench.task(engine, weights=each.run.weights) for each in (edge, both))
        assert key(one) != key(other)


def test_fact_02_a_block_is_seen_although_the_program_ends_well(bench: Bench) -> None:
    tasks = [bench.task(T2, text) for text in ("good", "GUARD-TEXT", "GUARD-VIDEO", "fine")]

    ran = run_batch(bench.models, tasks, bench.folder / "batch")

    assert ran.status.exit_code == 0
    states = [each.state for each in ran.outcomes.values()]
    assert states == [State.SUCCEEDED, State.BLOCKED, State.BLOCKED, State.SUCCEEDED]


def test_fact_03_nobody_gets_the_video_of_a_shifted_batch(bench: Bench) -> None:
    tasks = [bench.task(T1, text) for text in ("GUARD-TEXT one", "two", "three")]
    command = bench.command(tasks)
    at = command.argv.index("--batch_size") + 1
    asked = serialize.asking([Asked(each.run.id, each.prompt.text) for each in tasks])
    folder = bench.folder / "batch"
    argv = (*command.argv[:at], "3", *command.argv[at + 1 :])

    code = execute(replace(command, argv=argv, files={**command.files, ASKED: asked}), folder)

    assert command.argv[at] == "1"
    assert code == 0
    shifted = mark(folder / "out" / "video_0" / "output.mp4")
    assert shifted["prompt"] == "two", "what a larger batch would do"
    ran = look(T1, [each.run.id for each in tasks], folder, code)
    assert not any(each.state is State.SUCCEEDED for each in ran.outcomes.values())


def test_fact_04_the_thresholds_of_a_map_are_ours_not_chance(bench: Bench) -> None:
    computed = [bench.task(T1, text) for text in ("one", "two")]
    native = [
        task(T1, each.prompt.text, {"color": bench.video}, {"edge": 1}, controls="native")
        for each in computed
    ]

    ours = bench.marks(*computed)
    theirs = Bench(bench.models, bench.video, bench.folder / "native").marks(*native)

    assert {each["controls"]["edge"]["source"] for each in ours} == {str(bench.video)}
    drawn = [each["controls"]["edge"]["thresholds"] for each in theirs]
    assert drawn[0] != drawn[1], "what the model does by itself"
    assert "random" in notes(native[0])
    assert engines.get(T1).maps(computed[0].run)["edge"]["edge_threshold"] == "medium"
    assert not engines.get(T1).maps(native[0].run)


def test_fact_05_transfer1_masks_by_prompt_seg_alone(bench: Bench) -> None:
    known = [name for name in schema.contract(T1).schemas if name.startswith("mask_prompt.")]

    assert known == ["mask_prompt.seg"]
    assert errors(T1, '{mask_prompt: {edge: "the road"}}')
    each = bench.task(T1, weights={"edge": 0.5, "seg": 0.5}, **{"mask_prompt.seg": "the road"})
    (line,) = bench.lines(each)
    assert line["control_overrides"]["seg"]["control_weight_prompt"] == "the road"
    assert "control_weight_prompt" not in line["control_overrides"]["edge"]


@pytest.mark.parametrize("engine", [T1, T2, C3])
def test_fact_06_we_refuse_what_the_programs_ignore(engine: str) -> None:
    assert any("nonsense" in each for each in errors(engine, "{nonsense: 1}"))
    assert errors(engine, "{seed: abc}")
    assert errors(engine, "{edge_threshold: ultra}")


# --- what would fail after the model is loaded --------------------------------------------


def test_fact_07_numbers_become_the_strings_that_are_wanted(bench: Bench) -> None:
    (line,) = bench.lines(bench.task(T2, sigma_max=80, resolution="480", guidance=3))

    assert (line["sigma_max"], line["resolution"], line["guidance"]) == ("80", "480", 3)
    assert not isinstance(line["guidance"], float)
    for wrong in ("{guidance: 3.5}", "{resolution: nonsense}", "{sigma_max: abc}"):
        assert errors(T2, wrong), wrong
    assert (
        bench.marks(bench.task(T2, sigma_max=80, resolution="480"))[0]["params"]["sigma_max"] == 80
    )


def test_fact_08_what_weights_mean_is_said_engine_by_engine(bench: Bench) -> None:
    weights = {"vis": 1.0, "edge": 1.0}
    tasks = {engine: bench.task(engine, weights=weights) for engine in (T1, T2, C3)}

    used = {
        engine: Bench(bench.models, bench.video, bench.folder / engine).marks(each)[0]
        for engine, each in tasks.items()
    }

    assert used[T1]["effective_weights"] == {"vis": 0.5, "edge": 0.5}
    assert used[T2]["effective_weights"] == weights
    assert used[C3]["effective_weights"] == {"blur": 0.5, "edge": 0.5}
    for each in tasks.values():
        assert "weights:" in notes(each)


def test_fact_09_frame_zero_is_refused_before_anything_runs(bench: Bench) -> None:
    assert errors(T2, "{context_frame: 0}")
    assert not errors(T2, "{context_frame: 1}")
    assert bench.marks(bench.task(T2, context_frame=1))[0]["params"]["context_frame_index"] == 1


@pytest.mark.parametrize("engine", [T2, C3])
def test_fact_10_names_are_made_of_run_ids(bench: Bench, engine: str) -> None:
    each = bench.task(engine, "a/b: c")

    (line,) = bench.lines(each)

    assert line["name"] == each.run.id.replace("_", "-")
    assert re.fullmatch(r"[a-z0-9-]+", line["name"])


@pytest.mark.parametrize("engine", [T1, T2, C3])
def test_fact_11_batch_files_have_one_line_for_a_run_and_no_name_twice(
    bench: Bench, engine: str
) -> None:
    tasks = [bench.task(engine, f"one\n\ntwo {number}", seed=1) for number in range(3)]

    data = bench.command(tasks).files["batch.jsonl"]

    lines = data.decode().split("\n")
    assert lines.pop() == ""
    assert all(lines)
    assert len(lines) == 3
    names = [json.loads(line).get("name", number) for number, line in enumerate(lines)]
    assert len(set(names)) == 3


def test_fact_12_what_the_spec_says_is_not_on_the_command_line_too(bench: Bench) -> None:
    each = bench.task(T1, seed=5, guidance=7.5, num_steps=12, sigma_max=60, fps=30)

    command = bench.command([each])
    (found,) = bench.marks(each)

    flags = [part for part in command.argv if part.startswith("--")]
    assert not any("=" in flag for flag in flags)
    assert not {flag[2:] for flag in flags} & json.loads(command.files["spec.json"]).keys()
    wanted = {"seed": 5, "guidance": 7.5, "num_steps": 12, "sigma_max": 60, "fps": 30}
    assert {name: found["params"][name] for name in wanted} == wanted


def test_fact_13_the_validator_of_transfer1_finds_a_video_in_the_spec(bench: Bench) -> None:
    each = bench.task(T1, sigma_max=70)

    assert json.loads(bench.command([each]).files["spec.json"])["input_video_path"]
    assert bench.marks(each)[0]["video"] == str(bench.video)


def test_fact_14_what_transfer1_shares_in_a_batch_is_the_same_in_it(bench: Bench) -> None:
    plain = bench.task(T1)
    others = [
        bench.task(T1, seed=2),
        bench.task(T1, guidance=6),
        bench.task(T1, num_steps=10),
        bench.task(T1, sigma_max=80),
        bench.task(T1, fps=30),
    ]
    assert len({key(each) for each in (plain, *others)}) == 6
    files = {"color": bench.video, "edge": bench.video}
    negative = task(T1, "A pier", files, {"edge": 1.0}, "people")
    assert key(plain) != key(negative)
    for engine in (T2, C3):
        assert key(bench.task(engine, seed=1)) == key(bench.task(engine, seed=2))
    tasks = [bench.task(T2, f"p{seed}", seed=seed) for seed in (1, 2)]
    assert [each["params"]["seed"] for each in bench.marks(*tasks)] == [1, 2]


# --- what hangs, is lost, or is not what it seems -----------------------------------------


def test_fact_15_a_block_that_hangs_many_gpus_ends_at_the_limit(bench: Bench) -> None:
    tasks = [bench.task(T2, text) for text in ("good", "GUARD-TEXT", "fine")]
    command = bench.command(tasks, gpus=2)
    asked = serialize.asking([Asked(each.run.id, each.prompt.text) for each in tasks])
    limited = replace(
        command,
        argv=("timeout", "3", *command.argv),
        files={**command.files, ASKED: asked},
    )

    code = execute(limited, bench.folder / "batch")

    assert code == 124
    ran = look(T2, [each.run.id for each in tasks], bench.folder / "batch", code)
    status = replace(ran.status, fault="timeout 3")
    told = engines.get(T2).outcomes(
        Batch("ba_1", T2, "gpu", tuple(ran.outcomes)),
        status,
        {
            name: (ran.folder / "out" / name).read_text()
            for name in status.files
            if name.endswith((".json", ".txt"))
        },
    )
    good, hung, fine = (told[each.run.id] for each in tasks)
    assert good.state is State.SUCCEEDED
    assert hung.state in (State.BLOCKED, State.FAILED)
    assert not hung.crashed
    assert fine.state is State.PENDING


def test_fact_16_every_attempt_has_a_folder_of_its_own() -> None:
    first, again = (identity.batch_id({"rs_1": tried}) for tried in (0, 1))

    assert first != again


def test_fact_17_the_distilled_model_is_asked_for_as_it_wants_to_be(bench: Bench) -> None:
    each = bench.task(T2, distilled=True)

    command = bench.command([each])
    (found,) = bench.marks(each)

    assert command.env["COSMOS_EXPERIMENTAL_CHECKPOINTS"] == "1"
    assert found["params"]["model"] == "edge/distilled"
    assert found["params"]["num_steps"] == 4


def test_fact_18_another_speed_than_the_inputs_is_told(bench: Bench) -> None:
    each = bench.task(T1, fps=24)

    assert bench.marks(each)[0]["fps"] == 24
    assert "fps:" in notes(each, fps=30.0)
    assert "fps:" not in notes(each, fps=24.0)
    assert "fps" not in schema.contract(T2).schemas, "it keeps the input's"


def test_fact_19_the_upsampler_that_needs_torchrun_is_not_asked_for(bench: Bench) -> None:
    command = bench.command([bench.task(T1)])

    assert "--upsample_prompt" not in command.argv
    asked = {**command.files, ASKED: b"[]"}
    argv = (*command.argv, "--upsample_prompt")
    assert execute(replace(command, argv=argv, files=asked), bench.folder / "batch") == 1


def test_fact_20_guardrails_are_off_only_where_a_job_says_so(bench: Bench) -> None:
    for engine, flag in ((T2, "--disable-guardrails"), (C3, "--no-guardrails")):
        on, off = bench.task(engine), bench.task(engine, guardrails=False)
        assert flag not in bench.command([on]).argv
        assert flag in bench.command([off]).argv
        assert "licen" in notes(off).lower()
        assert key(on) != key(off)
    assert "guardrails" not in schema.contract(T1).schemas
    for engine in (T1, T2, C3):
        flags = [part for part in bench.command([bench.task(engine)]).argv if part[:2] == "--"]
        assert not any("guardrail" in flag for flag in flags)


# --- what all have in common --------------------------------------------------------------


@pytest.mark.parametrize("engine", [T1, T2, C3])
def test_many_gpus_are_one_process_that_finds_a_free_port_itself(bench: Bench, engine: str) -> None:
    each = bench.task(engine)
    command = bench.command([each], gpus=2)

    ran = run_batch(bench.models, [each], bench.folder / "batch", gpus=2)

    said = shlex.join(command.argv)
    assert "-m torch.distributed.run --standalone" in said
    assert "master_port" not in said
    (outcome,) = ran.outcomes.values()
    assert mark(ran.folder / "out" / outcome.files[SafePath("output.mp4")])["gpus"] in (1, 2)


@pytest.mark.parametrize("engine", [T1, T2, C3])
def test_a_batch_that_is_at_work_says_only_what_its_files_prove(bench: Bench, engine: str) -> None:
    tasks = [bench.task(engine, text) for text in ("one", "two")]
    ran = run_batch(bench.models, tasks, bench.folder / "batch")
    first, second = (each.run.id for each in tasks)
    batch = Batch("ba_1", engine, "gpu", (first, second))
    own = tuple(
        name
        for name in ran.status.files
        if "video_1/" not in name and second.replace("_", "-") not in name
    )
    names = [name for each in engines.get(engine).markers(batch).values() for name in each]
    out = ran.folder / "out"
    texts = {name: (out / name).read_text() for name in (*names, ASKED) if name in own}

    told = engines.get(engine).outcomes(batch, Status(Life.RUNNING, files=own), texts)

    assert list(told) == [first]
    assert told[first].state is State.SUCCEEDED
