"""The stand-ins for the three models obey the contracts of the real command lines.

Each test runs a program as its engine would. A number of a fact is that of the
list of twenty facts about the real programs, which the adapters must live with.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import runpy
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import pytest

from tests.support.stand_in_models import STAND_INS, Models, mark

CLIP = STAND_INS / "clip.mp4"
PICTURE = STAND_INS / "picture.jpg"
TRANSFER = "cosmos_transfer1/diffusion/inference/transfer.py"
Sample = dict[str, Any]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Return the three models, installed once in a folder with a space in its name."""
    return Models(tmp_path_factory.mktemp("stand in") / "all models")


class Bench:
    """A folder for the specs and outputs of one test."""

    def __init__(self, folder: Path, models: Models) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.models = models
        self.ledger = folder / "ledger"
        self.video = folder / "clip.mp4"
        self.video.write_bytes(CLIP.read_bytes())

    def run(
        self, engine: str, *words: object, env: Mapping[str, str] | None = None, code: int = 0
    ) -> str:
        """Run the engine's Python in its checkout; return what it said."""
        entry = self.models.installation(engine, STAND_IN_LEDGER=str(self.ledger))
        done = subprocess.run(
            [self.models.python(engine), *map(str, words)],
            cwd=self.models.checkout(engine),
            env={**os.environ, "PYTHONPATH": "", **entry["env"], **(env or {})},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def write(self, name: str, *documents: object) -> Path:
        """Write documents, one a line."""
        path = self.folder / name
        path.write_text("\n".join(map(json.dumps, documents)))
        return path

    def lines(self, what: str) -> list[str]:
        """Return the names in the ledger's lines of one kind."""
        text = self.ledger.read_text() if self.ledger.exists() else ""
        return [words[3] for words in map(str.split, text.splitlines()) if words[1] == what]

    def files(self, folder: str = "") -> set[str]:
        """Return the names in the out folder, the logs apart."""
        logs = {"config.yaml", "console.log", "debug.log"}
        return {path.name for path in (self.out / folder).iterdir()} - logs

    # cosmos-transfer1

    def spec1(self, **more: object) -> Path:
        """Write a controlnet spec with one hint, depth, unless `more` has others."""
        hints = {"vis", "edge", "depth", "seg", "upscale", "hdmap", "keypoint"} & set(more)
        default = {} if hints else {"depth": {"input_control": str(self.video)}}
        return self.write("spec.json", {"input_video_path": str(self.video), **default, **more})

    def transfer1(
        self, spec: Path, *words: object, env: Mapping[str, str] | None = None, code: int = 0
    ) -> str:
        """Run transfer.py on a spec."""
        given = ("--controlnet_specs", spec, "--video_save_folder", self.out, *words)
        path = {"PYTHONPATH": str(self.models.checkout("transfer1")), **(env or {})}
        return self.run("transfer1", TRANSFER, *given, env=path, code=code)

    def batch1(
        self,
        *lines: Sample,
        spec: Mapping[str, object] | None = None,
        words: tuple[object, ...] = (),
        code: int = 0,
    ) -> str:
        """Run transfer.py on a batch file; each line has the video unless it says otherwise."""
        batch = self.write("batch.jsonl", *({"visual_input": str(self.video), **x} for x in lines))
        spec_file = self.spec1(**(spec or {}))
        return self.transfer1(spec_file, "--batch_input_path", batch, *words, code=code)

    # cosmos-transfer2.5 and Cosmos 3

    def sample25(self, name: str = "a", **more: object) -> Sample:
        """Return a sample of cosmos-transfer2.5 with the hint edge."""
        base = {"name": name, "prompt": "A pier", "video_path": str(self.video), "edge": {}}
        return {**base, **more}

    def transfer25(
        self,
        *samples: Sample,
        words: tuple[object, ...] = (),
        env: Mapping[str, str] | None = None,
        code: int = 0,
    ) -> str:
        """Run examples/inference.py on samples."""
        spec = self.write("spec.jsonl", *samples)
        given = ("examples/inference.py", "-i", spec, "-o", self.out, *words)
        return self.run("transfer2.5", *given, env=env, code=code)

    def sample3(self, name: str = "a", **more: object) -> Sample:
        """Return a sample of Cosmos 3 with the hint edge."""
        base = {"name": name, "prompt": "A pier", "vision_path": str(self.video), "edge": {}}
        return {**base, **more}

    def cosmos3(self, *samples: Sample, words: tuple[object, ...] = (), code: int = 0) -> str:
        """Run cosmos_framework.scripts.inference on samples."""
        spec = self.write("spec.jsonl", *samples)
        module = ("-m", "cosmos_framework.scripts.inference")
        given = ("-i", spec, "-o", self.out, "--checkpoint-path", "Cosmos3-Nano", *words)
        return self.run("cosmos3", *module, *given, code=code)


@pytest.fixture
def bench(tmp_path: Path, installed: Models) -> Bench:
    """Return a folder of its own."""
    return Bench(tmp_path, installed)


def frames(path: Path) -> int:
    """Return how many frames of a file can be decoded."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


# What all share


def test_a_made_video_plays_and_carries_its_mark(bench: Bench) -> None:
    bench.transfer25(bench.sample25(seed=7))

    made = mark(bench.out / "a.mp4")
    assert frames(bench.out / "a.mp4") == 4
    assert (made["engine"], made["name"], made["prompt"]) == ("transfer2.5", "a", "A pier")
    assert made["params"]["seed"] == 7
    assert made["fps"] == 24


def test_the_ledger_has_one_load_and_each_sample(bench: Bench) -> None:
    bench.transfer25(bench.sample25("a"), bench.sample25("b"))

    assert bench.lines("load") == ["edge"]
    assert bench.lines("begin") == bench.lines("made") == ["a", "b"]


def cpu_s() -> float:
    """Return how long the processes that we have waited for have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_start_up_is_quick(bench: Bench) -> None:
    bench.transfer25(bench.sample25())
    took: dict[str, float] = {"python": 60.0, "program": 60.0}
    for _ in range(5):
        start = cpu_s()
        bench.run("transfer2.5", "-c", "pass")
        middle = cpu_s()
        bench.transfer25(bench.sample25())
        took["python"] = min(took["python"], middle - start)
        took["program"] = min(took["program"], cpu_s() - middle)

    # Twice what it may take; not by the clock, which goes on while others compute.
    assert took["program"] - took["python"] < 0.16


@pytest.mark.parametrize(
    ("word", "code", "says"),
    [
        ("CRASH", 1, "RuntimeError: the prompt asked for a crash"),
        ("OOM", 1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate"),
        ("GPU-LOST", 1, "RuntimeError: CUDA error: "),
        ("NO-CHECKPOINT", 1, "FileNotFoundError: [Errno 2] No such file or directory"),
        ("BAD-VIDEO", 1, "av.error.InvalidDataError"),
        ("KILL", -9, ""),
    ],
)
@pytest.mark.parametrize("engine", ["transfer1", "transfer2.5", "cosmos3"])
def test_a_trigger_word_ends_the_process_and_the_rest_is_lost(
    bench: Bench, engine: str, word: str, code: int, says: str
) -> None:
    said = three(bench, engine, word)(code)

    assert said.rpartition("\n")[0].rpartition("\n")[2].startswith(says)
    assert len(bench.lines("begin")) == 2
    assert len(bench.lines("made")) == 1


def three(bench: Bench, engine: str, word: str) -> Callable[[int], str]:
    """Return the run of three samples whose second has the word in its prompt."""
    prompts = ["one", f"two {word}", "three"]
    if engine == "transfer1":
        return lambda code: bench.batch1(*({"prompt": text} for text in prompts), code=code)
    make = bench.sample25 if engine == "transfer2.5" else bench.sample3
    samples = [make(f"s{number}", prompt=text) for number, text in enumerate(prompts)]
    if engine == "transfer2.5":
        return lambda code: bench.transfer25(*samples, code=code)
    return lambda code: bench.cosmos3(*samples, words=("--keep-going",), code=code)


def test_hang_never_ends(bench: Bench) -> None:
    entry = bench.models.installation("transfer2.5", STAND_IN_LEDGER=str(bench.ledger))
    spec = bench.write("spec.json", bench.sample25(prompt="HANG"))
    python = bench.models.python("transfer2.5")
    process = subprocess.Popen(
        [python, "examples/inference.py", "-i", spec, "-o", bench.out],
        cwd=bench.models.checkout("transfer2.5"),
        env={**os.environ, **entry["env"]},
        stderr=subprocess.DEVNULL,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.kill()
    process.wait()

    assert bench.lines("begin") == ["a"]


def test_a_missing_checkpoint_fails_the_load(bench: Bench) -> None:
    missing = {"STAND_IN_CHECKPOINT": "missing"}
    said = bench.transfer25(bench.sample25(), env=missing, code=1)

    assert "FileNotFoundError" in said.splitlines()[-1]
    assert bench.lines("begin") == []


def test_torchrun_runs_the_program_once_as_rank_0_with_its_exit_code(bench: Bench) -> None:
    spec = bench.write("spec.json", bench.sample25())
    launch = ("-m", "torch.distributed.run", "--standalone")
    script = ("examples/inference.py", "-i", spec, "-o", bench.out)
    bench.run("transfer2.5", *launch, "--nproc_per_node=4", *script)
    bench.run("transfer2.5", *launch, "--nproc-per-node", 2, *script, "--bogus_flag", code=2)

    assert mark(bench.out / "a.mp4")["gpus"] == 4
    assert bench.lines("made") == ["a"]


def test_torchrun_runs_modules_too(bench: Bench) -> None:
    spec = bench.write("spec.json", bench.sample3())
    module = ("-m", "cosmos_framework.scripts.inference", "-i", spec, "-o", bench.out)
    launch = ("-m", "torch.distributed.run", "--nproc-per-node=2", *module)
    bench.run("cosmos3", *launch, "--checkpoint-path", "Cosmos3-Nano")

    assert mark(bench.out / "a" / "vision.mp4")["gpus"] == 2


def test_a_checkout_can_have_a_commit(tmp_path: Path) -> None:
    assert len(Models(tmp_path / "models", repositories=True).commit("transfer1")) == 40


# cosmos-transfer1


def test_t1_needs_its_checkout_in_pythonpath(bench: Bench) -> None:
    said = bench.transfer1(bench.spec1(), env={"PYTHONPATH": ""}, code=1)

    assert "ModuleNotFoundError: No module named 'cosmos_transfer1'" in said


def test_t1_writes_a_video_and_its_prompt(bench: Bench) -> None:
    bench.transfer1(bench.spec1(), "--prompt", "A pier", "--video_save_name", "pier")

    assert bench.files() == {"pier.mp4", "pier.txt"}
    assert (bench.out / "pier.txt").read_text() == "A pier"
    assert mark(bench.out / "pier.mp4")["fps"] == 24  # fact 18


@pytest.mark.parametrize(
    ("words", "seed"), [(("--seed", "5"), 5), (("--seed=5",), 9), (("--see", "5"), 9), ((), 9)]
)
def test_t1_fact_12_the_spec_beats_all_but_the_literal_flag(
    bench: Bench, words: tuple[str, ...], seed: int
) -> None:
    bench.transfer1(bench.spec1(seed=9, typo=[1]), *words)

    assert mark(bench.out / "output.mp4")["params"]["seed"] == seed
    assert mark(bench.out / "output.mp4")["params"]["typo"] == [1]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"blur": {"control_weight": 1}}, "ValueError: Invalid hint_key"),
        ({"input_video_path": ""}, "Must have 'input_video' specified if sigma_max < 80"),
        ({"input_video_path": "", "sigma_max": 90, "edge": {}}, "must have 'input_control'"),
        ({"depth": {"control_weight": -0.1}}, "ValueError"),
        ({"depth": {"control_weight": "none"}}, "ValueError"),
        ({"depth": {"control_weight": "map.json"}}, "ValueError"),
        ({"depth": {"control_weight": ""}}, "ValueError"),
        ({"depth": {"control_weight": None}}, "TypeError"),
        ({"use_distilled": True, "depth": {}}, "ValueError"),
        ({"use_distilled": True, "edge": {}, "is_av_sample": True}, "AssertionError"),
        ({"hdmap": {}}, "ValueError"),
        ({"num_gpus": 4}, "RuntimeError"),
    ],
)
def test_t1_refuses(bench: Bench, spec: dict[str, object], says: str) -> None:
    said = bench.transfer1(bench.spec1(**spec), code=1)

    assert says in said.splitlines()[-1]
    assert bench.lines("made") == []


