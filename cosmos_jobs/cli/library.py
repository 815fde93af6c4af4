"""The commands on what has gathered: search, rate, verify, export, import, delete."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cosmos_jobs.cli import common
from cosmos_jobs.cli.records import confirm, may_ask, prompt_document, write_json
from cosmos_jobs.cli.views import library, tables
from cosmos_jobs.cli.views.diagnostics import visible
from cosmos_jobs.cli.views.plans import plural
from cosmos_jobs.errors import UsageError
from cosmos_jobs.report.ratings import MAX_NOTE

if TYPE_CHECKING:
    from cosmos_jobs.jobs.export import Exported
    from cosmos_jobs.operations import WorkflowOperations


@click.command("search")
@click.argument("query", nargs=-1, required=True)
@common.format_option()
@common.project_option
def search_command(query: tuple[str, ...], form: str, project: Path | None) -> None:
    """Find prompts by their words or names.

    It finds QUERY anywhere in a text or a name. Upper and lower case are the
    same; no character has a special meaning. Several words are one text. The
    exit code is 0 also when nothing is found, as with `list`.

    \b
    Examples:
      cosmos-jobs search golden hour
      cosmos-jobs search "100 %" --format json
    """
    found = common.operations(project, offline=True).search_prompts(" ".join(query))
    if form == "json":
        write_json([prompt_document(each) for each in found])
    else:
        click.echo(tables.prompts(found) if found else "No prompt matches.")


@click.command("rate")
@click.argument("run", metavar="[rs_…]", required=False, shell_complete=common.complete_ids)
@click.argument("stars", metavar="[1..5]", type=click.IntRange(1, 5), required=False)
@click.option("--note", metavar="TEXT", help="What to remember of it; empty takes it away.")
@click.option("--clear", is_flag=True, help="Take stars and note away.")
@click.option(
    "--import",
    "source",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take over what was exported on a report's page.",
)
@common.project_option
def rate_command(
    run: str | None,
    stars: int | None,
    note: str | None,
    clear: bool,
    source: Path | None,
    project: Path | None,
) -> None:
    """Give a run one to five stars, and a note.

    They are kept when the run is made again, and shown by `show`, `list runs`
    and `report`. `list runs --stars 4` and `export --best` go by them.

    With --import it takes the file that a report's page exports: what was
    judged there, and nothing else. Runs that are not here are named, and the
    exit code is 1.

    \b
    Examples:
      cosmos-jobs rate rs_3f2a 4
      cosmos-jobs rate rs_3f2a 5 --note "the planks stay straight"
      cosmos-jobs rate rs_3f2a --clear
      cosmos-jobs rate --import ratings.json
    """
    ops = common.operations(project)
    if source is not None:
        if run or note is not None or clear:
            raise UsageError("--import takes a file alone", hint="leave out the rest")
        _import_ratings(ops, source)
        return
    if run is None or clear == (stars is not None or note is not None):
        raise UsageError(
            "say which run, and how many stars, 1 to 5, a --note, or --clear",
            hint="such as: cosmos-jobs rate rs_3f2a 4",
        )
    if note is not None and len(note) > MAX_NOTE:
        raise UsageError(f"a note has at most {MAX_NOTE:,} characters")
    kept = stars if stars is not None or clear else ops.get_run(run).rating
    rated = ops.rate(run, kept, "" if clear else note)
    said = (rated.run.id, tables.stars(rated.rating) or "not rated", visible(rated.note))
    click.echo("  ".join(filter(None, said)))


def _import_ratings(ops: WorkflowOperations, source: Path) -> None:
    rated, skipped = ops.import_ratings(source)
    click.echo(f"Rated {plural(rated, 'run')}.")
    if skipped:
        click.echo(f"Not here, or without a video: {', '.join(skipped)}", err=True)
        click.get_current_context().exit(1)


@click.command("verify")
@click.option("--repair", is_flag=True, help="Make links; give up runs without a whole video.")
@common.format_option()
@common.project_option
def verify_command(repair: bool, form: str, project: Path | None) -> None:
    """Check that outputs and inputs are what the store says.

    Every file is read: videos, the other files of runs, input videos and files
    of parameters. It also finds files that no run has made, and runs without
    files. Exit code 1 when something is found and not repaired.

    --repair does what is safe: it makes missing links in outputs/JOB/, and
    marks runs whose video is missing or damaged as lost, so that the next
    apply makes them again. It moves, replaces and deletes no file.

    \b
    Examples:
      cosmos-jobs verify
      cosmos-jobs verify --repair
      cosmos-jobs verify --format json
    """
    ops = common.operations(project)
    progress = library.hashing() if sys.stderr.isatty() else None
    done = ops.verify(repair=repair, progress=progress)
    if form == "json":
        write_json(
            {
                "checked": {"runs": done.runs, "files": done.files, "bytes": done.bytes},
                "findings": [{**asdict(each), "hint": each.hint} for each in done.findings],
            }
        )
    else:
        click.echo(library.verified(done))
    if done.left:
        click.get_current_context().exit(1)


@click.command("export")
@click.argument("ids", metavar="[ps_…|rs_…]...", nargs=-1, shell_complete=common.complete_ids)
@click.option("--job", metavar="NAME", default="", help="All runs of this job.")
@click.option("--best", is_flag=True, help="Of these only the runs with the most stars.")
@click.option("--stars", type=click.IntRange(1, 5), help="Only those with at least so many.")
@click.option("--name", metavar="NAME", default="", help="Name of the new job.")
@click.option(
    "-o",
    "--out",
    metavar="FILE|DIR/",
    default="",
    help="Write to this file, or each job to a file of its own in a folder.",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
@common.project_option
def export_command(
    ids: tuple[str, ...],
    job: str,
    best: bool,
    stars: int | None,
    name: str,
    out: str,
    force: bool,
    project: Path | None,
) -> None:
    """Write a job file of prompts, runs or a job.

    Apply finds all its runs by their ids, so that nothing is made twice. The
    file is read back before it is written: a run that would not come out
    with its id is named, and nothing is written (exit code 1).

    A job file has one engine. Runs of several engines, and runs of which only
    some are upscaled, need several files: name a folder with --out.

    \b
    Examples:
      cosmos-jobs export --job sunsets -o jobs/sunsets-export.yaml
      cosmos-jobs export ps_9b11c0de rs_3f2a
      cosmos-jobs export --job sunsets --name dusk -o jobs/
      cosmos-jobs export --job sunsets --best -o jobs/best.yaml
    """
    if not ids and not job:
        raise UsageError("say what to export", hint="ids of prompts or runs, or --job NAME")
    ops = common.operations(project, offline=True)
    found = ops.export(ids, job=job, name=name, stars=stars or 0, best=best)
    place = Path(out)
    in_folder = bool(out) and (place.is_dir() or out.endswith("/"))
    if len(found) > 1 and not in_folder:
        kinds = ", ".join(f"{each.name} ({plural(len(each.runs), 'run')})" for each in found)
        raise UsageError(
            f"one job file cannot ask for all of these: {kinds}",
            hint="name a folder for several: -o jobs/",
        )
    if not out:
        click.echo(found[0].text, nl=False)
        return
    places = {(place / f"{each.name}.yaml" if in_folder else place): each for each in found}
    _write(places, force=force)


def _write(places: dict[Path, Exported], *, force: bool) -> None:
    from cosmos_jobs.core import atomic

    there = [str(path) for path in places if path.exists()]
    if there and not force:
        raise UsageError(f"{', '.join(there)} is there already", hint="replace it: --force")
    for path, each in places.items():
        atomic.write(path, each.text.encode())
        click.echo(f"Wrote {path}: job {each.name}, {plural(len(each.runs), 'run')}.")


@click.command("import")
@click.argument("source", metavar="FILE", type=click.Path(exists=True, path_type=Path))
@common.format_option()
@common.project_option
def import_command(source: Path, form: str, project: Path | None) -> None:
    """Take over prompts and runs of another store.

    FILE is another project's folder, or its .cosmos-jobs/state.json. Prompts
    and runs keep their ids, their history and their ratings; videos in the
    outputs/ beside it are linked or copied if they are what it says. Runs
    without a video are taken as lost: apply makes them. What is here already
    stays as it is, and runs in flight there are left to that project.

    \b
    Examples:
      cosmos-jobs import ../night-shots
      cosmos-jobs import backup/.cosmos-jobs/state.json
    """
    done = common.operations(project).import_store(source)
    if form == "json":
        write_json(asdict(done))
    else:
        click.echo(library.imported(done))


@click.group("delete")
def delete_command() -> None:
    """Delete prompts or runs, with their outputs.

    \b
    Examples:
      cosmos-jobs delete run rs_3f2a --dry-run
      cosmos-jobs delete prompt ps_9b11c0de --force
    """


def _deletion(command: Callable[..., None]) -> Callable[..., None]:
    """Add what deleting takes, whatever is deleted."""
    for option in (
        common.project_option,
        click.option("--dry-run", is_flag=True, help="Only say what would be deleted."),
        click.option("-y", "--yes", is_flag=True, help="Do not ask."),
        click.option("--keep-outputs", is_flag=True, help="Leave videos and links as they are."),
        click.argument(
            "ids", metavar="ID...", nargs=-1, required=True, shell_complete=common.complete_ids
        ),
    ):
        command = option(command)
    return command


@delete_command.command("prompt")
@click.option("--force", is_flag=True, help="Delete their runs, too.")
@_deletion
def _delete_prompt(
    ids: tuple[str, ...],
    keep_outputs: bool,
    force: bool,
    yes: bool,
    dry_run: bool,
    project: Path | None,
) -> None:
    """Delete prompts; those with runs need --force.

    It shows what goes and asks first; without a terminal it needs --yes.
    Runs in flight are not deleted, unless their target has left
    cosmos-jobs.yaml. Input videos are left alone.

    \b
    Examples:
      cosmos-jobs delete prompt ps_9b11c0de --dry-run
      cosmos-jobs delete prompt ps_9b11c0de ps_77aa --force --yes
    """
    _delete("prompt", ids, project, keep_outputs=keep_outputs, force=force, yes=yes, dry=dry_run)


@delete_command.command("run")
@click.option("--force", is_flag=True, help="Also those in flight on a target that is gone.")
@_deletion
def _delete_run(
    ids: tuple[str, ...],
    keep_outputs: bool,
    force: bool,
    yes: bool,
    dry_run: bool,
    project: Path | None,
) -> None:
    """Delete runs, their folders in outputs/runs/ and the links to them.

    It shows what goes and asks first; without a terminal it needs --yes.
    Runs in flight are not deleted: stop them first. Where their target has
    left cosmos-jobs.yaml nobody can, and --force deletes them all the same.
    With --keep-outputs only the store forgets runs: `adopt` takes them back.

    \b
    Examples:
      cosmos-jobs delete run rs_3f2a rs_77aa --dry-run
      cosmos-jobs delete run rs_3f2a --keep-outputs --yes
    """
    _delete("run", ids, project, keep_outputs=keep_outputs, force=force, yes=yes, dry=dry_run)


def _delete(
    kind: str,
    ids: tuple[str, ...],
    project: Path | None,
    *,
    keep_outputs: bool,
    force: bool,
    yes: bool,
    dry: bool,
) -> None:
    ops = common.operations(project)
    going = ops.deleting(kind, ids, force=force)
    may_ask("delete", yes=yes or dry)
    click.echo(library.doomed(going, keep_outputs=keep_outputs))
    if dry:
        return
    what = library.counted(len(going.prompts), len(going.runs))
    confirm(f"Delete {what}?", yes=yes)
    runs, freed = ops.delete(going, keep_outputs=keep_outputs)
    click.echo(library.deleted(going, runs, freed))
