"""Which runs of a batch that has ended are to blame for it, and which never began."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from cosmos_jobs.core import failures
from cosmos_jobs.core.batch import Outcome, Status
from cosmos_jobs.core.record import State
from cosmos_jobs.core.safe_path import SafePath, UnsafePath

NEVER_BEGAN = Outcome(State.PENDING)


def made(
    files: Mapping[str, str],
    details: Mapping[str, object],
    digests: Mapping[str, str] | None = None,
) -> Outcome:
    """Return that a run was made, of `files` as its machine names them: ours by its own.

    One of which a name would lead out of its folder failed.
    """
    try:
        safe = {SafePath(ours): SafePath(theirs) for ours, theirs in files.items()}
    except UnsafePath as error:
        return misnamed(error)
    return Outcome(State.SUCCEEDED, files=safe, digests=digests or {}, details=details)


def misnamed(error: UnsafePath) -> Outcome:
    """Return that a run failed because its machine names a file that is not fetched."""
    return Outcome(State.FAILED, f"the machine names a file that cannot be taken: {error}")


def after_exit(
    order: Sequence[str], told: Collection[str], begun: Collection[str], status: Status
) -> Mapping[str, Outcome]:
    """Return the outcomes of the runs that an engine has left without one when it exited.

    `order` are the runs in the order in which the engine takes them, `told`
    those whose outcome is known, `begun` those that left a sign of having
    begun. The first of these without an outcome is to blame, and what is behind
    it never began; but an engine that fell before it began any run failed for
    all. An exception is the run's own; one that died without a word `crashed`.
    """
    left = [run for run in order if run not in told]
    failed = Outcome(State.FAILED, failures.explain(status))
    of_one = failures.fault(status) in failures.OF_ONE_RUN
    if status.exit_code == 0 or (status.fault and not of_one) or not (told or begun):
        return dict.fromkeys(left, failed)
    culprit = next((run for run in left if run in begun), left[0] if left else "")
    # What hangs once hangs again, and each time costs the whole limit.
    blamed = replace(failed, crashed=not of_one and failures.died(status))
    return {run: blamed if run == culprit else NEVER_BEGAN for run in left}
