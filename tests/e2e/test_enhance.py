"""Prompts in more detail: by the command, and in job files, with every enhancer."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cosmos_jobs.config import project as projects
from cosmos_jobs.core.job import Selection
from cosmos_jobs.core.record import PromptRecord
from cosmos_jobs.errors import AnswerIsNo
from cosmos_jobs.operations import WorkflowOperations
from tests.support.chat_server import Completions, Reply, serving
from tests.support.fixtures_ssh import Servers
from tests.support.project import Project
from tests.support.remote_project import Remote
from tests.support.ssh_server import Home
from tests.support.stand_in_models import Models

KEY = "sk-test-0123456789abcdef"
ENHANCED = "A pier at golden hour. "


def created(project: Project, text: str = "A pier at golden hour", name: str = "pier") -> str:
    """Return the id of a new prompt."""
    said = project.run("create", "prompt", text, "clips/a", "--name", name).stdout
    return ids(said)[0]


def ids(said: str) -> list[str]:
    """Return the ids of prompts that a command printed, as scripts get at them."""
    return re.findall(r"^ID: (ps_[0-9a-f]{16})$", said, re.MULTILINE)


def prompts(project: Project) -> dict[str, dict[str, Any]]:
    """Return the prompts of the store by id."""
    found = json.loads(project.run("list", "prompts", "--format", "json").stdout)
    return {each["id"]: each for each in found}


def configure(project: Project, **settings: Any) -> None:
    text = yaml.safe_dump({"version": 1, **settings})
    (project.root / "cosmos-jobs.yaml").write_text(text)


def use(project: Project, server: Completions, **settings: Any) -> None:
    """Make the server the project's enhancer `llm`."""
    settings = {"kind": "openai", "base_url": server.url, "model": "m", "retries": 0, **settings}
    configure(project, enhancer="llm", enhancers={"llm": settings})


def enhancing(project: Project, golden: object = True) -> None:
    """Have the job's prompt `golden` enhanced."""
    job = yaml.safe_load(project.job.read_text())
    job["prompts"]["golden"] = {"text": "A pier at golden hour", "enhance": golden}
    project.job.write_text(yaml.safe_dump(job))


# --- the command ----------------------------------------------------------------------------


def test_a_new_prompt_of_the_same_videos_is_linked_to_its_parent(project: Project) -> None:
    before = created(project)

    said = project.run("enhance", before).stdout

    (after,) = ids(said)
    old, new = prompts(project)[before], prompts(project)[after]
    assert f"Next step: cosmos-jobs inference {after}" in said
    assert new["text"].startswith(ENHANCED)
    assert new["name"] == "pier_enhanced"
    assert (new["parent"], new["enhancer"]) == (before, "template")
    assert (new["files"], new["video"]) == (old["files"], old["video"])


def test_the_same_again_is_the_same_prompt(project: Project) -> None:
    before = created(project)
    first = ids(project.run("enhance", before[:9]).stdout)

    again = ids(project.run("enhance", before).stdout)

    assert again == first
    assert len(prompts(project)) == 2


def test_names_of_several_are_told_apart(project: Project) -> None:
    first, second = created(project), created(project, "A street", "street")
    created(project, "A road", "street_enhanced")

    said = project.run("enhance", first, second, first).stdout

    names = [prompts(project)[each]["name"] for each in ids(said)]
    assert names == ["pier_enhanced", "street_enhanced2"]


def test_overwriting_replaces_a_prompt_without_runs(project: Project) -> None:
    before = created(project)

    (after,) = ids(project.run("enhance", before, "--overwrite").stdout)

    (only,) = prompts(project).values()
    assert only["id"] == after
    assert (only["name"], only["enhancer"]) == ("pier", "template")
    assert only["text"].startswith(ENHANCED)
    assert not only.get("parent")


def test_overwriting_with_the_text_of_another_prompt_leaves_that_one_as_it_is(
    project: Project,
) -> None:
    before = created(project)
    made = ids(project.run("enhance", before).stdout)

    again = ids(project.run("enhance", before, "--overwrite").stdout)

    (only,) = prompts(project).values()
    assert again == made == [only["id"]]
    assert only["name"] == "pier_enhanced"
    assert not only.get("parent"), "it is gone"


def test_a_prompt_that_has_runs_is_not_overwritten(project: Project) -> None:
    project.run("apply", "jobs/small.yaml", "--only", "golden")
    (golden,) = [each for each in prompts(project) if prompts(project)[each]["video"] == "a"]
    before = prompts(project)

    refused = project.run("enhance", golden, "--overwrite", exit_code=1)

    assert "videos were asked of it" in refused.stderr
    assert "leave out --overwrite" in refused.stderr
    assert prompts(project) == before


