"""Make the videos of prompts, and of single runs, without a job file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from cosmos_jobs.apply.claim import Claim
from cosmos_jobs.apply.options import DEFAULTS, ApplyOptions
from cosmos_jobs.core.events import Event
from cosmos_jobs.core.job import Selection
from cosmos_jobs.jobs import adhoc
from cosmos_jobs.operations import planning
from cosmos_jobs.operations.applying import carry_out, complete, reconciler
from cosmos_jobs.operations.listing import get_run
from cosmos_jobs.operations.prompts import Weights, inferred, plan_inference, result_of
from cosmos_jobs.operations.session import Session, ignore


def quick_inference(
    session: Session,
    /,
    prompt_id: str,
    weights: Weights | None = None,
    *,
    engine: str = "",
    target: str = "",
    force: bool = False,
    notify: Callable[[Event], None] | None = None,
    connect_timeout_s: float | None = None,
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
    made = batch_inference(
        session,
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
    session: Session,
    /,
    prompt_ids: Iterable[str],
    shared_weights: Weights | None = None,
    *,
    engine: str = "",
    target: str = "",
    force: bool = False,
    batch_name: str = "",
    notify: Callable[[Event], None] | None = None,
    connect_timeout_s: float | None = None,
    **params: Any,
) -> dict[str, Any]:
    """Make the videos of prompts, all with the same weights and parameters.

    Ids may be shortened; one that is named twice is made once. The result
    has `results`, a mapping as of `quick_inference` for each prompt in the
    order given, and `counts` of them by status. The videos stand in
    outputs/inference/, or in a folder of `batch_name`. Raises as
    `quick_inference`; one unknown id, and nothing is started.
    """
    planned = plan_inference(
        session,
        prompt_ids,
        shared_weights,
        engine=engine,
        target=target,
        force=force,
        batch_name=batch_name,
        params=params,
    )
    options = ApplyOptions(max_runs=len(planned.desired))
    applied = carry_out(session.trying(connect_timeout_s), planned, notify or ignore, options)
    return inferred(session, applied)


def create_run(
    session: Session,
    /,
    prompt_id: str,
    weights: Weights | None = None,
    *,
    engine: str = "",
    **params: Any,
) -> dict[str, Any]:
    """Record the run of a prompt, start nothing, and return it as `quick_inference` does.

    Its `status` is "pending", or what it is when the run is known already.
    """
    planned = plan_inference(session, [prompt_id], weights, engine=engine, params=params)
    (desired,) = planned.desired

    loop = reconciler(session, ignore)
    sources = planned.jobs[0].expansion.prompts
    claim = Claim(desired=planned.desired, sources=sources, starts={}, paths={}, standing=sources)
    complete(loop, loop.claim(claim))
    return result_of(session, get_run(session, desired.run.id), desired.prompt)


def execute_run(
    session: Session,
    run_id: str,
    *,
    target: str = "",
    force: bool = False,
    notify: Callable[[Event], None] | None = None,
    connect_timeout_s: float | None = None,
) -> dict[str, Any]:
    """Make the video of a run that is recorded, and return what `quick_inference` does.

    It runs on `target`, else where it ran last, else on the project's. One
    that is made already runs again only with `force`.
    """
    record = get_run(session, run_id)
    last = record.last.target if record.last else ""
    where = target or (last if last in session.project.targets else session.project.target)
    name = session.project.named(where).name
    job = adhoc.again(session.store.snapshot(), [record.run.id], session.project.root, name)
    planned = planning.of_jobs(session, Selection((), target=name, force=force), (job,), ())
    applied = carry_out(session.trying(connect_timeout_s), planned, notify or ignore, DEFAULTS)
    result: dict[str, Any] = inferred(session, applied)["results"][0]
    return result