def test_t1_fact_13_any_text_will_do_as_the_video_of_a_batch(bench: Bench) -> None:
    bench.batch1({"prompt": "one"}, spec={"input_video_path": "unused"})

    assert bench.lines("made") == ["0"]


def test_t1_fact_19_the_upsampler_needs_torchrun(bench: Bench) -> None:
    said = bench.transfer1(bench.spec1(), "--upsample_prompt", code=1)
    path = {"PYTHONPATH": str(bench.models.checkout("transfer1"))}
    launch = ("-m", "torch.distributed.run", "--nproc_per_node=1", TRANSFER, "--upsample_prompt")
    folder = ("--video_save_folder", bench.out)
    bench.run(
        "transfer1", *launch, *folder, "--controlnet_specs", bench.folder / "spec.json", env=path
    )

    assert "KeyError: 'RANK'" in said
    assert (bench.out / "output.txt").read_text().endswith("(upsampled)")


def test_t1_weights_are_normalised_only_above_1(bench: Bench) -> None:
    given = {"input_control": str(bench.video)}
    spec = {"edge": {**given, "control_weight": 0.3}, "depth": {**given, "control_weight": 0.3}}
    heavy = {"edge": {"control_weight": 3}, "depth": {"control_weight": 1}}
    bench.batch1({"prompt": "one"}, {"prompt": "two", "control_overrides": heavy}, spec=spec)

    light, scaled = (mark(bench.out / f"video_{n}" / "output.mp4") for n in (0, 1))
    assert light["effective_weights"] == {"edge": 0.3, "depth": 0.3}
    assert scaled["weights"] == {"edge": 3, "depth": 1}
    assert scaled["effective_weights"] == {"edge": 0.75, "depth": 0.25}