def test_a_dry_run_shows_both_texts_in_80_columns_and_writes_nothing(project: Project) -> None:
    before = created(project)
    state = (project.root / ".cosmos-jobs" / "state.json").read_bytes()

    said = project.run("enhance", before, "--dry-run").stdout

    lines = said.splitlines()
    old = " ".join(line.partition("│")[0].strip() for line in lines[2:]).strip()
    new = " ".join(line.partition("│")[2].strip() for line in lines[2:])
    assert old == "A pier at golden hour"
    assert new.startswith(ENHANCED)
    assert max(map(len, lines)) <= 80
    assert (project.root / ".cosmos-jobs" / "state.json").read_bytes() == state


def test_what_the_rules_leave_is_said_to_be_left(project: Project) -> None:
    before = created(project, "Ein Pier in der Nacht mit einem Boot", "nacht")

    done = project.run("enhance", before)

    assert ids(done.stdout) == [before]
    assert "left as it is: it does not look like English" in done.stderr


def test_a_prompt_that_is_not_there_stops_everything(project: Project) -> None:
    before = created(project)

    refused = project.run("enhance", before, "ps_nope", "ps_nada", exit_code=2)

    assert "there is no prompt `ps_nope`, `ps_nada`; nothing was done" in refused.stderr
    assert list(prompts(project)) == [before]


def test_what_upscale_asks_is_not_for_enhance(project: Project) -> None:
    project.run("apply", "jobs/small.yaml", "--only", "golden")
    (run, *_) = (str(each["id"]) for each in project.runs())
    project.run("upscale", run, "--yes")
    before = prompts(project)
    (big,) = (key for key, each in before.items() if "run" in each["inputs"])

    refused = project.run("enhance", big, exit_code=2)

    assert f"not for enhance, but for upscale: `{big}`" in refused.stderr
    assert prompts(project) == before


def test_the_next_step_of_many_prompts_is_a_file_of_their_ids(project: Project) -> None:
    made = [created(project, f"A pier, number {each}", f"pier{each}") for each in range(11)]

    said = project.run("enhance", *made).stdout
    few = project.run("enhance", *made[:10]).stdout

    (project.root / "OUTPUT").write_text(said)
    command = said.splitlines()[-1].partition("OUTPUT: ")[2]
    subprocess.run(command, shell=True, cwd=project.root, check=True)
    assert "Next step: cosmos-jobs inference --prompts-file FILE\n" in said
    assert (project.root / "FILE").read_text().split() == ids(said)
    assert len(ids(said)) == 11
    assert few.endswith(f"Next step: cosmos-jobs inference {' '.join(ids(few))}\n")


def test_without_a_prompt_it_shows_its_help(project: Project) -> None:
    assert "adds phrases by rules and needs no model" in project.run("enhance").stdout


# --- a model ----------------------------------------------------------------------------------


def test_a_model_is_asked_once_and_its_key_is_kept_nowhere(project: Project) -> None:
    before = created(project)
    with serving(Reply("In detail: {prompt}")) as server:
        use(project, server, api_key="${LLM_KEY}", images=True)
        for _ in range(2):
            process = project.start("enhance", before, env={"LLM_KEY": KEY})
            out, err = process.communicate(timeout=60)

    (after,) = ids(out)
    files = [each for each in project.root.rglob("*") if each.is_file()]
    assert prompts(project)[after]["text"] == "In detail: A pier at golden hour"
    assert prompts(project)[after]["enhancer"] == "llm:m"
    assert server.keys == [f"Bearer {KEY}"]
    assert len(server.asked[0]["messages"][1]["content"]) > 1
    assert KEY not in out + err
    assert not [each for each in files if KEY.encode() in each.read_bytes()]


def test_a_dry_run_calls_no_model_unless_told(project: Project) -> None:
    before = created(project)
    with serving(Reply("In detail")) as server:
        use(project, server)
        quiet = project.run("enhance", before, "--dry-run").stdout
        asked = len(server.asked)
        called = project.run("enhance", before, "--dry-run", "--call").stdout

    assert "--call" in quiet
    assert asked == 0
    assert "In detail" in called
    assert list(prompts(project)) == [before]


