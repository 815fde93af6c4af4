"""The warm driver of Transfer2.5 on the stand-in checkout: one load, and each sample for itself."""

from __future__ import annotations

import ast
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cosmos_jobs.config import schema
from cosmos_jobs.core import identity
from cosmos_jobs.core.batch import Batch, Command, Life, Outcome, Setup, Status, Task
from cosmos_jobs.core.record import State
from cosmos_jobs.core.run import CONTROLS, ROLES, InputFile, Prompt, Run, Scalar
from cosmos_jobs.core.serialize import ASKED, Asked, asking
from cosmos_jobs.engines.transfer2_5 import STATUS, Transfer25Engine, sample_name
from tests.support.stand_in_models import Models, mark

ENGINE = Transfer25Engine()
CONTRACT = schema.contract("transfer2.5")
DRIVER = Path(__file__).parents[2] / "cosmos_jobs" / "engines" / "drivers" / "transfer2_5.py"
OLDEST = "python3.10"
SECRET = "hf_oneTwoThreeFourFive"
PATIENCE_S = 60


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path / "the models")


class Work:
    """A batch in a folder of its own, as a host prepares it."""

    def __init__(
        self,
        models: Models,
        name: str,
        texts: Sequence[str],
        *,
        weights: Mapping[str, float] | None = None,
        idle_s: int | None = 60,
        **params: Scalar,
    ) -> None:
        self.models = models
        self.folder = models.folder / "batches" / name
        (self.folder / "out").mkdir(parents=True)
        prompts = [identity.prompt(text, "", {"color": "c" * 64}) for text in texts]
        self.runs: list[Run] = [
            identity.run(prompt.id, CONTRACT, weights or {"edge": 1}, {"seed": seed, **params})
            for seed, prompt in enumerate(prompts)
        ]
        self.prompts: list[Prompt] = prompts
        inputs = {"color": str(models.folder / "clip.mp4")}
        tasks = [Task(run, prompt, inputs) for run, prompt in zip(self.runs, prompts, strict=True)]
        python, checkout = models.python("transfer2.5"), models.checkout("transfer2.5")
        setup = Setup(str(python), "/cache", str(self.folder), str(checkout), idle_s=idle_s)
        self.command: Command = ENGINE.command(tasks, setup)
        for file, content in self.command.files.items():
            (self.folder / file).write_bytes(content)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def env(self, **more: str) -> dict[str, str]:
        given = self.models.installation("transfer2.5")["env"]
        return {**os.environ, **given, **self.command.env, **more}

    def once(self, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command.argv,
            cwd=self.command.cwd,
            env=self.env(**more),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        (self.folder / "log").write_text(done.stdout + done.stderr)
        return done

    def lines(self) -> list[dict[str, Any]]:
        path = self.out / STATUS
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def told(self, code: int) -> Mapping[str, Outcome]:
        """Return the outcomes that the engine tells from what is in the folder."""
        asked = [Asked(run.id, p.text) for run, p in zip(self.runs, self.prompts, strict=True)]
        batch = Batch("ba_1", ENGINE.name, "here", tuple(run.id for run in self.runs))
        names = {name for names in ENGINE.markers(batch).values() for name in names}
        texts = {
            name: (self.out / name).read_text() for name in names if (self.out / name).exists()
        }
        files = tuple(path.name for path in self.out.iterdir())
        log = (self.folder / "log").read_text()[-4000:]
        status = Status(Life.EXITED, code, files=files, log=log)
        return ENGINE.outcomes(batch, status, {**texts, ASKED: asking(asked).decode()})

    def states(self, code: int) -> list[State]:
        told = self.told(code)
        return [told[run.id].state for run in self.runs]


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


S, F, B, P = State.SUCCEEDED, State.FAILED, State.BLOCKED, State.PENDING


# --- spec files ---------------------------------------------------------------------------

LOAD = """
import sys
from pathlib import Path
from cosmos_transfer2.config import InferenceArguments
samples, keys = InferenceArguments.from_files([Path(sys.argv[1])])
print(*[sample.name for sample in samples])
"""


def any_task(chance: random.Random, number: int, file: str) -> Task:
    """Return a task with random weights, parameters and files that validation lets through."""
    while True:
        weights = {
            control: chance.randint(1, 100) / 100 for control in CONTROLS if chance.random() < 0.5
        }
        params: dict[str, Scalar] = {"seed": number}
        for name, rules in CONTRACT.schemas.items():
            if chance.random() < 0.3 and name != "seed":
                params[name] = any_value(chance, rules)
        prompt = identity.prompt(
            chance.choice(TEXTS), chance.choice(("", "blurry")), {"color": "c"}
        )
        run = identity.run(prompt.id, CONTRACT, weights, params)
        color = InputFile(Path(file), "c", 1, 121, 640, 360, 30.0)
        if not any(note.is_error for note in ENGINE.notes(run, {"color": color})):
            break
    inputs = {role: file for role in ROLES if role == "color" or chance.random() < 0.3}
    files = {name: file for name, value in run.params.items() if value == FILE}
    return Task(run, prompt, inputs, files)


FILE = "f" * 64
TEXTS = ("A pier", "Zwei\nZeilen", "a\u2028b\u0085c", 'says "so" \\', "夕暮れの桟橋")


def any_value(chance: random.Random, rules: Mapping[str, Any]) -> Scalar:
    if "x-file" in rules:
        return FILE
    if "enum" in rules:
        value: Scalar = chance.choice(rules["enum"])
        return value
    types = rules["type"] if isinstance(rules["type"], list) else [rules["type"]]
    match types[0]:
        case "boolean":
            return chance.random() < 0.5
        case "string":
            return "cars. people"
    low, high = rules["minimum"], min(rules.get("maximum", 200), 200)
    return chance.randint(low, high) if types[0] == "integer" else chance.uniform(low, high)


def test_specs_of_200_random_runs_are_what_the_loader_accepts(models: Models) -> None:
    chance = random.Random(4)
    tasks = [any_task(chance, n, str(models.folder / "clip.mp4")) for n in range(200)]
    spec = models.folder / "batch.jsonl"
    spec.write_bytes(ENGINE.command(tasks, Setup("python", "/cache")).files["batch.jsonl"])
    command = [str(models.python("transfer2.5")), "-c", LOAD, str(spec)]
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [sample_name(task.run.id) for task in tasks]


# --- one batch ----------------------------------------------------------------------------


def test_20_runs_with_a_crash_and_a_block_take_one_load_and_make_18(models: Models) -> None:
    texts = [f"sample {number}" for number in range(20)]
    texts[3], texts[11] = "CRASH", "GUARD-TEXT"
    work = Work(models, "a", texts)
    done = work.once()

    assert done.returncode == 0, done.stderr
    assert len(models.ledger("load")) == 1
    assert [work.states(0).count(state) for state in (S, F, B)] == [18, 1, 1]
    assert work.told(0)[work.runs[3].id].reason == "RuntimeError: the prompt asked for a crash"


def test_the_driver_and_nvidias_program_make_the_same(models: Models) -> None:
    weights = {"vis": 0.3, "edge": 0.7}
    works = [
        Work(
            models,
            f"idle {idle_s}",
            ["a", "b"],
            weights=weights,
            idle_s=idle_s,
            sigma_max=80.5,
            resolution="480",
            edge_threshold="low",
        )
        for idle_s in (60, None)
    ]
    codes = [work.once().returncode for work in works]
    made = [[mark(work.out / f"{sample_name(run.id)}.mp4") for run in work.runs] for work in works]

    assert codes == [0, 0]
    assert made[0] == made[1]
    assert made[0][0]["effective_weights"] == weights


@pytest.mark.parametrize("idle_s", [60, None])
def test_both_ways_tell_blocks_apart(models: Models, idle_s: int | None) -> None:
    work = Work(models, "a", ["GUARD-TEXT", "GUARD-VIDEO", "good"], idle_s=idle_s)
    code = work.once().returncode
    told = [work.told(code)[run.id] for run in work.runs]

    assert code == 0
    assert [outcome.state for outcome in told] == [B, B, S]
    assert told[0].reason.startswith("the text guardrail refused the prompt\n")
    assert told[1].reason.startswith("the video guardrail refused")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("OOM", "out of memory"),
        ("NO-CHECKPOINT", "missing checkpoint"),
        ("BAD-VIDEO", "unreadable"),
    ],
)
def test_the_reason_of_a_failed_sample_is_its_own_exception(
    models: Models, text: str, cause: str
) -> None:
    work = Work(models, "a", [text, "good"])
    code = work.once().returncode

    assert work.states(code) == [F, S]
    assert work.told(code)[work.runs[0].id].reason.startswith(cause)


