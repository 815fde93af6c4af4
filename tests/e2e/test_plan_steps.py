"""The plan that this product grew from: each of its command blocks, typed into a real shell.

Its steps 1 to 8 and its guide for users, with their success criteria; on this
machine with the engine preview, and on a host by SSH. Only the ids, which are
examples in the plan, are real ones here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from cosmos_jobs.artifacts.digests import Digests
from cosmos_jobs.cli import COMMANDS
from cosmos_jobs.config import project
from cosmos_jobs.core import identity
from cosmos_jobs.core.diagnostics import Unusable
from cosmos_jobs.core.record import PromptRecord
from cosmos_jobs.operations import WorkflowOperations
from tests.support.fixtures_ssh import Servers
from tests.support.project import film, frames
from tests.support.remote_project import StandIn, target

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
CLIPS = ("videos/scene1", "videos/test", "videos/dir", *(f"inputs/videos/test{n}" for n in "123"))
ID = r"ps_[0-9a-f]{16}"


class Shell:
    """A project's folder and shells in it, where `cosmos` is the program."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, script: str, exit_code: int = 0, *, shell: str = "bash") -> str:
        """Run a script and return all that it said; its exit code must be as expected."""
        done = subprocess.run(
            [shell, "-c", script],
            cwd=self.root,
            env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
        )
        assert done.returncode == exit_code, f"exit {done.returncode}\n{done.stdout}"
        assert "Traceback" not in done.stdout
        return done.stdout

    def prompt(self, text: str = "A sunset", video: str = "videos/scene1") -> str:
        """Make a prompt and return its id, as scripts get at it."""
        made = self(f"cosmos create prompt '{text}' {video} | grep 'ID:' | cut -d' ' -f2").strip()
        assert re.fullmatch(ID, made), made
        return made

    def records(self, what: str) -> list[dict[str, Any]]:
        """Return the prompts or the runs of the store."""
        found = orjson.loads(self(f"cosmos list {what} --format json"))
        assert isinstance(found, list)
        return found

    def made(self) -> list[str]:
        """Return the prompt of each run, in order; each must have a video that plays."""
        runs = self.records("runs")
        for run in runs:
            assert run["state"] == "succeeded", run["reason"]
            assert frames(self.root / "outputs" / "runs" / str(run["id"]) / "output.mp4") > 1
        return sorted(str(run["prompt_id"]) for run in runs)

    def weights(self) -> list[list[float]]:
        """Return the weights of the runs: vis, edge, depth, seg."""
        return sorted(list(run["weights"].values()) for run in self.records("runs"))

    def operations(self) -> WorkflowOperations:
        """Return what Python users have of the project."""
        return WorkflowOperations.open(self.root)


@pytest.fixture
def here(tmp_path: Path) -> Shell:
    """Return a project whose videos are those that the plan names."""
    root = tmp_path / "project"
    for seed, name in enumerate(CLIPS):
        film(root / name / "color.mp4", seed)
    (root / project.FILE).write_text("version: 1\n")
    return Shell(root)


@pytest.fixture(params=["local", "ssh"])
def cosmos(request: pytest.FixtureRequest, here: Shell, tmp_path: Path) -> Shell:
    """Return the project on this machine, and on a host that has a stand-in for the engine."""
    if request.param == "ssh":
        servers: Servers = request.getfixturevalue("ssh_servers")
        servers("gpu-1")
        installation = StandIn(tmp_path / "stand-in").installation()
        gpu = target(["gpu-1"], tmp_path / "the root", installation)
        settings = {"version": 1, "target": "gpu", "targets": {"gpu": gpu}}
        (here.root / project.FILE).write_bytes(orjson.dumps(settings))
    return here


# --- before and after ---------------------------------------------------------------------


