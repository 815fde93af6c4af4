"""Errands: batches without runs, whose work on a machine leaves text in place of videos."""

from __future__ import annotations

import asyncio
import hashlib
import itertools

from cosmos_jobs.config.project import Project
from cosmos_jobs.core.backoff import Backoff
from cosmos_jobs.core.batch import Batch, Life, Status
from cosmos_jobs.core.errand import Errand
from cosmos_jobs.errors import EngineError, HostError
from cosmos_jobs.targets.executors.base import Submission
from cosmos_jobs.targets.fleet import Access, Machine, open_machines
from cosmos_jobs.targets.hosts.base import Upload
from cosmos_jobs.targets.layout import Name

PAUSES = Backoff(0.1, 2.0, 1.5)
"""Between two looks at a machine."""

MAX_TRIES = 20
_LAST_LINES = 3


async def send(project: Project, errand: Errand) -> str:
    """Do an errand on the first machine of its target that answers, and return its answer.

    What this or another client has begun of the same work is joined, what is
    done is read: whoever was interrupted goes on. Raises HostError when no
    machine answers or one cannot do it, EngineError when the target has not
    the engine or the work leaves no answer.
    """
    target = project.named(errand.target)
    target.installed(errand.engine)
    access = Access(lambda line: None)
    machines = open_machines(project, target, access)
    try:
        for number, machine in enumerate(machines):
            try:
                return await _done(project, machine, errand)
            except HostError:
                if number == len(machines) - 1:
                    raise
    finally:
        for machine in machines:
            await machine.host.close()
    raise HostError(f"the target `{target.name}` has no machine")


async def _done(project: Project, machine: Machine, errand: Errand) -> str:
    for attempt in range(MAX_TRIES):
        batch = _batch(errand, attempt)
        status = (await machine.executor.poll([batch.id]))[batch.id]
        is_new = status.life is Life.ABSENT
        if is_new:
            await machine.executor.submit([await _submission(project, machine, errand, batch)])
        status = await _end(machine, batch, status)
        texts = (await machine.batches.read({batch.id: [errand.answer]})).get(batch.id, {})
        if status.life is Life.EXITED and status.exit_code == 0 and errand.answer in texts:
            await machine.batches.release([batch.id])
            return texts[errand.answer]
        if is_new:
            raise EngineError(
                f"{errand.engine} left no answer on {machine.name}: {_why(status)}",
                hint=f"its log is {machine.batches.layout.batch(batch.id, Name.LOG)}",
            )
    raise EngineError(f"{errand.engine} left no answer on {machine.name} {MAX_TRIES} times")


def _batch(errand: Errand, attempt: int) -> Batch:
    """Return the batch of an errand: the same work has the same id on every machine."""
    digest = hashlib.sha256(f"{errand.key} {attempt}".encode()).hexdigest()[:16]
    # It has no runs: nobody takes it for one that made videos.
    return Batch(f"ba_{digest}", errand.engine, errand.target, ())


async def _submission(
    project: Project, machine: Machine, errand: Errand, batch: Batch
) -> Submission:
    target, layout = machine.target, machine.batches.layout
    installation = target.installed(errand.engine)
    places = {sha256: layout.input(sha256, path.suffix) for sha256, path in errand.files.items()}
    uploads = [Upload(path, places[sha256], sha256) for sha256, path in errand.files.items()]
    wrong = await machine.host.put(uploads) if uploads else {}
    present = {sha256: place for sha256, place in places.items() if place not in wrong}
    setup = target.setup(errand.engine, folder=layout.batch(batch.id), cache=layout.cache)
    secrets = project.secrets(installation)
    command = errand.command(setup, present)
    return Submission(
        batch, command, installation, secrets=secrets, limit_s=errand.limit_s, inputs=places
    )


async def _end(machine: Machine, batch: Batch, status: Status) -> Status:
    for number in itertools.count():
        if status.life not in (Life.ABSENT, Life.RUNNING):
            break
        await asyncio.sleep(PAUSES.pause(number))
        status = (await machine.executor.poll([batch.id]))[batch.id]
    return status


def _why(status: Status) -> str:
    if status.fault:
        return status.fault
    said = " / ".join(status.log.strip().splitlines()[-_LAST_LINES:])
    code = "" if status.exit_code is None else f" with exit code {status.exit_code}"
    return f"it ended{code}" + (f": {said}" if said else "")
