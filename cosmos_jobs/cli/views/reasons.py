"""The words for why a plan does to a run what it does."""

from __future__ import annotations

from cosmos_jobs.plan.reasons import Cause, Difference, Part, Reason

AFTER_ENHANCE = "known after enhance"

_WORDS = {
    Cause.NEW: "new",
    Cause.BEHIND: "new, each behind the run that it upscales",
    Cause.UP_TO_DATE: "up to date",
    Cause.SHARED: "the same run as in {0.said}",
    Cause.DAMAGED: "its video is missing or damaged",
    Cause.FORCED: "forced; was {0.state}",
    Cause.TOLD: "{0.said}",
    Cause.PUBLISHED: "published",
    Cause.NOT_TAKEN: "what is published cannot be taken",
    Cause.AFTER_ENHANCE: AFTER_ENHANCE,
    Cause.REPLACED: "replaced in the job file",
    Cause.GONE: "no longer in the job file",
}

_DIFFERENCES = {
    Part.ENGINE: "engine {old} → {new}",
    Part.CONTRACT: "contract of {name} {old} → {new}",
    Part.PARAMETER: "{name} {old} → {new}",
    Part.WEIGHT: "weight of {name} {old} → {new}",
    Part.FILE: "another file of {name}",
    Part.NO_FILE: "no file of {name}",
    Part.PROMPT: "the prompt changed",
    Part.TEXT: "prompt text changed",
    Part.NEGATIVE: "negative text changed",
    Part.VIDEO: "{name} video changed",
}


def text(reason: Reason) -> str:
    """Return a reason in words, as plans in every format have it."""
    match reason.cause:
        case Cause.CHANGED:
            return ", ".join(map(_difference, reason.differences))
        case Cause.IN_FLIGHT:
            return reason.said or str(reason.state)
        case Cause.ENDED:
            return f"{reason.state}: {reason.said}" if reason.said else str(reason.state)
        case cause:
            return _WORDS[cause].format(reason)


def _difference(each: Difference) -> str:
    old, new = ("none" if value is None else str(value) for value in (each.old, each.new))
    return _DIFFERENCES[each.part].format(name=each.name, old=old, new=new)