def test_before_took_three_steps_and_the_second_is_no_more(cosmos: Shell) -> None:
    made = cosmos.prompt()

    refused = cosmos(f"cosmos create run {made} --weights 0.3 0.3 0.2 0.2", exit_code=2)
    unknown = cosmos("cosmos inference rs_xyz789", exit_code=2)

    assert "no such command" in refused.lower()
    assert "rs_xyz789" in unknown
    assert cosmos.records("runs") == []


def test_after_takes_two_steps(cosmos: Shell) -> None:
    said = cosmos('cosmos create prompt "A sunset" videos/scene1')
    (made,) = set(re.findall(ID, said))

    cosmos(f"cosmos inference {made} --weights 0.3 0.3 0.2 0.2")

    assert cosmos.made() == [made]
    assert cosmos.weights() == [[0.3, 0.3, 0.2, 0.2]]


# --- step 1: WorkflowOperations -----------------------------------------------------------


def stored(here: Shell, text: str) -> str:
    """Write a prompt into the store by hand and return its id."""
    path = here.root / "videos" / "test" / "color.mp4"
    file = Digests(here.root / "digests.json").video(path)
    assert not isinstance(file, Unusable)
    prompt = identity.prompt(text, "", {"color": file.sha256})
    where = {"color": str(path.relative_to(here.root))}
    here.operations().store.change(
        lambda change: change.put_prompts(
            [PromptRecord(prompt=prompt, name=text, video="test", files=where, frames=file.frames)]
        )
    )
    return prompt.id


def test_inference_of_a_prompt_in_the_store_makes_the_run_itself(cosmos: Shell) -> None:
    prompt = stored(cosmos, "by hand")

    result = cosmos.operations().quick_inference(prompt)

    (run,) = cosmos.records("runs")
    assert result["run_id"] == run["id"]
    assert result["prompt_id"] == prompt
    assert result["status"] == "succeeded"
    assert frames(Path(result["output_path"])) > 1
    assert cosmos.made() == [prompt]


def test_batch_inference_makes_the_runs_of_several_prompts(cosmos: Shell) -> None:
    prompts = [stored(cosmos, text) for text in ("one", "two")]

    result = cosmos.operations().batch_inference(prompts)

    assert set(prompts) == set(re.findall(ID, repr(result)))
    assert {run["id"] for run in cosmos.records("runs")} == set(
        re.findall(r"rs_[0-9a-f]{16}", repr(result))
    )
    assert cosmos.made() == sorted(prompts)


def test_runs_can_be_made_and_executed_one_by_one_too(cosmos: Shell) -> None:
    ops, prompt = cosmos.operations(), stored(cosmos, "by hand")

    run = ops.create_run(prompt)
    before = [each["state"] for each in cosmos.records("runs")]
    ops.execute_run(cosmos.records("runs")[0]["id"])

    assert run
    assert before == ["pending"]
    assert cosmos.made() == [prompt]


# --- step 2: no `create run` --------------------------------------------------------------


def test_create_run_is_no_such_command_and_create_prompt_still_works(cosmos: Shell) -> None:
    refused = cosmos("cosmos create run ps_abc123", exit_code=2)
    made = cosmos('cosmos create prompt "test" videos/test')

    assert "no such command" in refused.lower()
    assert re.search(rf"^ID: {ID}$", made, re.MULTILINE)


def test_the_help_of_create_shows_prompt_alone(here: Shell) -> None:
    shown = here("cosmos create --help")

    _, _, commands = shown.partition("Commands:\n")
    assert re.findall(r"^  (\w+)", commands, re.MULTILINE) == ["prompt"]
    assert not re.search(r"\brs_|\bruns?\b", shown + here("cosmos create prompt --help"))


# --- step 3: inference of one and of many -------------------------------------------------


def test_inference_of_one_prompt(cosmos: Shell) -> None:
    prompt = cosmos.prompt()

    said = cosmos(f"cosmos inference {prompt}  # Single prompt")

    (video,) = set(re.findall(r"\S*outputs/\S+\.mp4", said))
    assert frames(cosmos.root / video) > 1
    assert cosmos.made() == [prompt]