def test_a_kept_text_is_asked_for_again_when_forced(project: Project) -> None:
    before = created(project)
    with serving(Reply("First"), Reply("Second")) as server:
        use(project, server)
        (first,) = ids(project.run("enhance", before).stdout)
        (same,) = ids(project.run("enhance", before).stdout)
        (second,) = ids(project.run("enhance", before, "--force").stdout)

    found = prompts(project)
    assert first == same
    assert (found[second]["text"], found[second]["name"]) == ("Second", "pier_enhanced2")


def test_what_one_prompt_is_refused_the_others_get(project: Project) -> None:
    first, second = created(project), created(project, "A street", "street")
    with serving(Reply(None, refusal="too golden"), Reply("In detail")) as server:
        use(project, server, parallel=1)
        done = project.run("enhance", first, second, exit_code=1)

    (made,) = ids(done.stdout)
    assert prompts(project)[made]["parent"] == second
    assert "not enhanced  pier" in done.stderr
    assert "too golden" in done.stderr


def test_a_model_is_named_on_the_command_line(project: Project) -> None:
    before = created(project)
    with serving(Reply("In detail")) as server:
        use(project, server)
        project.run("enhance", before, "--model", "llm:other:3b")

    assert server.asked[0]["model"] == "other:3b"


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("opnai", "there is template, openai, pixtral"),
        ("openai", "--model openai:MODEL"),
        ("openai:m", "OPENAI_API_KEY"),
        ("pixtral", "enhancers: {pixtral: {target: NAME}}"),
    ],
)
def test_an_enhancer_that_cannot_be_had_says_what_is_missing(
    project: Project, model: str, hint: str
) -> None:
    before = created(project)

    process = project.start("enhance", before, "--model", model, env={"OPENAI_API_KEY": ""})
    _, err = process.communicate(timeout=60)

    assert process.returncode == 6
    assert hint in err
    assert "Traceback" not in err


def test_on_a_terminal_a_model_is_asked_only_after_a_yes(project: Project) -> None:
    before = created(project)
    ours, theirs = pty.openpty()
    with serving(Reply("In detail")) as server:
        use(project, server)
        command = [sys.executable, "-m", "cosmos_jobs", "enhance", before]
        os.write(ours, b"n\n")
        done = subprocess.run(
            command, cwd=project.root, stdin=theirs, capture_output=True, text=True, timeout=60
        )

    os.close(ours)
    os.close(theirs)
    assert "Ask llm about 1 prompt?" in done.stdout + done.stderr
    assert server.asked == []


def test_an_enhancer_of_another_package_is_found(project: Project, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "shout-1.dist-info").mkdir(parents=True)
    (site / "shout.py").write_text(
        "from cosmos_jobs.enhancers.base import Answer\n"
        "class Shout:\n"
        "    name, settings, is_free = 'shout', {'version': 1}, True\n"
        "    def __init__(self, settings, messenger): self.mark = settings.options['mark']\n"
        "    def enhance(self, requests):\n"
        "        for each in requests: yield each.id, Answer(each.text.upper() + self.mark)\n"
    )
    (site / "shout-1.dist-info" / "METADATA").write_text("Name: shout\nVersion: 1\n")
    (site / "shout-1.dist-info" / "entry_points.txt").write_text(
        "[cosmos_jobs.enhancers]\nshout = shout:Shout\n"
    )
    configure(project, enhancers={"shout": {"options": {"mark": "!"}}})
    before = created(project)

    process = project.start("enhance", before, "--model", "shout", env={"PYTHONPATH": str(site)})
    out, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert prompts(project)[ids(out)[0]]["text"] == "A PIER AT GOLDEN HOUR!"


# --- job files ----------------------------------------------------------------------------------


def test_one_apply_enhances_and_makes_and_the_next_has_nothing_to_do(project: Project) -> None:
    enhancing(project)
    with serving(Reply("In detail: {prompt}")) as server:
        use(project, server)
        planned = project.run("plan", "jobs/small.yaml").stdout
        project.run("validate")
        before = len(server.asked)
        project.run("plan", "jobs/small.yaml", "--exit-code", exit_code=1)
        applied = project.run("apply", "jobs/small.yaml").stdout
        after = len(server.asked)

    assert "? 4 known after enhance" in planned
    assert "4 to run, 4 known after enhance" in planned
    assert before == 0
    assert after == 2, "one for each video"
    assert "Applied: 8 succeeded." in applied
    assert project.summary() == {"keep": 8}, "with no server there"
    texts = {each["text"] for each in prompts(project).values() if each["name"] == "golden"}
    assert texts == {"In detail: A pier at golden hour"}
    assert {each["enhancer"] for each in prompts(project).values()} == {"llm:m", None}
    assert (project.root / "outputs" / "small" / "golden" / "a-balanced.mp4").exists()