def test_t1_takes_a_tensor_as_weight_and_then_0_is_1(bench: Bench) -> None:
    tensor = bench.folder / "map.pt"
    tensor.write_bytes(b"tensor")
    given = {"input_control": str(bench.video)}
    edge = {**given, "control_weight": str(tensor)}
    bench.transfer1(bench.spec1(edge=edge, vis={**given, "control_weight": 0}))

    used = mark(bench.out / "output.mp4")["effective_weights"]
    assert used == {"edge": str(tensor), "vis": 1.0}


def test_t1_lines_share_the_parameters_and_override_only_controls(bench: Bench) -> None:
    override = {"depth": {"input_control": None, "control_weight": 0.9}, "vis": {}}
    lines = ({"prompt": "one"}, {"prompt": "two", "seed": 3, "control_overrides": override})
    said = bench.batch1(*lines, words=("--seed", "8"))

    first, second = (mark(bench.out / f"video_{n}" / "output.mp4") for n in (0, 1))
    assert first["params"]["seed"] == second["params"]["seed"] == 8
    assert (first["weights"], second["weights"]) == ({"depth": "0.5"}, {"depth": 0.9})
    assert first["controls"] == {"depth": {"source": str(bench.video)}}
    assert second["controls"]["depth"]["source"] == "native"
    assert bench.files("video_0") == {"output.mp4", "prompt.txt"}
    assert bench.files("video_1") == {"output.mp4", "prompt.txt", "depth_input_control_0.mp4"}
    assert "Ignoring unknown control key in override: vis" in said


