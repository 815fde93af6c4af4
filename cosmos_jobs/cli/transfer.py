"""The commands that carry work to another project: export, import."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from cosmos_jobs.cli import completion, console, options
from cosmos_jobs.cli.project import operations
from cosmos_jobs.cli.views import library
from cosmos_jobs.cli.views.plans import plural
from cosmos_jobs.core import atomic
from cosmos_jobs.errors import UsageError
from cosmos_jobs.jobs.export import Exported


@click.command("export")
@click.argument("ids", metavar="[ps_…|rs_…]...", nargs=-1, shell_complete=completion.complete_ids)
@click.option("--job", metavar="NAME", default="", help="All runs in this job.")
@click.option("--best", is_flag=True, help="Only the runs with the most stars.")
@click.option("--stars", type=click.IntRange(1, 5), help="Only runs with at least this many stars.")
@click.option("--name", metavar="NAME", default="", help="Name of the new job.")
@click.option(
    "-o",
    "--out",
    metavar="FILE|DIR/",
    default="",
    help="Write to this file, or write one file per job into a folder.",
)
@click.option("--force", is_flag=True, help="Replace existing files.")
@options.project_option
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

    Apply finds the runs by their ids and makes nothing twice. Export checks the
    file before it writes it. If a run would get another id, export names the
    run and writes nothing; the exit code is then 1.

    A job file has one engine, and upscales all of its runs or none. Other
    selections need several files: name a folder with --out.

    \b
    Examples:
      cosmos-jobs export --job sunsets -o jobs/sunsets-export.yaml
      cosmos-jobs export ps_9b11c0de rs_3f2a
      cosmos-jobs export --job sunsets --name dusk -o jobs/
      cosmos-jobs export --job sunsets --best -o jobs/best.yaml
    """
    if not ids and not job:
        raise UsageError("say what to export", hint="ids of prompts or runs, or --job NAME")
    ops = operations(project, offline=True)
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
    there = [str(path) for path in places if path.exists()]
    if there and not force:
        raise UsageError(f"{', '.join(there)} is there already", hint="replace it: --force")
    for path, each in places.items():
        atomic.write(path, each.text.encode())
        click.echo(f"Wrote {path}: job {each.name}, {plural(len(each.runs), 'run')}.")


@click.command("import")
@click.argument("source", metavar="FILE", type=click.Path(exists=True, path_type=Path))
@options.format_option()
@options.project_option
def import_command(source: Path, form: str, project: Path | None) -> None:
    """Import prompts and runs from another store.

    FILE is another project's folder, or its .cosmos-jobs/state.json. Prompts
    and runs keep their ids, history and ratings. Import checks the videos in
    that project's outputs/, and links or copies them. A run without a video
    counts as lost: apply makes it. Import changes nothing that is already
    here, and leaves out runs that are in flight there.

    \b
    Examples:
      cosmos-jobs import ../night-shots
      cosmos-jobs import backup/.cosmos-jobs/state.json
    """
    done = operations(project).import_store(source)
    if form == "json":
        console.write_json(asdict(done))
    else:
        click.echo(library.imported(done))
