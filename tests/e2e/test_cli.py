"""The command line as users meet it: help, new projects, terminals, pipes, errors."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import click
import jsonschema
import orjson
import pytest

from cosmos_jobs.cli import COMMANDS, program
from tests.support.project import RUNS, Project, damage

ANSI = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


def terminal(project: Project, *arguments: str, **env: str) -> tuple[int, bytes]:
    """Run the program on a terminal of 80 columns; return its exit code and all it wrote."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cosmos_jobs", *arguments],
        cwd=project.root,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **env},
        stdin=child,
        stdout=child,
        stderr=child,
    )
    os.close(child)
    written = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:  # the other end of the terminal is closed
            break
        if not part:
            break
        written += part
    os.close(parent)
    return process.wait(60), written


def commands() -> list[tuple[list[str], click.Command]]:
    found: list[tuple[list[str], click.Command]] = []
    context = click.Context(program)
    for name in program.list_commands(context):
        command = program.get_command(context, name)
        assert command is not None
        found.append(([name], command))
        if isinstance(command, click.Group):
            found += [([name, sub], each) for sub, each in command.commands.items()]
    return found


def test_the_overview_says_of_each_command_what_its_own_help_says() -> None:
    shown = {name: text for section in COMMANDS.values() for name, (_, text) in section.items()}
    own = {
        words[0]: (command.help or "").split("\n\n")[0].replace("\n", " ")
        for words, command in commands()
        if len(words) == 1
    }

    assert shown == own


@pytest.mark.parametrize("words", [words for words, _ in commands()], ids=" ".join)
def test_every_command_has_a_help_with_an_example(project: Project, words: list[str]) -> None:
    shown = project.run(*words, "--help").stdout

    assert words == ["list"] or f"cosmos-jobs {' '.join(words)}" in shown.split("\n", 1)[1]
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_a_new_project_works_at_once(tmp_path: Path) -> None:
    new = Project(tmp_path)

    made = new.run("init", "films")
    films = Project(tmp_path / "films")
    validated = films.run("validate")

    assert "Next step: cd films && cosmos-jobs apply jobs/sunsets.yaml" in made.stdout
    assert validated.stdout == "jobs/sunsets.yaml: ok, 8 runs\n"
    assert films.summary("jobs/sunsets.yaml") == {"create": 8}


def test_init_leaves_what_is_there(project: Project) -> None:
    (project.root / "cosmos-jobs.yaml").write_text("version: 1 # mine\n")

    made = project.run("init")

    assert "kept cosmos-jobs.yaml" in made.stdout
    assert (project.root / "cosmos-jobs.yaml").read_text() == "version: 1 # mine\n"


def test_all_problems_of_all_files_are_told_at_once_and_nothing_is_written(
    project: Project,
) -> None:
    project.edit("prompts:", "promts:")
    project.job.with_name("other.yaml").write_text("version: 1\nname: other\n")

    refused = project.run("apply", exit_code=3)

    assert "did you mean `prompts`" in refused.stderr
    assert "jobs/other.yaml" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (project.root / ".cosmos-jobs" / "state.json").exists()
    assert not (project.root / "outputs").exists()


def test_validate_annotates_for_github(project: Project) -> None:
    project.edit("prompts:", "promts:")

    said = project.run("validate", "--format", "github", exit_code=3).stdout

    assert said == (
        "::error file=jobs/small.yaml,line=6,col=1,endColumn=7,title=unknown-key::"
        "unknown key `promts`%0Ahelp: did you mean `prompts`?\n"
    )


def test_validate_prints_json_for_tools(project: Project) -> None:
    project.edit("prompts:", "promts:")

    problems = orjson.loads(project.run("validate", "--format", "json", exit_code=3).stdout)

    assert {each["line"] for each in problems} >= {6}