def test_t1_refuses_a_blank_line(bench: Bench) -> None:
    batch = bench.folder / "batch.jsonl"
    batch.write_text('{"prompt": "one"}\n\n')
    said = bench.transfer1(bench.spec1(), "--batch_input_path", batch, code=1)

    assert "JSONDecodeError" in said


@pytest.mark.parametrize("word", ["GUARD-TEXT", "GUARD-VIDEO"])
def test_t1_fact_3_a_block_is_a_type_error_and_the_rest_is_lost(bench: Bench, word: str) -> None:
    lines = ({"prompt": "one"}, {"prompt": word}, {"prompt": "three"})
    said = bench.batch1(*lines, spec={"edge": {}}, code=1)

    assert "Guardrail blocked generation for entire batch." in said
    assert said.splitlines()[-1] == "TypeError: cannot unpack non-iterable NoneType object"
    assert bench.files("video_0") == {"output.mp4", "prompt.txt", "edge_input_control_0.mp4"}
    assert bench.files("video_1") == {"edge_input_control_0.mp4"}
    assert bench.files() == {"video_0", "video_1"}


def test_t1_a_line_without_a_prompt_is_blocked(bench: Bench) -> None:
    said = bench.batch1({}, code=1)

    assert "Guardrail blocked generation for entire batch." in said


def test_t1_fact_3_a_partial_block_shifts_the_outputs(bench: Bench) -> None:
    lines = ({"prompt": "GUARD-TEXT"}, {"prompt": "second"})
    bench.batch1(*lines, words=("--batch_size", "2"))

    assert (bench.out / "video_0" / "prompt.txt").read_text() == "second"
    assert mark(bench.out / "video_0" / "output.mp4")["name"] == 1
    assert bench.files("video_1") == set()


def test_t1_fact_4_automatic_maps_are_random_by_seed_and_position(bench: Bench) -> None:
    def thresholds(*words: object) -> list[list[int]]:
        bench.batch1({"prompt": "a"}, {"prompt": "b"}, spec={"edge": {}}, words=words)
        marks = [mark(bench.out / f"video_{n}" / "output.mp4") for n in (0, 1)]
        assert marks[0]["controls"]["edge"]["source"] == "native"
        return [each["controls"]["edge"]["thresholds"] for each in marks]

    one, again = thresholds(), thresholds("--canny_threshold", "high")

    assert one == again
    assert one[0] != one[1]
    assert one != thresholds("--seed", "2")