def test_inference_of_several_prompts_says_which_it_processed(cosmos: Shell) -> None:
    one, two = cosmos.prompt("One"), cosmos.prompt("Two")

    said = cosmos(f"cosmos inference {one} {two}  # Multiple prompts")

    assert {one, two} <= set(re.findall(ID, said))
    assert len(set(re.findall(r"\S*outputs/\S+\.mp4", said))) == 2
    assert cosmos.made() == sorted([one, two])


def test_inference_of_the_prompts_of_a_file(cosmos: Shell) -> None:
    one, two = cosmos.prompt("One"), cosmos.prompt("Two")

    said = cosmos(
        f'echo -e "{one}\\n{two}" > prompts.txt\n'
        "cosmos inference --prompts-file prompts.txt  # From file"
    )

    assert (cosmos.root / "prompts.txt").read_text() == f"{one}\n{two}\n"
    assert {one, two} <= set(re.findall(ID, said))
    assert cosmos.made() == sorted([one, two])


# --- step 4: enhance ----------------------------------------------------------------------


def test_enhance_makes_a_new_prompt(cosmos: Shell) -> None:
    prompt = cosmos.prompt("A pier")

    cosmos(f"cosmos enhance {prompt}  # Creates new enhanced prompt")

    texts = {str(each["id"]): str(each["text"]) for each in cosmos.records("prompts")}
    assert texts.pop(prompt) == "A pier"
    ((made, text),) = texts.items()
    assert made != prompt
    assert len(text) > len("A pier")


def test_enhance_overwrites_a_prompt_without_runs(cosmos: Shell) -> None:
    prompt = cosmos.prompt("A pier")

    cosmos(f"cosmos enhance {prompt} --overwrite  # Updates existing (if no runs)")

    (only,) = cosmos.records("prompts")
    assert len(str(only["text"])) > len("A pier")


def test_enhance_does_not_overwrite_a_prompt_that_has_runs(cosmos: Shell) -> None:
    prompt = cosmos.prompt("A pier")
    cosmos(f"cosmos inference {prompt}")
    before = cosmos.records("prompts")

    refused = cosmos(f"cosmos enhance {prompt} --overwrite", exit_code=1)

    assert f"the text of {prompt} stays" in refused
    assert "leave out --overwrite" in refused
    assert cosmos.records("prompts") == before


def test_a_dry_run_of_enhance_shows_both_texts_and_writes_nothing(cosmos: Shell) -> None:
    prompt = cosmos.prompt("A pier")
    before = (cosmos.root / ".cosmos-jobs" / "state.json").read_bytes()

    said = cosmos(f"cosmos enhance {prompt} --dry-run  # Preview only")

    assert re.search(r"\bA pier\b", said)
    assert (cosmos.root / ".cosmos-jobs" / "state.json").read_bytes() == before


def test_the_command_enhance_is_shorter_than_100_lines() -> None:
    text = (ROOT / "cosmos_jobs" / "cli" / "enhance.py").read_text()

    assert len(text.splitlines()) < 100


# --- step 5: the commands there are -------------------------------------------------------


def test_the_help_shows_the_commands_that_are_meant(here: Shell) -> None:
    shown = here("cosmos --help")

    listed = re.findall(r"^  (\w+)  ", shown, re.MULTILINE)
    assert listed == [name for section in COMMANDS.values() for name in section]
    assert {"create", "inference", "enhance", "list", "status"} <= set(listed)


@pytest.mark.parametrize("name", ["generate", "batch"])
def test_what_was_merged_into_inference_is_no_such_command(here: Shell, name: str) -> None:
    assert "no such command" in here(f"cosmos {name}", exit_code=2).lower()


# --- step 6: the next step ----------------------------------------------------------------