def test_a_folder_without_color_mp4_is_told_by_name(project: Project) -> None:
    (project.root / "clips" / "a" / "color.mp4").rename(project.root / "clips" / "a" / "c.mp4")

    refused = project.run("plan", exit_code=3)

    assert "clips/a" in refused.stderr
    assert "color.mp4" in refused.stderr
    assert "jobs/small.yaml:4" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["aply"], "Did you mean `apply`?"),
        (["plan", "jobs/smal.yaml"], "did you mean jobs/small.yaml?"),
        (["plan", "--only", "goldn"], "did you mean `golden`?"),
        (["plan", "--target", "h100"], "the targets are local"),
        (["plan", "--max-runz"], "No such option"),
        (["show", "rs_12"], "there is no run `rs_12`"),
        (["show", "42"], "ids begin with"),
        (["schema", "engine", "transfer3"], "transfer2.5"),
        (["prune", "--job", "nothing"], "no job `nothing`"),
        (["plan", "-C", "/nowhere"], "no folder /nowhere"),
        (["logs", "small"], "see them: cosmos-jobs list runs\n"),
        (["prune", "--remote", "gpux"], "one target only: --target gpux"),
        (["prune", "--remote"], "add --yes, or look first: --dry-run"),
    ],
)
def test_a_wrong_word_is_answered_with_what_to_type(
    project: Project, arguments: list[str], said: str
) -> None:
    refused = project.run(*arguments, exit_code=2)

    assert said in refused.stderr
    assert refused.stdout == ""


@pytest.mark.parametrize("command", ["watch", "fetch", "cancel", "retry"])
def test_a_wrong_job_is_answered_with_the_nearest(project: Project, command: str) -> None:
    project.run("apply", "--only", "golden")

    job = project.run(command, "smal", exit_code=2).stderr
    file = project.run(command, "jobs/smal.yaml", exit_code=2).stderr

    assert "did you mean `small`?" in job
    assert "did you mean `jobs/small.yaml`?" in file


def test_a_job_has_no_log_and_its_runs_have(project: Project) -> None:
    project.run("apply", "--only", "golden")

    refused = project.run("logs", "small", exit_code=2)

    assert "`small` is no run id" in refused.stderr
    assert "see them: cosmos-jobs list runs --job small" in refused.stderr


def test_fetch_says_that_there_is_nothing_to_fetch(project: Project) -> None:
    assert project.run("fetch").stdout == "Nothing to fetch.\n"

    project.run("apply", "--only", "golden")

    assert project.run("fetch").stdout == "Nothing to fetch.\n"


def test_prune_without_a_terminal_lists_nothing_before_it_refuses(project: Project) -> None:
    project.run("apply", "--only", "golden")
    project.edit("golden hour", "noon")

    refused = project.run("prune", exit_code=2)

    assert refused.stdout == ""
    assert "add --yes, or look first: --dry-run" in refused.stderr


def test_a_wrong_project_file_is_a_wrong_file(project: Project) -> None:
    (project.root / "cosmos-jobs.yaml").write_text("version: 1\ntarget: [a]\nengin: preview\n")

    refused = project.run("plan", exit_code=3)

    assert "did you mean `engine`" in refused.stderr