def test_t1_fact_5_a_weight_prompt_works_on_seg_only(bench: Bench) -> None:
    control = {"input_control": str(bench.video), "control_weight_prompt": "the car"}
    bench.transfer1(bench.spec1(seg=control, vis=control))

    assert "seg_control_weight_0.pt" in bench.files()
    assert "vis_control_weight_0.pt" not in bench.files()


def test_t1_upscales_one_at_a_time(bench: Bench) -> None:
    upscale = {"upscale": {"control_weight": 0.5}}
    lines = ({"prompt": "one"}, {"prompt": "GUARD-TEXT"})
    bench.batch1(*lines, spec=upscale, words=("--batch_size", "2"), code=1)

    made = mark(bench.out / "video_0" / "output.mp4")
    assert made["controls"] == {"upscale": {"source": str(bench.video)}}


def test_t1_fact_14_region_files_fail_from_the_second_line_on(bench: Bench) -> None:
    regions = [{"prompt": "sky", "region_definitions_path": str(bench.video)}]
    lines = ({"prompt": "one"}, {"prompt": "two"})
    bench.batch1(*lines, spec={"regional_prompts": regions}, code=1)

    assert bench.lines("made") == ["0"]


# cosmos-transfer2.5


@pytest.mark.parametrize(
    "change",
    [
        {"typo": 1},  # fact 6
        {"resolution": 720},  # fact 7
        {"sigma_max": 80},
        {"guidance": 3.5},
        {"guidance": 8},
        {"context_frame_index": 0},  # fact 9
        {"seed": None},
        {"negative_prompt": None},
        {"prompt": None},
        {"num_conditional_frames": 3},
        {"edge": None},
        {"edge": {"control_weight": 1.1}},
        {"edge": {"control_weight": float("nan")}},
        {"edge": {"preset_edge_threshold": "none"}},
        {"vis": {"preset_blur_strength": "none"}},
        {"vis": {}, "image_context_path": str(PICTURE)},
        {"video_path": "missing.mp4"},
        {"edge": {"control_path": "missing.mp4"}},
        {"name": "b"},  # fact 11: a duplicate
    ],
)
def test_t25_refuses_before_the_model_loads(bench: Bench, change: Sample) -> None:
    bench.transfer25(bench.sample25("b"), {**bench.sample25(), **change}, code=1)

    assert bench.lines("load") == []
    assert not bench.out.exists()


@pytest.mark.parametrize(
    ("change", "understood"),
    [
        ({"guidance": 3.0}, 3),
        ({"seed": -1}, -1),
        ({"edge": {"control_weight": 0.5, "typo": 1}}, {"control_weight": 0.5, "typo": 1}),
    ],
)
def test_t25_takes(bench: Bench, change: Sample, understood: object) -> None:
    bench.transfer25(bench.sample25(**change))

    made = mark(bench.out / "a.mp4")
    assert {**made["params"], **made["hints"]}[next(iter(change))] == understood


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"resolution": "nonsense"}, "KeyError"),
        ({"sigma_max": "abc"}, "ValueError"),
        ({"name": "a/b"}, "FileNotFoundError"),
    ],
)
def test_t25_facts_7_and_10_some_mistakes_show_after_the_load(
    bench: Bench, change: Sample, error: str
) -> None:
    said = bench.transfer25(bench.sample25(**change), bench.sample25("later"), code=1)

    assert error in said.splitlines()[-1]
    assert len(bench.lines("load")) == 1
    assert bench.lines("made") == []


@pytest.mark.parametrize("name", ["spec.yaml", "spec.jsonl"])
def test_t25_fact_11_reads_no_yaml_and_no_blank_lines(bench: Bench, name: str) -> None:
    spec = bench.folder / name
    spec.write_text("\n" + json.dumps(bench.sample25()))
    bench.run("transfer2.5", "examples/inference.py", "-i", spec, "-o", bench.out, code=1)

    assert bench.lines("load") == []


@pytest.mark.parametrize("words", [("--bogus",), ("--model", "edge/distilled"), ("--seed", "x")])
def test_t25_a_bad_flag_is_exit_code_2(bench: Bench, words: tuple[str, ...]) -> None:
    bench.transfer25(bench.sample25(), words=words, code=2)

    assert bench.lines("load") == []


def test_t25_fact_17_distilled_needs_a_variable(bench: Bench) -> None:
    experimental = {"COSMOS_EXPERIMENTAL_CHECKPOINTS": "1"}
    bench.transfer25(bench.sample25(), words=("--model", "edge/distilled"), env=experimental)

    made = mark(bench.out / "a.mp4")
    assert (made["params"]["model"], made["params"]["guidance"]) == ("edge/distilled", None)
    assert made["negative"] is None


