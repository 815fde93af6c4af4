"""Operations on single prompts: make them, and make their videos, without a job file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from cosmos_jobs.config import project as projects
from cosmos_jobs.config import schema, violations
from cosmos_jobs.core import naming
from cosmos_jobs.core.batch import CONNECT_TIMEOUT_S
from cosmos_jobs.core.events import Event
from cosmos_jobs.core.job import Selection, Source
from cosmos_jobs.core.record import IN_FLIGHT, PromptRecord, Record, State
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.errors import UsageError
from cosmos_jobs.jobs import adhoc, arguments
from cosmos_jobs.operations.base import unique, wait
from cosmos_jobs.operations.flight import Flight
from cosmos_jobs.operations.jobs import Hashing
from cosmos_jobs.plan.model import Applied, Planned

if TYPE_CHECKING:
    from cosmos_jobs.state.store import Transaction

Weights: TypeAlias = Mapping[str, float] | Sequence[float]
"""Weights of controls, 0 to 1: by name, or four of them for vis, edge, depth and seg."""

UP_TO_DATE = "up to date"
NO_RUNS = "no runs"


class Prompts(Flight):
    """What can be done with prompts.

    Every method may be called where an event loop runs already, and from
    several threads at once. `notify` is told of each Event of the work as it
    happens, in the thread that does it. Methods that take `params` take every
    parameter of the engine, one value each: `num_steps=50`, and for what each
    control has `masks={"edge": "masks/pier.mp4"}`. What is left out has the
    engine's default. Wrong ids, weights and parameters are a UsageError, and
    nothing is written or started. A run that fails is no error: its `status`
    says so.
    """

    # --- make prompts ---------------------------------------------------------------------

    def create_prompt(
        self,
        text: str,
        video: str | Path,
        *,
        name: str = "",
        negative: str = "",
        hashing: Hashing | None = None,
    ) -> PromptRecord:
        """Record the prompt of a text and a video, and return it.

        `video` is a folder with color.mp4, and perhaps its control maps, or a
        video file: from the working directory, else from the project's folder.
        The text is in Unicode NFC, without white space around it; braces are
        literal. The same text, negative text and video are the same prompt:
        it keeps its name unless `name` says another. Without a name it gets
        one by its text. Raises UsageError for an empty text, for files that
        cannot be used, and for a name that is no name or belongs to another.
        """
        if name:
            _check_name(name)
        source = adhoc.prompt(self.project, text, str(video), negative, hashing)
        prompt_id = source.prompt.id

        def record(change: Transaction) -> PromptRecord:
            before = change.prompt(prompt_id)
            # Names alone are read quickly.
            others = {
                str(each.get("name")): key
                for key, each in change.table("prompts").items()
                if key != prompt_id
            }
            if name in others and not (before and before.name == name):
                raise UsageError(
                    f"the name `{name}` belongs to {others[name]}",
                    hint="choose another one, or leave it out",
                )
            made = name or (before.name if before else "")
            made = made or naming.prompt_name(source.prompt.text, prompt_id, others)
            after = self._prompt_record(replace(source, name=made), before)
            if after != before:
                change.put_prompts([after])
            return after

        return self.store.change(record)

    def _prompt_record(self, source: Source, before: PromptRecord | None) -> PromptRecord:
        root = self.project.root
        files = {role: projects.shown(one.path, root) for role, one in source.files.items()}
        frames = source.files["color"].frames
        made = PromptRecord(source.prompt, source.name, source.video, files, frames)
        return replace(made, parent=before.parent, enhancer=before.enhancer) if before else made

    # --- make their videos ------------------------------------------------------------------

    def quick_inference(
        self,
        prompt_id: str,
        weights: Weights | None = None,
        *,
        engine: str = "",
        target: str = "",
        force: bool = False,
        notify: Callable[[Event], None] | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        **params: Any,
    ) -> dict[str, Any]:
        """Make the video of a prompt, wait for it, and return what came of it.

        Without `weights` each control has 0.25; without `engine` and `target`
        they are the project's. With `force` it is made again. The result has

        - `run_id`, `prompt_id`, `prompt` (its name),
        - `status`: "succeeded" when this call made it or waited for it, "up to
          date" when it was made before; "failed", "blocked" (a guardrail
          refused it: only `force` tries again), "cancelled", "lost"; "queued"
          or "running" when its machine does not answer any more, "pending"
          when it did not begin,
        - `output_path`: the video or image, absolute; None when there is none,
        - `duration_seconds`: how long the batch that made it took on its
          machine, the model's start included; None when unknown,
        - `reason`: why it did not succeed, else "".

        Raises UsageError as said above, EngineError when the target lacks the
        engine, HostError when no machine of it answers.
        """
        made = self.batch_inference(
            [prompt_id],
            weights,
            engine=engine,
            target=target,
            force=force,
            notify=notify,
            connect_timeout_s=connect_timeout_s,
            **params,
        )
        result: dict[str, Any] = made["results"][0]
        return result

    def batch_inference(
        self,
        prompt_ids: Iterable[str],
        shared_weights: Weights | None = None,
        *,
        engine: str = "",
        target: str = "",
        force: bool = False,
        batch_name: str = "",
        notify: Callable[[Event], None] | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        **params: Any,
    ) -> dict[str, Any]:
        """Make the videos of prompts, all with the same weights and parameters.

        Ids may be shortened; one that is named twice is made once. The result
        has `results`, a mapping as of `quick_inference` for each prompt in the
        order given, and `counts` of them by status. The videos stand in
        outputs/inference/, or in a folder of `batch_name`. Raises as
        `quick_inference`; one unknown id, and nothing is started.
        """
        planned = self.plan_inference(
            prompt_ids,
            shared_weights,
            engine=engine,
            target=target,
            force=force,
            batch_name=batch_name,
            params=params,
        )
        applied = self.apply(
            planned,
            notify or _ignore,
            max_runs=len(planned.desired),
            connect_timeout_s=connect_timeout_s,
        )
        return self.inferred(applied)

    def plan_inference(
        self,
        prompt_ids: Iterable[str],
        weights: Weights | None = None,
        *,
        engine: str = "",
        target: str = "",
        force: bool = False,
        batch_name: str = "",
        params: Mapping[str, object] | None = None,
        hashing: Hashing | None = None,
    ) -> Planned:
        """Return what `batch_inference` would do; nothing but the cache is written.

        `apply` carries it out, and `inferred` tells of that. `hashing` is told
        of a video that is read: its path, the bytes so far and the bytes in all.
        """
        known = self.store.snapshot()
        prompts = adhoc.found(known, list(prompt_ids))
        if not prompts:
            raise UsageError("no prompt was named", hint="see them: cosmos-jobs list prompts")
        name = self._batch_name(batch_name, known)
        where = self.project.named(target or self.project.target).name
        spec, warnings = arguments.read(engine or self.project.engine, weights, params or {})
        making = adhoc.Inference(self.project, known, replace(spec, target=where), name, hashing)
        job, noted = making.job(prompts, where)
        return self._planned(Selection((), where, force=force), (job,), (*warnings, *noted))

    def inferred(self, applied: Applied) -> dict[str, Any]:
        """Return what came of the plan of an inference, as `batch_inference` does."""
        records = {record.run.id: record for record in applied.records}
        made = applied.started | applied.awaited
        results = []
        for each in applied.planned.desired:
            record = records[each.run.id]
            result = self._result(record, each.prompt)
            if record.state is State.SUCCEEDED and record.run.id not in made:
                result["status"] = UP_TO_DATE
            results.append(result)
        counts = Counter(result["status"] for result in results)
        return {"results": results, "counts": dict(counts)}

    def _result(self, record: Record, prompt: str) -> dict[str, Any]:
        last = record.last
        took = None
        if last and last.started is not None and last.finished is not None:
            took = round(last.finished - last.started, 3)
        return {
            "run_id": record.run.id,
            "prompt_id": record.run.prompt_id,
            "prompt": prompt,
            "status": str(record.state),
            "output_path": self._output_path(record),
            "duration_seconds": took,
            "reason": record.reason if record.state is not State.SUCCEEDED else "",
        }

    def _output_path(self, record: Record) -> str | None:
        """Return where people find a video, else where it is by id; None when there is none."""
        if record.state is not State.SUCCEEDED or record.output is None:
            return None
        for each in (*reversed(self.outputs.places(record)), self.outputs.video(record)):
            if each.exists():
                return str(each.absolute())
        return None

    # --- runs one by one, for advanced use ----------------------------------------------------

    def create_run(
        self,
        prompt_id: str,
        weights: Weights | None = None,
        *,
        engine: str = "",
        **params: Any,
    ) -> dict[str, Any]:
        """Record the run of a prompt, start nothing, and return it as `quick_inference` does.

        Its `status` is "pending", or what it is when the run is known already.
        """
        planned = self.plan_inference([prompt_id], weights, engine=engine, params=params)
        (desired,) = planned.desired

        async def record() -> None:
            from cosmos_jobs.apply.claim import Claim

            reconciler = self._reconciler(_ignore, CONNECT_TIMEOUT_S)
            sources = planned.jobs[0].expansion.prompts
            try:
                await reconciler.claim(Claim(planned.desired, sources, {}, {}, standing=sources))
            finally:
                await reconciler.close()

        wait(record())
        return self._result(self.get_run(desired.run.id), desired.prompt)

    def execute_run(
        self,
        run_id: str,
        *,
        target: str = "",
        force: bool = False,
        notify: Callable[[Event], None] | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> dict[str, Any]:
        """Make the video of a run that is recorded, and return what `quick_inference` does.

        It runs on `target`, else where it ran last, else on the project's. One
        that is made already runs again only with `force`.
        """
        record = self.get_run(run_id)
        last = record.last.target if record.last else ""
        where = target or (last if last in self.project.targets else self.project.target)
        name = self.project.named(where).name
        job = adhoc.again(self.store.snapshot(), [record.run.id], self.project.root, name)
        planned = self._planned(Selection((), name, force=force), (job,), ())
        applied = self.apply(planned, notify or _ignore, connect_timeout_s=connect_timeout_s)
        result: dict[str, Any] = self.inferred(applied)["results"][0]
        return result

    def check_status(self, name: str) -> dict[str, Any]:
        """Return how a run, a prompt or a job stands, as last seen: no machine is asked.

        Of a run (`rs_…`) it is what `quick_inference` returns. Of a prompt
        (`ps_…`) and of a job, by name, it is `status`, `counts` of its runs by
        state, and `runs`: a mapping of their ids to states; a prompt also has
        its `prompt_id` and its name as `prompt`, a job its name as `job`. That
        `status` is "running" while a run is in flight, else the worst that a
        run came to: "failed", "blocked", "lost", "cancelled", "pending",
        "succeeded"; "no runs" without any. Raises UsageError for a name that
        is none of these.
        """
        known = self.store.snapshot()
        if name.startswith("rs_"):
            record = self.get_run(name)
            prompt = self.prompt_of(record)
            return self._result(record, prompt.name if prompt else "")
        records = known.runs.values()
        if name.startswith("ps_"):
            key = unique(name, known.prompts, "prompt")
            states = {r.run.id: r.state for r in records if r.run.prompt_id == key}
            return {
                "prompt_id": key,
                "prompt": known.prompts[key].name,
                **_standing(states),
            }
        states = {r.run.id: r.state for r in records if name in r.jobs}
        if not states and name not in known.jobs:
            raise UsageError(
                f"there is no run, prompt or job `{name}`", hint="see them: cosmos-jobs status"
            )
        return {"job": name, **_standing(states)}

    def stream_logs(
        self,
        run_id: str,
        tell: Callable[[str], object] = print,
        *,
        follow: bool = True,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        """Tell the log of a run's last batch line by line, with `follow` to its end.

        Bytes that are no UTF-8 are shown as U+FFFD. Raises UsageError when the
        run was never started.
        """
        rest = b""

        def split(part: bytes) -> None:
            nonlocal rest
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                tell(line.decode(errors="replace").rstrip("\r"))

        self.log(run_id, split, follow=follow, connect_timeout_s=connect_timeout_s)
        if rest:
            tell(rest.decode(errors="replace"))

    def _batch_name(self, name: str, known: Snapshot) -> str:
        """Return the job that runs of prompts stand under; UsageError for one of a file."""
        if name in ("", adhoc.INFERENCE):
            return adhoc.INFERENCE
        rule = schema.load("job")["properties"]["name"]
        if not violations.fits(name, rule, rule):
            raise UsageError(f"`{name}` cannot name a batch", hint=rule["x-hint"])
        path = known.jobs.get(name, "")
        if path and (self.project.root / path).exists():
            raise UsageError(
                f"the name `{name}` belongs to the job file {path}",
                hint="choose another name for the batch",
            )
        return name


def _check_name(name: str) -> None:
    rule = schema.load("job")["properties"]["prompts"]["propertyNames"]
    if not violations.fits(name, rule, rule):
        raise UsageError(f"`{name}` cannot name a prompt", hint=rule["x-hint"])


def _standing(states: Mapping[str, State]) -> dict[str, Any]:
    found = set(states.values())
    worst = (
        State.FAILED,
        State.BLOCKED,
        State.LOST,
        State.CANCELLED,
        State.PENDING,
        State.SUCCEEDED,
    )
    said = "running" if found & IN_FLIGHT else next((s for s in worst if s in found), NO_RUNS)
    counts = Counter(str(state) for state in states.values())
    runs = {run_id: str(state) for run_id, state in states.items()}
    return {"status": str(said), "counts": dict(counts), "runs": runs}


def _ignore(event: Event) -> None:
    """Do nothing about an event."""