def test_what_the_enhancer_refuses_fails_its_runs_only(project: Project) -> None:
    enhancing(project)
    with serving(Reply(None, refusal="too golden"), Reply("In detail")) as server:
        use(project, server, parallel=1)
        done = project.run("apply", "jobs/small.yaml", exit_code=1)
        again = project.run("apply", "jobs/small.yaml")

    assert "Applied: 6 succeeded." in done.stdout
    assert "not enhanced  small/golden/a-balanced and 1 more" in done.stdout
    assert "llm:m: the model refused: too golden" in done.stdout
    assert "2 succeeded, 6 up to date" in again.stdout
    assert len(server.asked) == 3


def test_a_server_that_is_away_starts_nothing_and_says_so(project: Project) -> None:
    enhancing(project)
    with serving(Reply("")) as server:
        use(project, server)

    failed = project.run("apply", "jobs/small.yaml", exit_code=6)

    assert "the server does not answer" in failed.stderr
    assert project.made() == []


def test_a_saved_plan_with_unknown_runs_is_applied(project: Project) -> None:
    enhancing(project, {"model": "template"})
    project.run("plan", "jobs/small.yaml", "--out", "night.plan")

    applied = project.run("apply", "night.plan").stdout

    assert "Applied: 8 succeeded." in applied


def test_only_what_is_selected_is_enhanced(project: Project) -> None:
    enhancing(project)
    with serving(Reply("In detail")) as server:
        use(project, server)
        project.run("apply", "jobs/small.yaml", "--only", "storm")

    assert server.asked == []


def test_the_limit_of_runs_holds_before_a_model_is_asked(project: Project) -> None:
    enhancing(project)
    with serving(Reply("In detail")) as server:
        use(project, server)
        refused = project.run("apply", "jobs/small.yaml", "--max-runs", "5", exit_code=1)

    assert "would start 8 runs" in refused.stderr
    assert server.asked == []


def test_upscaled_runs_and_previews_of_enhanced_prompts_follow(project: Project) -> None:
    enhancing(project)
    project.job.write_text(project.job.read_text() + "upscale: true\n")

    project.run("apply", "jobs/small.yaml", "--only", "golden")
    project.run("preview", "jobs/small.yaml", "--only", "golden")

    assert project.summary() == {"create": 8, "keep": 8}
    video = Path("golden", "a-balanced.mp4")
    assert (project.root / "outputs" / "small" / video).exists()
    assert not project.run("preview", "jobs/small.yaml", "--only", "golden").stderr


def test_another_enhancer_makes_other_prompts_and_says_so(project: Project) -> None:
    enhancing(project)
    project.run("apply", "jobs/small.yaml", "--only", "golden")

    with serving(Reply("In detail")) as server:
        use(project, server)
        project.run("apply", "jobs/small.yaml", "--only", "golden")

    assert project.summary("jobs/small.yaml") == {"create": 4, "keep": 4, "orphan": 4}


def test_runs_of_enhanced_prompts_are_tried_again_as_they_were(project: Project) -> None:
    enhancing(project)
    project.run("apply", "jobs/small.yaml", "--only", "golden")
    made = [str(each["id"]) for each in project.runs()]

    planned = WorkflowOperations(projects.load(project.root)).retrying(made)

    assert [each.run.id for each in planned.desired] == made


def test_python_users_enhance_in_a_running_event_loop_and_get_records(project: Project) -> None:
    before = created(project)
    ops = WorkflowOperations(projects.load(project.root))

    async def notebook() -> PromptRecord:
        return ops.enhance_prompt(before)

    made = asyncio.run(notebook())

    assert (made.name, made.parent, made.enhancer) == ("pier_enhanced", before, "template")
    assert ops.enhance_prompt(before, create_new=False, enhancement_model="template") == replace(
        made, parent=""
    )


def test_a_python_user_applies_a_plan_with_unknown_runs(project: Project) -> None:
    enhancing(project)
    ops = WorkflowOperations(projects.load(project.root))
    planned = ops.plan(Selection(("jobs/small.yaml",), only=("golden",)))

    applied = ops.apply(planned, lambda event: None)

    assert planned.desired == ()
    assert [str(each.state) for each in applied.records] == ["succeeded"] * 4


