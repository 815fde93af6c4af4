"""What came of an apply, and a run or prompt in full, for people."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from click import style

from cosmos_jobs.artifacts.outputs import LOG
from cosmos_jobs.checks.registry import Measured
from cosmos_jobs.cli.views import reasons
from cosmos_jobs.cli.views.diagnostics import visible
from cosmos_jobs.config import schema
from cosmos_jobs.core.naming import weights_text
from cosmos_jobs.core.record import IN_FLIGHT, UNSUCCESSFUL, PromptRecord, Record, State
from cosmos_jobs.core.run import RUN
from cosmos_jobs.plan import diff
from cosmos_jobs.plan.model import WITHOUT_TEXT, Applied, Followed

SHOWN = 20
DETAILS = ("contract", "driver", "loaded_s", "seconds", "method", "factor")
"""What engines tell of a run that people may want to see."""

COLORS = {
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.BLOCKED: "red",
    State.LOST: "yellow",
    State.CANCELLED: "yellow",
    State.RUNNING: "cyan",
    State.QUEUED: "cyan",
    State.PENDING: None,
}


def text(applied: Applied, root: Path) -> str:
    """Return how many runs this apply made, which failed and why, and where the videos are."""
    places = {
        each.run.id: "/".join(filter(None, (each.job, each.place)))
        for each in applied.planned.desired
    }
    lines = list(_not_enhanced(applied))
    lines += _failures(applied.records, places, "Retry with the same command")
    up_to_date = sum(_up_to_date(record, applied) for record in applied.records)
    published = frozenset(diff.taken(applied.planned.plan))
    taken = sum(record.run.id in published for record in applied.records)
    left = len(published) - taken
    counted = [record for record in applied.records if not _up_to_date(record, applied)]
    said = _counts(counted)
    said += [f"{taken:,} published"] if taken else []
    said += [f"{left:,} published and not fetched"] if left else []
    said += [f"{up_to_date - taken:,} up to date"] if up_to_date > taken else []
    lines.append(f"Applied: {', '.join(said)}.")
    if applied.held_back:
        lines.append(
            f"A canary did not succeed: {len(applied.held_back):,} others were not started."
        )
    else:
        lines += _unbegun(counted)
    lines += _places(applied.records, dict.fromkeys(j.name for j in applied.planned.jobs), root)
    lines += _going_on(applied.records)
    return "\n".join(lines)


def _not_enhanced(applied: Applied) -> Iterator[str]:
    """Say which runs have no prompt, as it could not be enhanced, and why."""
    places: dict[str, list[str]] = {}
    for each in applied.planned.plan.changes:
        if each.action in WITHOUT_TEXT:
            places.setdefault(reasons.text(each.reason), []).append(f"{each.job}/{each.place}")
    for reason, found in places.items():
        more = f" and {len(found) - 1:,} more" if found[1:] else ""
        yield f"{style('not enhanced', fg='red', bold=True)}  {visible(found[0])}{more}"
        yield f"  {visible(reason)}"


def followed(done: Followed, root: Path) -> str:
    """Return what became of runs that were in flight: how many, which failed and why, where."""
    places = {
        record.run.id: "/".join(next(iter(record.jobs.items()), ("", record.run.id)))
        for record in done.records
    }
    failures = _failures(done.records, places, "Retry: cosmos-jobs retry")
    lines = [*failures, f"{', '.join(_counts(done.records))}.", *_unbegun(done.records)]
    jobs = dict.fromkeys(job for record in done.records for job in record.jobs)
    return "\n".join([*lines, *_places(done.records, jobs, root), *_going_on(done.records)])


def _unbegun(records: Iterable[Record]) -> Iterator[str]:
    """Say how runs go on that never began: their batch ended before, or what they work on."""
    if any(record.state is State.PENDING for record in records):
        yield "What is pending did not begin. Start it: cosmos-jobs apply"


def _counts(records: Iterable[Record]) -> list[str]:
    made = Counter(record.state for record in records)
    return [f"{made[state]:,} {state}" for state in State if made[state]]


def _places(records: Iterable[Record], jobs: Iterable[str], root: Path) -> Iterator[str]:
    made = [record for record in records if record.state is State.SUCCEEDED]
    folders = [f"outputs/{job}/" for job in jobs if job]
    folders += [f"outputs/runs/{record.run.id}/" for record in made if not record.jobs]
    if made and folders:
        yield f"Videos: {', '.join(folders)} in {root}"


def _going_on(records: Iterable[Record]) -> Iterator[str]:
    """Say why runs are still in flight, each reason once, and how to go on."""
    left = [record for record in records if record.state in IN_FLIGHT]
    yield from dict.fromkeys(visible(record.reason) for record in left if record.reason)
    if left:
        yield "Follow them: cosmos-jobs watch      fetch what is made: cosmos-jobs fetch"


def _up_to_date(record: Record, applied: Applied) -> bool:
    made = applied.started | applied.awaited
    return record.state is State.SUCCEEDED and record.run.id not in made


def _failures(records: Iterable[Record], places: Mapping[str, str], retry: str) -> Iterator[str]:
    bad = [record for record in records if record.state in UNSUCCESSFUL]
    for record in bad[:SHOWN]:
        state = style(str(record.state), fg=COLORS[record.state], bold=True)
        yield f"{state}  {places[record.run.id]}  ({record.run.id})"
        yield from (f"    {visible(line)}" for line in record.reason.splitlines())
    if len(bad) > SHOWN:
        yield f"… and {len(bad) - SHOWN:,} more: cosmos-jobs list runs --status failed"
    if any(record.state is not State.BLOCKED for record in bad):
        yield f"{retry}; look closer: cosmos-jobs show RUN"
    if any(record.state is State.BLOCKED for record in bad):
        yield "Blocked runs are not retried: change their prompts, or use --force."
    if bad:
        yield ""


def run(
    record: Record,
    prompt: PromptRecord | None,
    video: Path,
    manifest: Mapping[str, Any],
    measured: Measured | None = None,
) -> str:
    """Return everything that is known of a run, a value a line; `manifest` is its provenance."""
    made = record.run
    rows = {
        "run": made.id,
        "state": str(record.state),
        "reason": record.reason,
        "rating": "★" * record.rating + f" ({record.rating} of 5)" if record.rating else "",
        "note": record.note,
        "video": str(video) if record.output else "",
        "log": str(video.with_name(LOG)) if record.attempts else "",
        "jobs": ", ".join(f"{job} ({place})" for job, place in record.jobs.items()),
        "prompt": f"{made.prompt_id}  {prompt.prompt.text if prompt else ''}".rstrip(),
        "upscaled from": prompt.prompt.inputs.get(RUN, "") if prompt else "",
        "engine": f"{made.engine} (contract {made.contract})",
        "weights": weights_text(made.weights),
        **_params(record),
        "sha256": record.output.sha256 if record.output else "",
        "frames": str(record.output.frames) if record.output else "",
        **{name: f"{value:.3g}" for name, value in (measured or Measured()).values.items()},
    }
    rows |= {name: value for name, value in _provenance(manifest).items() if name not in rows}
    lines = _rows(rows, {"state": COLORS[record.state]})
    for number, attempt in enumerate(record.attempts, 1):
        when = moment(attempt.started) if attempt.started is not None else "not started"
        reason = f": {visible(attempt.reason)}" if attempt.reason else ""
        where = visible("/".join(filter(None, (attempt.target, attempt.host, attempt.gpu))))
        lines.append(f"attempt {number}  {when}  {where}  {attempt.batch}  {attempt.state}{reason}")
    return "\n".join(lines)


def _params(record: Record) -> dict[str, str]:
    """Return the parameters of a run; of those that most runs lack only the ones it has."""
    run = record.run
    contract = schema.contract(run.engine)
    usual = {name for name in schema.settable(contract) if "." not in name}
    return {
        name: "none" if value is None else record.files.get(name, str(value))
        for name, value in run.params.items()
        if name in usual or value != contract.defaults.get(name)
    }


def _machine(manifest: Mapping[str, Any]) -> str:
    parts = [str(manifest.get("host") or "")]
    parts += [f"node {manifest['node']}"] if manifest.get("node") else []
    parts += [f"Slurm job {manifest['slurm_job']}"] if manifest.get("slurm_job") else []
    return ", ".join(filter(None, parts))


def _provenance(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return what a run's manifest says of how it was made."""
    if not manifest:
        return {}
    inputs, files = manifest.get("inputs") or {}, manifest.get("files") or {}
    guardrails = manifest.get("guardrails") or {}
    told = manifest.get("engine") or {}
    details = {key: str(told[key]) for key in DETAILS if key in told}
    asked = "on" if guardrails.get("requested") else "off"
    return {
        "made on": _machine(manifest),
        "GPU": str(manifest.get("gpu_name") or ""),
        "GPU driver": str(manifest.get("driver") or ""),
        "commit": str(manifest.get("commit") or ""),
        "image": str(manifest.get("image") or ""),
        "checkpoints": str(manifest.get("checkpoint") or ""),
        "guardrails": f"asked: {asked}; {guardrails.get('effective', '')}" if guardrails else "",
        **details,
        "companions": ", ".join(manifest.get("companions") or ()),
        "inputs": "\n".join(f"{name} {sha256}" for name, sha256 in inputs.items()),
        "files": "\n".join(f"{name} {sha256}" for name, sha256 in files.items()),
    }


def prompt(record: PromptRecord, runs: int) -> str:
    """Return everything that is known of a prompt, a value a line."""
    files = {f"{role} video": path for role, path in record.files.items()}
    return "\n".join(
        _rows(
            {
                "prompt": record.prompt.id,
                "name": record.name,
                "text": record.prompt.text,
                "negative": record.prompt.negative,
                "video": record.video,
                **files,
                "frames": str(record.frames),
                "runs": str(runs),
            },
            {},
        )
    )


def moment(seconds: float) -> str:
    """Return a time since 1970 as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _rows(rows: Mapping[str, str], colors: Mapping[str, str | None]) -> list[str]:
    """Return a line for each value, the lines of a text below one another; no line for none."""
    width = max(len(name) for name, value in rows.items() if value)
    return [
        f"{name if number == 0 else '':<{width}}  {style(visible(line), fg=colors.get(name))}"
        for name, value in rows.items()
        for number, line in enumerate(value.splitlines())
    ]