def test_a_sample_that_the_model_refuses_fails_alone(models: Models) -> None:
    work = Work(models, "a", ["good", "good, too"])
    spec = work.folder / "batch.jsonl"
    first, second = map(json.loads, spec.read_text().splitlines())
    first["guidance"], second["seed"] = 9, 5
    spec.write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    code = work.once().returncode

    assert work.states(code) == [F, S]


def test_a_prompt_of_many_lines_and_alphabets_is_made_once_and_succeeds(models: Models) -> None:
    work = Work(models, "a", ["one\r\ntwo\rthree\u2028 夕暮れ"])
    codes = [work.once(LC_ALL="C").returncode for _ in range(2)]

    assert codes == [0, 0]
    assert work.states(0) == [S]
    assert len(models.ledger("made")) == 1


def test_a_killed_driver_leaves_what_is_made_and_blames_who_was_at_work(models: Models) -> None:
    work = Work(models, "a", ["good", "OOM", "KILL", "never"])
    code = work.once().returncode

    assert code == -signal.SIGKILL
    assert work.states(137) == [S, F, F, P]
    # The exception of an earlier sample is not why it died.
    assert "memory: torch" not in work.told(137)[work.runs[2].id].reason


def test_who_lost_the_gpu_is_to_blame_and_nobody_behind(models: Models) -> None:
    work = Work(models, "a", ["good", "GPU-LOST", "never"])
    code = work.once().returncode

    assert code == 1
    assert work.states(code) == [S, F, P]