def test_t25_a_flag_replaces_a_value_in_all_samples(bench: Bench) -> None:
    bench.transfer25(bench.sample25("a", seed=1), bench.sample25("b"), words=("--seed", "5"))

    assert [mark(bench.out / f"{n}.mp4")["params"]["seed"] for n in "ab"] == [5, 5]


def test_t25_paths_are_relative_to_the_spec(bench: Bench) -> None:
    (bench.folder / "prompt.txt").write_text(" A pier at dusk\n")
    sample = bench.sample25(video_path="clip.mp4", prompt_path="prompt.txt")
    del sample["prompt"]
    bench.transfer25(sample)

    made = mark(bench.out / "a.mp4")
    assert (made["video"], made["prompt"]) == (str(bench.video), "A pier at dusk")


def test_t25_writes_its_files_in_order_the_prompt_last(bench: Bench) -> None:
    masked = bench.sample25(edge={"mask_prompt": "car"})
    bench.transfer25(masked, env={"STAND_IN_SECONDS": "0.01"})

    names = ["a.json", "a_control_edge.mp4", "a_mask_edge.mp4", "a.mp4", "a.txt"]
    assert bench.files() == set(names)
    times = [(bench.out / name).stat().st_mtime_ns for name in names]
    assert times == sorted(times)


def test_t25_one_frame_makes_a_picture(bench: Bench) -> None:
    bench.transfer25(
        bench.sample25("frame", max_frames=1), bench.sample25("still", video_path=str(PICTURE))
    )

    made = {"frame.jpg", "frame_control_edge.jpg", "still.jpg", "still_control_edge.jpg"}
    assert made <= bench.files()
    assert frames(bench.out / "frame.jpg") == 1
    assert mark(bench.out / "frame.jpg")["name"] == "frame"


@pytest.mark.parametrize(
    ("change", "message", "files"),
    [
        ({"prompt": "GUARD-TEXT"}, "Guardrail blocked generation. Prompt: GUARD-TEXT", set()),
        (
            {"negative_prompt": "GUARD-TEXT"},
            "Guardrail blocked generation. Negative prompt: GUARD-TEXT",
            set(),
        ),
        ({"prompt": "GUARD-VIDEO"}, "GUARDRAIL BLOCKED: ", {"a_control_edge.mp4"}),
    ],
)
def test_t25_fact_2_a_block_is_exit_code_0_and_the_next_goes_on(
    bench: Bench, change: Sample, message: str, files: set[str]
) -> None:
    bench.transfer25(bench.sample25(**change), bench.sample25("b"))

    assert message in (bench.out / "console.log").read_text()
    assert {name for name in bench.files() if name[0] == "a"} == {"a.json"} | files
    assert bench.lines("made") == ["b"]


@pytest.mark.parametrize("word", ["GUARD-TEXT", "GUARD-VIDEO"])
def test_t25_no_keep_going_ends_at_a_block(bench: Bench, word: str) -> None:
    samples = (bench.sample25(prompt=word), bench.sample25("b"))
    said = bench.transfer25(*samples, words=("--no-keep-going",), code=1)

    assert said.splitlines()[-1].startswith("Exception: Guardrail blocked")
    assert bench.lines("made") == []


def test_t25_fact_20_guardrails_can_be_off_and_the_mark_says_so(bench: Bench) -> None:
    bench.transfer25(bench.sample25(prompt="GUARD-TEXT"), words=("--disable-guardrails",))

    assert mark(bench.out / "a.mp4")["guardrails"] is False