def test_a_bug_shows_its_traceback_and_exits_with_70() -> None:
    code = (
        "import cosmos_jobs.cli as cli\n"
        "cli.program.get_command = lambda context, name: 1 / 0\n"
        "cli.main()"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, "plan"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 70
    assert "ZeroDivisionError" in done.stderr
    assert "This is a bug in cosmos-jobs" in done.stderr


def test_a_reader_that_goes_away_is_no_error(project: Project) -> None:
    process = project.start("schema", "job")
    assert process.stdout is not None
    process.stdout.close()

    _, err = process.communicate(timeout=60)

    assert "Traceback" not in err
    assert process.returncode == 0


def test_apply_goes_on_when_its_reader_goes_away(project: Project) -> None:
    process = project.start("apply")
    assert process.stdout is not None
    process.stdout.close()

    process.communicate(timeout=60)

    assert project.summary() == {"keep": RUNS}


def test_a_terminal_gets_a_bar_and_colours(project: Project) -> None:
    code, written = terminal(project, "apply")

    assert code == 0
    assert f" of {RUNS} runs".encode() in written
    assert b"\x1b[32m" in written


def test_ids_are_whole_on_a_narrow_terminal(project: Project) -> None:
    project.run("apply", "--only", "golden")

    _, written = terminal(project, "list", "runs", COLUMNS="50")

    shown = ANSI.sub(b"", written).decode()
    assert all(f"{run['id']}  succeeded  small/golden/" in shown for run in project.runs())


def test_no_color_is_respected(project: Project) -> None:
    _, written = terminal(project, "plan", NO_COLOR="1")

    assert not ANSI.search(written)
    assert f"+ {RUNS} new".encode() in written


def test_a_pipe_gets_no_escape_codes(project: Project) -> None:
    applied = project.run("apply", "-v")

    assert "\x1b" not in applied.stdout + applied.stderr
    assert applied.stderr.count("succeeded  rs_") == RUNS


def test_quiet_says_nothing_but_errors(project: Project) -> None:
    done = project.run("apply", "-q")

    assert (done.stdout, done.stderr) == ("", "")


def test_json_is_parseable_whatever_is_warned(project: Project) -> None:
    project.job.write_text(project.job.read_text() + "exclude: [{prompt: golden, weather: rain}]\n")

    plan = project.run("plan", "--format", "json")

    assert "warning" in plan.stderr
    assert orjson.loads(plan.stdout)["summary"]["create"] == RUNS


def test_list_show_and_status_agree(project: Project) -> None:
    project.run("apply", "--only", "golden")

    runs = project.runs()
    shown = project.run("show", str(runs[0]["id"])[:8])
    prompts = orjson.loads(project.run("list", "prompts", "--format", "json").stdout)
    status = orjson.loads(project.run("status", "--format", "json").stdout)

    assert str(runs[0]["id"]) in shown.stdout
    assert {each["prompt_id"] for each in runs} == {each["id"] for each in prompts}
    assert status["jobs"]["small"]["succeeded"] == 4
    assert status["in_flight"] == []
    prompt = project.run("show", prompts[0]["id"]).stdout
    assert "A pier at golden hour" in prompt


def test_long_ids_are_never_cut_in_a_pipe(project: Project) -> None:
    project.run("apply", "--only", "storm")

    listed = project.run("list", "runs").stdout.splitlines()

    assert all(re.match(r"rs_[0-9a-f]{16}  succeeded  small/storm/", line) for line in listed[1:])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_completion_script(project: Project, shell: str) -> None:
    script = project.run("completion", shell).stdout

    assert "_COSMOS_JOBS_COMPLETE" in script


def completed(project: Project, *words: str) -> list[str]:
    """Return what bash would offer after the words."""
    env = {
        "_COSMOS_JOBS_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("cosmos-jobs", *words)),
        "COMP_CWORD": str(len(words)),
    }
    out, err = project.start(env=env).communicate(timeout=60)
    assert not err
    return [line.split(",", 1)[1] for line in out.splitlines()]


def test_job_files_and_ids_are_completed(project: Project) -> None:
    project.run("apply", "--only", "golden")
    run = str(project.runs()[0]["id"])

    assert completed(project, "pl") == ["plan"]
    assert completed(project, "plan", "jobs/") == ["jobs/small.yaml"]
    assert completed(project, "show", run[:9]) == [run]


@pytest.mark.parametrize("kind", [["job"], ["project"], ["engine", "preview"]], ids="-".join)
def test_the_printed_schemas_are_json_schemas(project: Project, kind: list[str]) -> None:
    document = orjson.loads(project.run("schema", *kind).stdout)

    jsonschema.Draft7Validator.check_schema(document)
    assert document["$schema"] == "http://json-schema.org/draft-07/schema#"


def test_the_version_is_told(project: Project) -> None:
    assert re.fullmatch(r"cosmos-jobs \d+\.\d+\.\d+\n", project.run("--version").stdout)


def test_prune_cache_empties_the_cache_and_the_videos_stay(project: Project) -> None:
    project.run("apply", "--only", "golden")

    freed = project.run("prune", "--cache")

    assert "Freed " in freed.stdout
    assert not (project.root / ".cosmos-jobs" / "cache").exists()
    assert project.summary() == {"create": 4, "keep": 4}


def test_job_names_are_unique_across_files(project: Project) -> None:
    (project.job.parent / "twin.yaml").write_text(project.job.read_text())

    refused = project.run("plan", "jobs", exit_code=3)

    assert "the job name `small` is taken by jobs/small.yaml" in refused.stderr
    assert "jobs/twin.yaml:2" in refused.stderr


def test_a_sub_folder_of_the_project_is_the_same_project(project: Project) -> None:
    deep = Project(project.root / "jobs")

    planned = deep.run("plan", "small.yaml")

    assert f"{RUNS} to run" in planned.stdout
    assert not (deep.root / ".cosmos-jobs").exists()
    assert (project.root / ".cosmos-jobs" / "cache").is_dir()


def test_the_project_of_a_job_file_elsewhere_is_found(project: Project) -> None:
    above = Project(project.root.parent)

    planned = above.run("plan", f"{project.root.name}/jobs/small.yaml")
    chosen = above.run("plan", "-C", str(project.root), "jobs/small.yaml")

    assert f"{RUNS} to run" in planned.stdout
    assert f"{RUNS} to run" in chosen.stdout
    assert not (above.root / ".cosmos-jobs").exists()


def test_the_name_of_a_job_belongs_to_its_file(project: Project) -> None:
    project.run("apply", "--only", "golden")
    copy = project.root / "copy.yaml"
    copy.write_text(project.job.read_text().replace("golden hour", "noon"))

    refused = project.run("prune", "copy.yaml", "--yes", exit_code=3)
    kept = project.run("prune", "--job", "small", "--yes", exit_code=2)
    project.job.unlink()
    moved = project.run("plan", "copy.yaml")

    assert "the job name `small` belongs to jobs/small.yaml" in refused.stderr
    assert "its file" not in kept.stdout
    assert len(list((project.root / "outputs" / "runs").iterdir())) == 4
    assert "prompt text changed" in moved.stdout


def test_a_job_whose_file_is_gone_can_be_pruned(project: Project) -> None:
    project.run("apply", "--only", "golden")
    (project.root / "jobs" / "other.yaml").write_text(
        project.job.read_text().replace("name: small", "name: other")
    )
    project.job.unlink()

    told = project.run("prune", "--dry-run")
    done = project.run("prune", "--job", "small", "--yes")

    assert "cosmos-jobs prune --job small" in told.stdout
    assert "Removed 4 runs" in done.stdout


def test_an_unknown_default_target_is_a_wrong_file(project: Project) -> None:
    (project.root / "cosmos-jobs.yaml").write_text("version: 1\ntarget: h100\n")

    refused = project.run("plan", exit_code=3)

    assert "cosmos-jobs.yaml:2:9" in refused.stderr
    assert "the targets are `local`" in refused.stderr


def test_quiet_still_tells_what_failed(project: Project) -> None:
    damage(project.root / "clips" / "b" / "color.mp4")

    done = project.run("apply", "-q", exit_code=1)

    assert done.stdout == ""
    assert "golden/b-edges" in done.stderr


def test_a_plan_says_that_apply_will_refuse_an_engine(project: Project) -> None:
    project.edit("version: 1", "version: 1\nengine: transfer2.5")

    planned = project.run("plan")

    assert "apply will refuse: the target `local` has no engine `transfer2.5`" in planned.stdout


def test_a_folder_in_the_way_is_told_without_a_traceback(project: Project) -> None:
    (project.root / "outputs").write_text("in the way")

    refused = project.run("apply", exit_code=5)

    assert "Not a directory" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_problems_of_text_and_of_files_come_together_in_order(project: Project) -> None:
    project.edit("b: clips/b", "b: clips/c")
    project.edit("0.25]", "1.25]")

    refused = project.run("plan", exit_code=3)

    assert refused.stderr.index("missing-folder") < refused.stderr.index("out-of-range")


def test_a_saved_plan_holds_wherever_it_was_made_and_is_applied(project: Project) -> None:
    above, deep = Project(project.root.parent), Project(project.root / "clips")
    chosen = ("-C", str(project.root), "jobs/small.yaml", "--only", "golden")
    above.run("plan", *chosen, "--out", str(project.root / "night"))

    deep.run("apply", "../night")

    assert project.summary() == {"create": 4, "keep": 4}


def test_one_run_can_be_selected_by_the_beginning_of_its_id(project: Project) -> None:
    changes = orjson.loads(project.run("plan", "--format", "json").stdout)["changes"]
    run = changes[3]["run_id"]

    planned = project.run("plan", "--only", run[:12])
    many = project.run("plan", "--only", "rs_", exit_code=2)

    assert f"+ 1 new\n      {changes[3]['place']}" in planned.stdout
    assert "could be 8 runs" in many.stderr


def test_several_files_and_folders_are_taken_together(project: Project) -> None:
    more = project.root / "more"
    more.mkdir()
    (more / "two.yml").write_text(
        project.job.read_text().replace("name: small", "name: two").replace("golden hour", "noon")
    )

    planned = project.run("plan", "jobs/small.yaml", "more")

    assert f"{RUNS + 4} to run" in planned.stdout
    assert "the same run as in small" in planned.stdout