@pytest.mark.parametrize("program", ["cosmos", "cosmos-jobs"])
def test_a_new_prompt_says_its_id_and_the_next_step(cosmos: Shell, program: str) -> None:
    said = cosmos(f'{program} create prompt "test" videos/test')

    (made,) = re.findall(rf"^ID: ({ID})$", said, re.MULTILINE)
    assert said.startswith(f"ID: {made}\n")
    assert re.search(rf"^Next step: cosmos(-jobs)? inference {made}$", said, re.MULTILINE)
    assert "\x1b" not in said


def test_nothing_speaks_of_create_run_but_the_page_of_migration() -> None:
    texts = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("cosmos_jobs/**/*.py")]

    found = [path.name for path in texts if re.search(r"\bcreate run\b", path.read_text())]

    assert found == ["migration.md"]


# --- step 7: cleaned up -------------------------------------------------------------------


def test_the_package_runs_as_a_module(here: Shell) -> None:
    assert "inference" in here("python -m cosmos_jobs --help")


def test_the_command_line_has_no_unused_import() -> None:
    folder = ROOT / "cosmos_jobs" / "cli"

    done = subprocess.run(
        [BIN / "ruff", "check", "--no-cache", folder], cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout
    assert len(list(folder.glob("*.py"))) > 5


def test_the_command_line_gets_at_the_store_through_workflow_operations_alone() -> None:
    around = re.compile(r"cosmos_jobs(?:\.| import )(?:store|apply)")

    found = [
        path.name
        for path in (ROOT / "cosmos_jobs" / "cli").glob("*.py")
        if around.search(path.read_text())
    ]

    assert found == []


# --- step 8: whole workflows --------------------------------------------------------------


def test_the_full_workflow_of_one_prompt(cosmos: Shell) -> None:
    said = cosmos('cosmos create prompt "A beautiful sunset" inputs/videos/test1')
    (prompt,) = set(re.findall(ID, said))

    cosmos(f"cosmos inference {prompt} --weights 0.3 0.3 0.2 0.2")

    assert cosmos.made() == [prompt]
    assert cosmos.weights() == [[0.3, 0.3, 0.2, 0.2]]


def test_several_runs_of_one_prompt(cosmos: Shell) -> None:
    prompt = cosmos.prompt("A beautiful sunset", "inputs/videos/test1")

    cosmos(
        f"cosmos inference {prompt} --weights 0.5 0.2 0.2 0.1\n"
        f"cosmos inference {prompt} --weights 0.1 0.6 0.2 0.1 --steps 50"
    )

    assert cosmos.made() == [prompt, prompt]
    assert cosmos.weights() == [[0.1, 0.6, 0.2, 0.1], [0.5, 0.2, 0.2, 0.1]]
    assert {run["params"]["num_steps"] for run in cosmos.records("runs")} == {35, 50}


def test_a_batch_of_prompts_is_made_by_one_process_of_the_engine(cosmos: Shell) -> None:
    said = cosmos(
        'cosmos create prompt "Sunset" inputs/videos/test1  # ps_aaa\n'
        'cosmos create prompt "Sunrise" inputs/videos/test2  # ps_bbb\n'
        'cosmos create prompt "Night" inputs/videos/test3    # ps_ccc'
    )
    prompts = re.findall(rf"^ID: ({ID})$", said, re.MULTILINE)

    cosmos(f"cosmos inference {' '.join(prompts)} --weights 0.25 0.25 0.25 0.25")

    assert len(prompts) == 3
    assert cosmos.made() == sorted(prompts)
    assert cosmos.weights() == [[0.25] * 4] * 3
    attempts = [each for run in cosmos.records("runs") for each in run["attempts"]]
    assert len(attempts) == 3
    assert len({each["batch"] for each in attempts}) == 1


def test_an_enhanced_prompt_works(cosmos: Shell) -> None:
    prompt = cosmos.prompt("A beautiful sunset", "inputs/videos/test1")
    said = cosmos(f"cosmos enhance {prompt}")
    (enhanced,) = set(re.findall(ID, said)) - {prompt}

    cosmos(f"cosmos inference {enhanced}")

    assert cosmos.made() == [enhanced]


def test_an_unknown_prompt_is_a_clear_error_and_starts_nothing(cosmos: Shell) -> None:
    prompt = cosmos.prompt()

    alone = cosmos("cosmos inference ps_nonexistent  # Should show clear error", exit_code=2)
    among = cosmos(f"cosmos inference {prompt} ps_nonexistent ps_nowhere", exit_code=2)

    assert "ps_nonexistent" in alone
    assert "list prompts" in alone
    assert {"ps_nonexistent", "ps_nowhere"} <= set(re.findall(r"ps_n\w+", among))
    assert cosmos.records("runs") == []


def test_inference_of_nothing_shows_the_help(cosmos: Shell) -> None:
    said = cosmos("cosmos inference  # Should show help")

    assert said.startswith("Usage: cosmos inference")
    assert "--prompts-file" in said


# --- the guide for users ------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_the_old_script_stops_at_create_run(cosmos: Shell, shell: str) -> None:
    said = cosmos(
        'PROMPT_ID=$(cosmos create prompt "My prompt" videos/dir | grep "ID:" | cut -d\' \' -f2)\n'
        "RUN_ID=$(cosmos create run $PROMPT_ID | grep \"ID:\" | cut -d' ' -f2)\n"
        "cosmos inference $RUN_ID",
        shell=shell,
    )

    assert "no such command" in said.lower()
    assert cosmos.records("runs") == []


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_the_new_script_works_to_the_letter(cosmos: Shell, shell: str) -> None:
    cosmos(
        'PROMPT_ID=$(cosmos create prompt "My prompt" videos/dir | grep "ID:" | cut -d\' \' -f2)\n'
        "cosmos inference $PROMPT_ID",
        shell=shell,
    )

    (prompt,) = cosmos.records("prompts")
    assert prompt["text"] == "My prompt"
    assert cosmos.made() == [prompt["id"]]


@pytest.mark.parametrize("how", ["listed", "from a file"])
def test_five_prompts_at_once(cosmos: Shell, how: str) -> None:
    prompts = [cosmos.prompt(f"Prompt {number}") for number in range(1, 6)]
    (cosmos.root / "my_prompts.txt").write_text("\n".join(prompts))

    if how == "listed":
        cosmos(f"cosmos inference {' '.join(prompts)}")
    else:
        cosmos("cosmos inference --prompts-file my_prompts.txt")

    assert cosmos.made() == sorted(prompts)


# --- the README ---------------------------------------------------------------------------


@pytest.fixture
def samples(here: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Return a project with the sample videos, and be in its folder."""
    shutil.rmtree(here.root / "inputs")
    shutil.copytree(ROOT / "inputs", here.root / "inputs")
    monkeypatch.chdir(here.root)
    return here


def readme(section: str, language: str) -> str:
    """Return the block of a section of the README."""
    _, _, text = (ROOT / "README.md").read_text().partition(f"\n## {section}\n")
    (block,) = re.findall(rf"```{language}\n(.*?)```", text.partition("\n## ")[0], re.DOTALL)
    return str(block)


def test_the_example_of_the_readme_without_a_job_file_runs(samples: Shell) -> None:
    example = readme("Without a job file", "console")
    _, *steps = re.split(r"^\$ ", example, flags=re.MULTILINE)

    for step in steps:
        command, _, shown = step.partition("\n")
        said = samples(command).splitlines()
        assert [line for line in shown.splitlines() if line not in said] == []

    assert len(steps) == 2
    assert len(samples.made()) == 1


def test_the_example_of_the_readme_runs(samples: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(readme("From Python", "python"), "README.md", "exec"), {})

    first, second, *listed = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"succeeded /\S+/outputs/inference/\S+\.mp4", first)
    assert second == "{'succeeded': 2}"
    assert len(listed) == 2
    assert len(samples.made()) == 3