def test_a_model_that_cannot_be_loaded_is_told_with_its_exception(models: Models) -> None:
    work = Work(models, "a", ["a", "b"])
    code = work.once(STAND_IN_CHECKPOINT="missing").returncode

    assert code == 1
    assert work.states(code) == [F, F]
    assert work.told(code)[work.runs[0].id].reason.startswith("missing checkpoint: FileNotFound")


def test_what_is_made_already_is_not_made_again(models: Models) -> None:
    work = Work(models, "a", ["a", "b"])
    work.once()
    # The second is not complete: its text, which is written last, is missing.
    (work.out / f"{sample_name(work.runs[1].id)}.txt").unlink()
    work.once()

    made = [line.name for line in models.ledger("made")]
    assert made == [sample_name(work.runs[number].id) for number in (0, 1, 1)]


def test_the_distilled_model_and_a_run_without_guardrails_are_what_was_asked(
    models: Models,
) -> None:
    distilled = Work(models, "a", ["a"], distilled=True)
    unguarded = Work(models, "b", ["GUARD-TEXT"], guardrails=False)
    codes = [work.once().returncode for work in (distilled, unguarded)]
    made = [mark(next(work.out.glob("rs-????????????????.mp4"))) for work in (distilled, unguarded)]

    assert codes == [0, 0]
    assert made[0]["params"]["model"] == "edge/distilled"
    assert made[0]["params"]["num_steps"] == 4
    assert made[1]["guardrails"] is False
    details = unguarded.told(0)[unguarded.runs[0].id].details
    assert details["guardrails"] == {"effective": "off"}


def test_an_image_is_made_of_one_frame(models: Models) -> None:
    work = Work(models, "a", ["a"], max_frames=1)
    code = work.once().returncode

    assert set(work.told(code)[work.runs[0].id].files) == {"output.jpg", "controls/edge.jpg"}


def test_a_batch_that_cannot_be_read_is_said_so_without_a_load(models: Models) -> None:
    work = Work(models, "a", ["a"])
    (work.folder / "batch.jsonl").write_text("{broken\n")
    done = work.once()

    assert done.returncode == 1
    assert "JSONDecodeError" in done.stderr
    assert "Traceback" not in done.stderr
    assert models.ledger("load") == []