def test_t25_fact_15_a_text_block_on_several_gpus_hangs(bench: Bench) -> None:
    spec = bench.write("spec.json", bench.sample25(prompt="GUARD-TEXT"))
    entry = bench.models.installation("transfer2.5", STAND_IN_LEDGER=str(bench.ledger))
    torchrun = bench.models.python("transfer2.5").with_name("torchrun")
    process = subprocess.Popen(
        [torchrun, "--nproc_per_node=2", "examples/inference.py", "-i", spec, "-o", bench.out],
        cwd=bench.models.checkout("transfer2.5"),
        env={**os.environ, **entry["env"]},
        stderr=subprocess.DEVNULL,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.kill()
    process.wait()

    assert "Guardrail blocked" in (bench.out / "console.log").read_text()


def test_t25_fact_16_a_second_run_makes_all_again_and_wipes_the_log(bench: Bench) -> None:
    bench.transfer25(bench.sample25("a"))
    bench.transfer25(bench.sample25("b"))

    assert "sample a" not in (bench.out / "console.log").read_text()
    bench.transfer25(bench.sample25("a"))
    assert bench.lines("made") == ["a", "b", "a"]


def test_t25_fact_8_weights_are_not_normalised_unless_masked(bench: Bench) -> None:
    both = {"edge": {"control_weight": 1}, "vis": {"control_weight": 1}}
    masked = {**both, "vis": {"control_weight": 1, "mask_path": str(bench.video)}}
    bench.transfer25(bench.sample25("plain", **both), bench.sample25("masked", **masked))

    plain, capped = (mark(bench.out / f"{n}.mp4") for n in ("plain", "masked"))
    assert plain["effective_weights"] == {"edge": 1, "vis": 1}
    assert capped["effective_weights"] == {"edge": 0.5, "vis": 0.5}


def test_t25_fact_1_a_mixed_batch_loses_a_weight(bench: Bench) -> None:
    vis = bench.sample25("b", edge=None, vis={"control_weight": 0.4})
    bench.transfer25(bench.sample25("a"), vis)

    made = mark(bench.out / "b.mp4")
    assert made["params"]["batch_hint_keys"] == ["edge", "vis"]
    assert (made["weights"], made["effective_weights"]) == ({"vis": 0.4}, {"vis": 0.0})


def subsets(keys: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Return every choice of at least one key."""
    for size in range(1, len(keys) + 1):
        yield from itertools.combinations(keys, size)


def test_t25_fact_1_nine_of_61_mixed_batches_are_wrong() -> None:
    path = STAND_INS / "cosmos-transfer2.5" / "cosmos_transfer2" / "placement.py"
    program = runpy.run_path(str(path))
    order, effective = program["ORDER"], program["effective"]
    given = dict(zip(order, (0.1, 0.2, 0.3, 0.4), strict=True))
    cases = {}
    for batch in subsets(order):
        for sample in subsets(batch):
            weights = {key: given[key] for key in sample}
            cases[batch, sample] = (weights, effective(batch, weights))
    mixed = {where: case for where, case in cases.items() if len(where[0]) > 1}
    wrong = {where: used for where, (weights, used) in mixed.items() if used != weights}

    assert len(mixed) == 61
    assert wrong == {
        (("edge", "vis"), ("vis",)): {"vis": 0},
        (("edge", "depth"), ("depth",)): {"depth": 0},
        (("vis", "depth"), ("depth",)): {"depth": 0},
        (("edge", "vis", "depth"), ("vis",)): {"vis": 0},
        (("edge", "vis", "depth"), ("depth",)): {"depth": 0},
        (("edge", "vis", "depth"), ("edge", "depth")): {"edge": 0.1, "depth": 0},
        (("edge", "vis", "depth"), ("vis", "depth")): {"vis": 0, "depth": 0.2},
        (("edge", "vis", "seg"), ("vis",)): {"vis": 0},
        (("edge", "vis", "seg"), ("vis", "seg")): {"vis": 0, "seg": 0.4},
    }
    assert all(weights == used for where, (weights, used) in cases.items() if len(where[0]) == 1)


DRIVER = """
import sys
from pathlib import Path
from cosmos_transfer2.config import InferenceArguments, SetupArguments
from cosmos_transfer2.inference import Control2WorldInference
out = Path(sys.argv[2])
samples, keys = InferenceArguments.from_files([Path(sys.argv[1])])
setup = SetupArguments(output_dir=out, model="edge", keep_going=True)
pipe = Control2WorldInference(setup, batch_hint_keys=keys)
for sample in samples:
    try:
        print("driver", [Path(path).name for path in pipe.generate([sample], out)])
    except Exception as error:
        print("driver", type(error).__name__)
"""


def test_t25_a_driver_can_keep_the_model_and_go_on_after_an_error(bench: Bench) -> None:
    prompts = {"a": "one", "b": "CRASH", "c": "GUARD-TEXT", "d": "four"}
    spec = bench.write("s.jsonl", *(bench.sample25(n, prompt=p) for n, p in prompts.items()))
    said = bench.run("transfer2.5", "-c", DRIVER, spec, bench.out)

    printed = [line.split(" ", 1)[1] for line in said.splitlines() if line.startswith("driver")]
    assert printed == ["['a.mp4']", "RuntimeError", "[]", "['d.mp4']"]
    assert bench.lines("load") == ["edge"]
    assert bench.lines("made") == ["a", "d"]


def test_t25_setup_arguments_have_no_default_model(bench: Bench) -> None:
    program = (
        "from pathlib import Path\n"
        "from cosmos_transfer2.config import SetupArguments\n"
        "SetupArguments(output_dir=Path('out'))\n"
    )
    said = bench.run("transfer2.5", "-c", program, code=1)

    assert "model is required" in said


# Cosmos 3


@pytest.mark.parametrize(
    "change",
    [
        {"typo": 1},
        {"vis": {}},
        {"edge": {"control_weight": 1}},
        {"edge": {"mask_path": str(CLIP)}},
        {"edge": {"preset_edge_threshold": "none"}},
        {"resolution": 720},
        {"resolution": "1080p"},
        {"guidance": 8},
        {"control_guidance": 11},
        {"vision_path": "missing.mp4"},
        {"edge": None},
    ],
)
def test_c3_refuses_before_the_model_loads(bench: Bench, change: Sample) -> None:
    said = bench.cosmos3(bench.sample3(**change), words=("--skip-invalid-samples",), code=1)

    assert "Error validating parameters" in said
    assert bench.lines("load") == []


def test_c3_fact_11_duplicate_names_overwrite_one_another(bench: Bench) -> None:
    bench.cosmos3(bench.sample3(prompt="one"), bench.sample3(prompt="two"))

    assert mark(bench.out / "a" / "vision.mp4")["prompt"] == "two"
    assert bench.lines("made") == ["a", "a"]


def test_c3_fact_8_weights_are_always_normalised(bench: Bench) -> None:
    blur = {"weight": 0.1, "preset_blur_strength": "none"}
    bench.cosmos3(bench.sample3(edge={"weight": 0.3}, blur=blur))

    made = mark(bench.out / "a" / "vision.mp4")
    assert made["weights"] == {"edge": 0.3, "blur": 0.1}
    assert made["effective_weights"] == pytest.approx({"edge": 0.75, "blur": 0.25})


def test_c3_writes_its_files_and_says_what_they_are(bench: Bench) -> None:
    bench.cosmos3(bench.sample3(seed=4))

    names = {"sample_args.json", "vision.mp4", "control_edge.mp4", "sample_outputs.json"}
    assert bench.files("a") == names
    outputs = json.loads((bench.out / "a" / "sample_outputs.json").read_text())
    assert (outputs["status"], outputs["message"]) == ("success", None)
    files = outputs["outputs"][0]["files"]
    assert files == [str(bench.out / "a" / n) for n in ("vision.mp4", "control_edge.mp4")]
    assert outputs["args"]["seed"] == 4


def test_c3_only_a_single_hint_has_tuned_defaults(bench: Bench) -> None:
    seg = {"control_path": str(bench.video)}
    both = bench.sample3("both", seg=seg)
    bench.cosmos3(bench.sample3("one", edge=None, seg=seg), both)

    one, two = (mark(bench.out / name / "vision.mp4")["params"] for name in ("one", "both"))
    assert (one["guidance"], one["control_guidance"], one["shift"]) == (3.0, 2.0, 10.0)
    assert (two["guidance"], two["control_guidance"], two["shift"]) == (None, None, None)
    assert one["num_video_frames_per_chunk"] == 93


@pytest.mark.parametrize("hint", ["depth", "seg"])
def test_c3_depth_and_seg_need_a_file(bench: Bench, hint: str) -> None:
    said = bench.cosmos3({**bench.sample3(edge=None), hint: {}}, code=1)

    assert "FileNotFoundError: Missing pre-computed control input" in said.splitlines()[-1]


def test_c3_an_unknown_kind_of_video_ends_all_or_is_skipped(bench: Bench) -> None:
    film = bench.folder / "clip.mkv"
    film.write_bytes(bench.video.read_bytes())
    samples = (bench.sample3(vision_path=str(film)), bench.sample3("b"))
    bench.cosmos3(*samples, code=1)
    assert bench.lines("begin") == []
    bench.cosmos3(*samples, words=("--skip-invalid-samples",))

    skipped = json.loads((bench.out / "a" / "sample_outputs.json").read_text())
    assert skipped["status"] == "skip"
    assert "Invalid vision extension: .mkv" in skipped["message"]
    assert bench.lines("made") == ["b"]


@pytest.mark.parametrize("word", ["GUARD-TEXT", "GUARD-VIDEO"])
def test_c3_no_guardrail_looks_at_transfer(bench: Bench, word: str) -> None:
    bench.cosmos3(bench.sample3(prompt=word))

    assert mark(bench.out / "a" / "vision.mp4")["guardrails"] is False


def test_c3_a_bad_flag_is_exit_code_2(bench: Bench) -> None:
    bench.cosmos3(bench.sample3(), words=("--bogus",), code=2)

    assert not bench.out.exists()