def test_a_job_file_that_changes_while_a_model_is_asked_starts_nothing(project: Project) -> None:
    enhancing(project)
    ops = WorkflowOperations(projects.load(project.root))
    planned = ops.plan(Selection(("jobs/small.yaml",)))
    project.edit("0.7", "0.8")

    with pytest.raises(AnswerIsNo, match="a job file has changed"):
        ops.apply(planned, lambda event: None)

    assert project.made() == []


def test_an_unknown_enhancer_is_a_mistake_at_its_place(project: Project) -> None:
    enhancing(project, {"model": "opnai"})

    said = project.run("validate", exit_code=3).stderr

    assert "there is no enhancer `opnai`" in said
    assert "jobs/small.yaml:" in said


# --- NVIDIA's upsampler ---------------------------------------------------------------------------


def test_pixtral_enhances_many_prompts_with_one_load_on_this_machine(
    project: Project, tmp_path: Path
) -> None:
    models = Models(tmp_path / "the models")
    configure(
        project,
        targets={"local": {"engines": {"transfer1": models.installation("transfer1")}}},
        enhancers={"pixtral": {"target": "local"}},
    )
    texts = {"one": "A pier", "two": "A street", "odd": "choke on this", "mute": "silence"}
    made = [created(project, text, name) for name, text in texts.items()]

    done = project.run("enhance", *made, "--model", "pixtral", exit_code=1)
    again = project.run("enhance", made[0], "--model", "pixtral")

    found = prompts(project)
    texts_made = [found[each]["text"] for each in ids(done.stdout)]
    assert texts_made == ["In great detail: A pier", "In great detail: A street"]
    assert "longer than the maximum model length of 4096" in done.stderr
    assert "the answer was empty" in done.stderr
    assert ids(again.stdout) == ids(done.stdout)[:1]
    assert [each.name for each in models.ledger("load")] == ["pixtral"]


def test_pixtral_goes_on_when_its_client_was_killed(project: Project, tmp_path: Path) -> None:
    models = Models(tmp_path / "the models")
    engine = models.installation("transfer1", load_seconds=4)
    configure(
        project,
        targets={"local": {"engines": {"transfer1": engine}}},
        enhancers={"pixtral": {"target": "local"}},
    )
    before = created(project)
    first = project.start("enhance", before, "--model", "pixtral")
    while not models.ledger("load"):
        time.sleep(0.05)
    first.kill()
    first.communicate()

    (after,) = ids(project.run("enhance", before, "--model", "pixtral").stdout)

    assert prompts(project)[after]["text"].startswith("In great detail")
    assert len(models.ledger("load")) == 1


def test_pixtral_that_cannot_be_loaded_says_why_and_where_its_log_is(
    project: Project, tmp_path: Path
) -> None:
    models = Models(tmp_path / "the models")
    engine = models.installation("transfer1", STAND_IN_CHECKPOINT="missing")
    configure(
        project,
        targets={"local": {"engines": {"transfer1": engine}}},
        enhancers={"pixtral": {"target": "local"}},
    )
    before = created(project)

    failed = project.run("enhance", before, "--model", "pixtral", exit_code=6)

    assert "No such file or directory" in failed.stderr
    assert "/log" in failed.stderr
    assert list(prompts(project)) == [before]


def test_pixtral_needs_a_target_that_has_transfer1(project: Project) -> None:
    configure(project, enhancers={"pixtral": {"target": "local"}})
    before = created(project)

    failed = project.run("enhance", before, "--model", "pixtral", exit_code=6)

    assert "has no engine `transfer1`" in failed.stderr


def test_pixtral_works_for_a_job_file_on_another_machine(
    tmp_path: Path, ssh_home: Home, ssh_servers: Servers
) -> None:
    models = Models(tmp_path / "the models")
    ssh_servers("gpu-1")
    remote = Remote(tmp_path / "project", ssh_home)
    engines = {"transfer1": models.installation("transfer1")}
    gpu = {"hosts": ["gpu-1"], "root": str(tmp_path / "root"), "engines": engines}
    configure(remote, targets={"gpu": gpu}, enhancers={"pixtral": {"target": "gpu"}})
    job = {
        "version": 1,
        "name": "small",
        "videos": {"a": "clips/a"},
        "prompts": {"golden": {"text": "A pier", "enhance": {"model": "pixtral"}}},
        "params": {"resolution": "256"},
    }
    remote.job.write_text(yaml.safe_dump(job))

    applied = remote.run("apply", "jobs/small.yaml").stdout

    (prompt,) = prompts(remote).values()
    assert "Applied: 1 succeeded." in applied
    assert prompt["text"] == "In great detail: A pier"
