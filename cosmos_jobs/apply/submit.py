"""Make batches ready for a machine: their inputs are brought there, their command is composed."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cosmos_jobs.apply.in_flight import InFlight, InputMissing
from cosmos_jobs.artifacts.outputs import Outputs
from cosmos_jobs.config.project import Project, Target
from cosmos_jobs.core import serialize
from cosmos_jobs.core.batch import Batch, Task
from cosmos_jobs.core.record import Record
from cosmos_jobs.core.run import RUN, Prompt, Run
from cosmos_jobs.core.serialize import ASKED, Asked, Described
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.engines.control_maps import Controls, Wanted
from cosmos_jobs.plan import estimate
from cosmos_jobs.targets.executors.base import Submission
from cosmos_jobs.targets.fleet import Machine
from cosmos_jobs.targets.hosts.base import Upload

TRUSTED_S = 1800
"""How long an input that is on a machine is taken to be there: unused ones may be pruned."""


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class _Given:
    """A run with the files that its engine is given: by role, and by parameter."""

    run: Run
    prompt: Prompt
    inputs: Mapping[str, _File]
    values: Mapping[str, _File]

    @property
    def files(self) -> tuple[_File, ...]:
        return (*self.inputs.values(), *self.values.values())

    @property
    def sha256s(self) -> dict[str, str]:
        return {name: file.sha256 for name, file in (*self.inputs.items(), *self.values.items())}


@dataclass(frozen=True, slots=True)
class Staged:
    """What came of making a batch ready: its submission, None when no run of it can be made."""

    submission: Submission | None
    missing: Sequence[InputMissing]


class Submissions:
    """Makes batches of a project ready; what it brought to a machine it does not bring again."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._outputs = Outputs(project.outputs)
        self._cache = project.cache / "controls"
        self._controls = Controls(self._cache)
        self._present: dict[Machine, dict[str, float]] = {}
        self._history: estimate.History | None = None

    async def stage(self, machine: Machine, batch: InFlight, known: Snapshot) -> Staged:
        """Return the submission of a batch, its inputs in place.

        A run whose inputs cannot be had fails by itself. Raises EngineError
        when the target does not have the engine.
        """
        machine.target.installed(batch.engine.name)
        missing: list[InputMissing] = []
        given = self._given(batch, known, missing)
        given = await self._with_maps(batch, given, missing)
        given = await self._with_inputs(machine, given, missing)
        submission = self._submission(machine, batch, known, given) if given else None
        return Staged(submission, missing)

    def _submission(
        self, machine: Machine, in_flight: InFlight, known: Snapshot, given: Sequence[_Given]
    ) -> Submission:
        batch, target = in_flight.batch, machine.target
        installation = target.installed(batch.engine)
        layout = machine.batches.layout
        cache = str(self._cache) if machine.is_here else layout.cache
        folder = layout.batch(batch.id)
        setup = target.setup(batch.engine, folder=folder, cache=cache, may_stay=True)
        command = in_flight.engine.command([_task(machine, each) for each in given], setup)
        asked = [Asked(each.run.id, each.prompt.text, each.sha256s) for each in given]
        return Submission(
            batch,
            replace(command, files={**command.files, ASKED: serialize.asking(asked)}),
            installation,
            description=self._description(batch, known),
            known=in_flight.known,
            secrets=self._project.secrets(installation),
            limit_s=self._limit_s(target, batch, known),
            inputs={sha256 for each in asked for sha256 in each.inputs.values()},
        )

    def _given(self, batch: InFlight, known: Snapshot, missing: list[InputMissing]) -> list[_Given]:
        """Return the runs of a batch that are still wanted, each with the files that it needs."""
        found = []
        for run_id in batch.batch.runs:
            if run_id not in known.states:
                continue
            record = known.runs[run_id]
            files = self._inputs(record, known)
            if "color" not in files:
                problem = "the run whose output it works on has no video"
                missing.append(InputMissing(run_id, problem))
                continue
            values = {
                name: _File(self._project.root / path, str(record.run.params[name]))
                for name, path in record.files.items()
            }
            prompt = known.prompts[record.run.prompt_id].prompt
            found.append(_Given(record.run, prompt, files, values))
        return found

    def _inputs(self, record: Record, known: Snapshot) -> dict[str, _File]:
        """Return the files of a run's video by role; for a run on another's output, that output."""
        prompt = known.prompts[record.run.prompt_id]
        source = prompt.prompt.inputs.get(RUN)
        if source is None:
            return {
                role: _File(self._project.root / path, prompt.prompt.inputs[role])
                for role, path in prompt.files.items()
            }
        before = known.runs[source] if source in known.states else None
        if before is None or before.output is None:
            return {}
        return {"color": _File(self._outputs.video(before), before.output.sha256)}

    async def _with_maps(
        self, batch: InFlight, given: Sequence[_Given], missing: list[InputMissing]
    ) -> list[_Given]:
        """Return the runs with the maps that their engine wants computed.

        One that there is no map for fails by itself.
        """
        wanted = {each.run.id: _maps(batch, each) for each in given}
        if not any(wanted.values()):
            return list(given)
        made = await self._controls.make(want for each in wanted.values() for want in each.values())
        ready = []
        for each in given:
            maps = {kind: made[want] for kind, want in wanted[each.run.id].items()}
            problem = next((f"{k} map: {m}" for k, m in maps.items() if isinstance(m, str)), "")
            if problem:
                missing.append(InputMissing(each.run.id, f"there is no {problem}"))
                continue
            files = {
                kind: _File(map_.path, map_.sha256)
                for kind, map_ in maps.items()
                if not isinstance(map_, str)
            }
            ready.append(replace(each, inputs={**each.inputs, **files}))
        return ready

    async def _with_inputs(
        self, machine: Machine, given: Sequence[_Given], missing: list[InputMissing]
    ) -> list[_Given]:
        """Return the runs whose files are on the machine; the others fail by themselves."""
        present, now = self._present.setdefault(machine, {}), time.monotonic()
        uploads = {
            place: Upload(file.path, place, file.sha256)
            for each in given
            for file in each.files
            if (place := _place(machine, file))
        }
        lacking = [
            upload
            for target, upload in uploads.items()
            if now - present.get(target, -math.inf) > TRUSTED_S
        ]
        wrong = await machine.host.put(lacking) if lacking else {}
        present |= {upload.target: now for upload in lacking if upload.target not in wrong}
        ready = []
        for each in given:
            places = (_place(machine, file) for file in each.files)
            problem = next((wrong[place] for place in places if place in wrong), "")
            if problem:
                missing.append(InputMissing(each.run.id, problem))
            else:
                ready.append(each)
        return ready

    def _description(self, batch: Batch, known: Snapshot) -> bytes:
        records = [known.runs[run_id] for run_id in batch.runs if run_id in known.states]
        prompts = {record.run.prompt_id: known.prompts[record.run.prompt_id] for record in records}
        described = Described(batch, self._project.client, tuple(records), tuple(prompts.values()))
        return serialize.describe(described)

    def _limit_s(self, target: Target, batch: Batch, known: Snapshot) -> int:
        """Return how long a batch may take: what was set, else a multiple of what is expected."""
        if target.run_timeout_s is not None:
            return math.ceil(len(batch.runs) * target.run_timeout_s)
        runs = [known.runs[run_id].run for run_id in batch.runs if run_id in known.states]
        work = [(run, known.prompts[run.prompt_id].frames) for run in runs]
        if self._history is None:
            self._history = estimate.History(known)
        history = self._history
        gpus = target.gpus_per_batch if target.gpus else 0
        expected = estimate.expected(work, history, history.machine(target.name, target.gpu, gpus))
        return estimate.limit_s(expected, target.timeout_factor, work)


def _place(machine: Machine, file: _File) -> str:
    """Return where a machine has a file: by its content, once ever."""
    return machine.batches.layout.input(file.sha256, file.path.suffix)


def _task(machine: Machine, given: _Given) -> Task:
    inputs = {role: _place(machine, file) for role, file in given.inputs.items()}
    values = {name: _place(machine, file) for name, file in given.values.items()}
    return Task(given.run, given.prompt, inputs, values, given.sha256s)


def _maps(batch: InFlight, given: _Given) -> dict[str, Wanted]:
    """Return the maps that an engine wants of a run, and that its video has no file of."""
    color = given.inputs["color"]
    return {
        kind: Wanted(kind, color.path, color.sha256, tuple(sorted(params.items())))
        for kind, params in batch.engine.maps(given.run).items()
        if kind not in given.inputs
    }