def test_the_driver_is_a_program_for_python_3_10() -> None:
    ast.parse(DRIVER.read_text(), feature_version=(3, 10))

    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(DRIVER.read_text()))
        for name in (
            [each.name for each in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names


# --- a server -----------------------------------------------------------------------------


class Serving:
    """A server in its slot."""

    def __init__(self, process: subprocess.Popen[bytes], slot: Path) -> None:
        self.process = process
        self.slot = slot

    def offer(self, folder: Path) -> None:
        new = self.slot / "next.new"
        new.write_text(f"{folder}\n")
        new.rename(self.slot / "next")

    def serve(self, work: Work) -> int:
        self.offer(work.folder)
        until((work.folder / "served").exists, "served")
        return int((work.folder / "served").read_text())


@contextmanager
def serving(work: Work, *, idle_s: float = 60, **env: str) -> Iterator[Serving]:
    server = work.command.server
    assert server is not None
    slot = work.models.folder / "warm" / "0 1"
    slot.mkdir(parents=True)
    argv = [*server.argv[:-1], str(idle_s), str(slot)]
    with (slot / "log").open("ab") as log:
        process = subprocess.Popen(
            argv,
            cwd=work.command.cwd,
            env=work.env(**env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield Serving(process, slot)
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def test_a_server_loads_once_for_many_batches_and_logs_each_in_its_own_folder(
    models: Models,
) -> None:
    works = [Work(models, name, [f"{name} one", "CRASH"]) for name in "abc"]
    with serving(works[0]) as server:
        codes = [server.serve(work) for work in works]

        assert not (server.slot / "current").exists()
        assert (server.slot / "log").read_text() == ""

    assert codes == [0, 0, 0]
    assert [work.states(0) for work in works] == [[S, F]] * 3
    assert len(models.ledger("load")) == 1
    assert [work.lines()[0]["warm"] for work in works] == [False, True, True]
    names = [sample_name(work.runs[0].id) for work in works]
    for work, name in zip(works, names, strict=True):
        log = (work.folder / "log").read_text()
        assert [each for each in names if each in log] == [name]


def test_a_server_ends_by_itself_when_nobody_comes(models: Models) -> None:
    work = Work(models, "a", ["a"])
    with serving(work, idle_s=0.5) as server:
        assert server.serve(work) == 0
        assert server.process.wait(PATIENCE_S) == 0


def test_a_server_without_its_model_says_why_in_the_batchs_log_and_ends(models: Models) -> None:
    work = Work(models, "a", ["a"])
    with serving(work, STAND_IN_CHECKPOINT="missing") as server:
        code = server.serve(work)

        assert server.process.wait(PATIENCE_S) == 1

    assert code == 1
    assert "FileNotFoundError" in (work.folder / "log").read_text()


def test_a_server_that_lost_its_gpu_takes_no_more_work(models: Models) -> None:
    work = Work(models, "a", ["GPU-LOST", "b"])
    with serving(work) as server:
        code = server.serve(work)

        assert server.process.wait(PATIENCE_S) == 1

    assert work.states(code) == [F, P]


def test_a_server_never_makes_a_batch_of_other_controls(models: Models) -> None:
    first, second = Work(models, "a", ["a"]), Work(models, "b", ["b"], weights={"vis": 1})
    with serving(first) as server:
        codes = [server.serve(first), server.serve(second)]

    assert codes == [0, 1]
    assert "loaded for ['edge']" in (second.folder / "log").read_text()


def test_sigterm_ends_a_server_at_once_and_its_batch_is_still_named(models: Models) -> None:
    work = Work(models, "a", ["HANG"])
    with serving(work) as server:
        server.offer(work.folder)
        until(lambda: bool(models.ledger("begin")), "the sample begins")
        server.process.terminate()

        assert server.process.wait(PATIENCE_S) == -signal.SIGTERM
        assert (server.slot / "current").read_text() == f"{work.folder}\n"
    assert not (work.folder / "served").exists()


def test_secrets_are_covered_in_a_batchs_log(models: Models) -> None:
    work = Work(models, "a", [f"the token is {SECRET}, CRASH", "good"])
    # The log says what the prompt is when it is refused, or an exception has it.
    refused = Work(models, "b", [f"GUARD-TEXT {SECRET}"])
    with serving(work, MY_TOKEN=SECRET, COSMOS_JOBS_SECRETS="MY_TOKEN NOT_THERE") as server:
        codes = [server.serve(work), server.serve(refused)]

    logs = [(each.folder / "log").read_text() for each in (work, refused)]
    assert codes == [0, 0]
    assert SECRET not in "".join(logs)
    assert f"GUARD-TEXT {'*' * len(SECRET)}" in logs[1]


def test_a_secret_that_arrives_in_pieces_is_covered(tmp_path: Path) -> None:
    script = (
        "import importlib.util, os, pathlib, sys, time\n"
        "spec = importlib.util.spec_from_file_location('driver', sys.argv[1])\n"
        "driver = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(driver)\n"
        "with driver.logging_to(pathlib.Path(sys.argv[2])):\n"
        "    for each in 'a hf_one|Two|Three b hf_|on c hf_oneTwo| xhf_|y '.split('|'):\n"
        "        os.write(1, each.encode())\n"
        "        time.sleep(0.05)\n"
        "print('back')\n"
    )
    env = {**os.environ, "COSMOS_JOBS_SECRETS": "A B C"}
    env |= {"A": "hf_oneTwoThree", "B": "hf_oneTwo\nmany lines", "C": "xhf_"}
    log = tmp_path / "log"
    command = [sys.executable, "-c", script, str(DRIVER), str(log)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)

    assert log.read_text() == f"a {'*' * 14} b hf_on c {'*' * 9} ****y "
    assert done.stdout == "back\n"
