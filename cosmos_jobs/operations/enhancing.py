"""Have prompts written in more detail, on their own or for a plan that awaits it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from cosmos_jobs import enhancers
from cosmos_jobs.apply.options import ApplyOptions
from cosmos_jobs.config import schema
from cosmos_jobs.core import identity
from cosmos_jobs.core.errand import Errand
from cosmos_jobs.core.job import MAX_RUNS, Detailer, Enhanced, Source
from cosmos_jobs.core.record import Enhancement, PromptRecord
from cosmos_jobs.core.run import RUN, Prompt
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.enhancers.base import Answer, Enhancer, Request
from cosmos_jobs.errors import AnswerIsNo, CosmosJobsError, EngineError, UsageError
from cosmos_jobs.operations import limits, planning
from cosmos_jobs.operations.session import Session, wait
from cosmos_jobs.plan.model import Action, Planned
from cosmos_jobs.state import delete
from cosmos_jobs.state.store import Transaction

SAVE_S = 1.0
"""How long an answer is in memory only, while others are awaited."""

MAX_NAME = 100
GONE = "it was replaced or deleted meanwhile"
NOT_CALLED = "not asked: a model that costs money or GPU time is asked with --call only"
_SUFFIX = re.compile(r"_enhanced\d*$")


def enhance_prompt(
    session: Session, prompt_id: str, create_new: bool = True, enhancement_model: str | None = None
) -> PromptRecord:
    """Write a prompt in more detail, and return the prompt that has the new text.

    It is a new prompt of the same videos, linked to the one before, and
    named `<name>_enhanced`. Without `create_new` it takes that one's place
    and name, which must have no runs; a prompt that has the new text already
    stays as it is. `enhancement_model` is an enhancer's name or NAME:MODEL,
    else the project's. A text that was asked for before is not asked for
    again. Where the enhancer leaves the text as it is, the prompt itself is
    returned. Raises UsageError for an unknown id and for a prompt of upscale,
    AnswerIsNo when the prompt may not be replaced, EngineError when there
    is no new text.
    """
    (made,) = enhance_prompts(
        session, [prompt_id], create_new=create_new, enhancement_model=enhancement_model
    )
    if made.after is None:
        raise EngineError(
            f"{made.before.prompt.id} is not enhanced: {made.reason}",
            hint="try again, or name another enhancer: --model NAME",
        )
    return made.after


def enhance_prompts(
    session: Session,
    prompt_ids: Sequence[str],
    *,
    create_new: bool = True,
    enhancement_model: str | None = None,
    force: bool = False,
    connect_timeout_s: float | None = None,
) -> tuple[Enhancement, ...]:
    """Do the same with several prompts at once, each of them once.

    One that gets no new text has `after` None and the reason; so has one that
    is replaced or deleted meanwhile. With `force` texts are asked for anew
    that are kept.
    """
    known = session.store.snapshot()
    records = _named(prompt_ids, known)
    if not create_new:
        _replaceable(records, {known.runs[each].run.prompt_id for each in known.runs})
    session = session.trying(connect_timeout_s)
    # What a machine has made of the same prompts before is not asked for then.
    fresh = f"after {known.serial}" if force else ""
    enhancer, by = _enhancer(session, enhancement_model or "", fresh)
    keys = {each.prompt.id: _key(each, by) for each in records}
    kept = {} if force else known.enhanced
    wanted = [each for each in records if keys[each.prompt.id] not in kept]
    requests = [_request(session, keys[each.prompt.id], each) for each in wanted]
    answers = _ask(session, enhancer, requests, replacing=force)

    def write(change: Transaction) -> tuple[Enhancement, ...]:
        if not create_new:
            _replaceable(records, change.prompts_with_runs())
        recorder = _Recorder(change, enhancer.name, create_new=create_new)
        made = []
        for each in records:
            key = keys[each.prompt.id]
            answer = answers.get(key, Answer())
            # Of two that ask the same at a time, the first one's text is kept for both.
            text = change.enhanced(key) if answer.text or key not in answers else None
            draft = Enhancement(each, text.text if text else "", answer.reason)
            made.append(recorder.add(draft))
        recorder.write()
        return tuple(made)

    return session.store.change(write)


def draft_enhancements(
    session: Session,
    prompt_ids: Sequence[str],
    *,
    enhancement_model: str | None = None,
    call: bool = False,
) -> tuple[Enhancement, ...]:
    """Return what `enhance_prompts` would write; nothing is written.

    An enhancer that is not free is asked with `call` only.
    """
    known = session.store.snapshot()
    records = _named(prompt_ids, known)
    enhancer, by = _enhancer(session, enhancement_model or "")
    keys = {each.prompt.id: _key(each, by) for each in records}
    answers = {
        key: Answer(known.enhanced[key].text) for key in keys.values() if key in known.enhanced
    }
    wanted = [each for each in records if keys[each.prompt.id] not in answers]
    if enhancer.is_free or call:
        requests = [_request(session, keys[each.prompt.id], each) for each in wanted]
        answers |= _answered(enhancer, requests)
    nothing = Answer(reason=NOT_CALLED)
    found = ((each, answers.get(keys[each.prompt.id], nothing)) for each in records)
    return tuple(Enhancement(each, answer.text, answer.reason) for each, answer in found)


def is_free(session: Session, enhancement_model: str | None = None) -> bool:
    """Say whether an enhancer costs neither money nor GPU time."""
    return _enhancer(session, enhancement_model or "")[0].is_free


def enhance(
    session: Session,
    planned: Planned,
    *,
    max_runs: int = MAX_RUNS,
    connect_timeout_s: float | None = None,
) -> Planned:
    """Write the prompts in more detail that a plan awaits, and return the plan then.

    The texts are kept: the same prompts are not asked about again. What has
    none, and why, is in the plan. Raises AnswerIsNo when there are too many
    runs, or a job file has changed in between, EngineError and HostError
    when an enhancer can answer nothing.
    """
    asked = _awaited(planned)
    if not asked:
        return planned
    limits.check(session.project, planned, ApplyOptions(max_runs=max_runs))
    session = session.trying(connect_timeout_s)
    refused: dict[str, str] = {}
    for wanted, sources in asked.items():
        enhancer, _ = _enhancer(session, wanted)
        requests = [_asking(key, source) for key, source in sources.items()]
        answers = _ask(session, enhancer, requests)
        reasons = {key: each.reason for key, each in answers.items() if not each.text}
        refused |= {key: f"{enhancer.name}: {why}" for key, why in reasons.items()}
    jobs, problems = planning.load(session, planned.selection)
    if [job.spec for job in jobs] != [job.spec for job in planned.jobs]:
        raise AnswerIsNo(
            "a job file has changed while its prompts were enhanced; nothing was started",
            hint="look again: cosmos-jobs plan",
        )
    return planning.of_jobs(session, planned.selection, jobs, problems, refused=refused)


def _asking(key: str, source: Source) -> Request:
    color, prompt = source.files["color"], source.prompt
    return Request(
        id=key, text=prompt.text, negative=prompt.negative, video=color.path, sha256=color.sha256
    )


def _awaited(planned: Planned) -> dict[str, dict[str, Source]]:
    """Return the prompts that selected runs await the text of: by enhancer, and by its id."""
    if not any(each.action is Action.ENHANCE for each in planned.plan.changes):
        return {}
    found: dict[str, dict[str, Source]] = {}
    selected = {
        (each.job, each.place) for each in planning.selected(planned.jobs, planned.selection.only)
    }
    for job in planned.jobs:
        by = {prompt.name: prompt.enhance for prompt in (job.spec.prompts if job.spec else ())}
        for each in job.expansion.runs:
            # What works on another's output has that one's text.
            if each.awaits and not each.after and (each.job, each.place) in selected:
                source = job.expansion.prompts[each.run.prompt_id]
                found.setdefault(by[each.prompt] or "", {})[each.awaits] = source
    return found


def _enhancer(session: Session, wanted: str, fresh: str = "") -> tuple[Enhancer, Detailer]:
    """Return an enhancer, and what its texts depend on; `fresh` makes its errands new ones."""

    def send(errand: Errand) -> str:
        # What reaches machines brings asyncio, and most enhancers need none.
        from cosmos_jobs.targets import remote_task

        work = replace(errand, key=f"{errand.key} {fresh}")
        return wait(remote_task.send(session.project, work))

    made = enhancers.enhancer_of(session.project, wanted, send)
    return made, Detailer(made.name, session.project.enhancing(wanted).kind, made.settings)


def _request(session: Session, key: str, record: PromptRecord) -> Request:
    path = record.files.get("color")
    video = None if path is None else session.project.root / path
    sha256 = record.prompt.inputs.get("color", "")
    return Request(
        id=key, text=record.prompt.text, negative=record.prompt.negative, video=video, sha256=sha256
    )


def _ask(
    session: Session, enhancer: Enhancer, requests: Sequence[Request], *, replacing: bool = False
) -> dict[str, Answer]:
    """Return the answers; they are kept as they come, whatever becomes of the others."""
    texts = {each.id: each.text for each in requests}
    answers: dict[str, Answer] = {}
    unsaved: list[Enhanced] = []
    saved = session.clock()
    try:
        for key, answer in _asked(enhancer, requests):
            answers[key] = answer
            if answer.text:
                unsaved.append(Enhanced(key, answer.text, texts[key], enhancer.name))
            if session.clock() - saved > SAVE_S:
                _keep(session, unsaved, replacing=replacing)
                unsaved, saved = [], session.clock()
    finally:
        _keep(session, unsaved, replacing=replacing)
    return {key: answers.get(key, Answer(reason="it did not answer")) for key in texts}


def _keep(session: Session, texts: Collection[Enhanced], *, replacing: bool) -> None:
    if texts:
        session.store.change(lambda change: change.put_enhanced(texts, replacing=replacing))


class _Recorder:
    """Records the prompts of new texts: what is known of others is read once, and written once.

    Each is in the place of the one before, unless `create_new`.
    """

    def __init__(self, change: Transaction, enhancer: str, *, create_new: bool) -> None:
        self._change = change
        self._enhancer = enhancer
        self._create_new = create_new
        self._names = set(change.names()) if create_new else set()
        self._numbers: dict[str, int] = {}
        self._children = {} if create_new else change.children()
        self._changed: dict[str, PromptRecord] = {}
        self._gone: set[str] = set()

    def add(self, draft: Enhancement) -> Enhancement:
        """Take the prompt of a new text, and return it with what came of it."""
        before = self._known(draft.before.prompt.id)
        if not draft.text:
            return draft
        if before is None:
            return replace(draft, reason=GONE)
        prompt = identity.prompt(draft.text, before.prompt.negative, before.prompt.inputs)
        if prompt.id == before.prompt.id:
            return replace(draft, after=before)
        # A text that leads back to where it comes from has no parent: nothing is its own.
        is_older = prompt.id in self._ancestors(before)
        if self._create_new:
            after = self._beside(before, prompt, is_older=is_older)
        else:
            self._remove(before)
            # One with the new text is somebody's already: it stays as it is.
            after = self._known(prompt.id) or replace(
                before,
                prompt=prompt,
                parent="" if is_older else before.parent,
                enhancer=self._enhancer,
            )
        self._put(after)
        return replace(draft, after=after)

    def write(self) -> None:
        """Write what was taken."""
        self._change.remove("prompts", self._gone)
        self._change.put_prompts(self._changed.values())

    def _beside(self, before: PromptRecord, prompt: Prompt, *, is_older: bool) -> PromptRecord:
        known = self._known(prompt.id)
        if known and (known.parent or known.enhancer or is_older):
            return known
        made = known or replace(before, prompt=prompt, name=self._name(before.name))
        parent = "" if is_older else before.prompt.id
        return replace(made, parent=parent, enhancer=self._enhancer)

    def _remove(self, before: PromptRecord) -> None:
        """Remove a prompt; what was made of it gets its parent."""
        for key in self._children.pop(before.prompt.id, ()):
            heir = self._known(key)
            if heir and heir.parent == before.prompt.id:
                self._put(replace(heir, parent="" if before.parent == key else before.parent))
        self._changed.pop(before.prompt.id, None)
        self._gone.add(before.prompt.id)

    def _put(self, record: PromptRecord) -> None:
        key = record.prompt.id
        known = self._known(key)
        if record == known:
            return
        if record.parent and not (known and known.parent == record.parent):
            self._children.setdefault(record.parent, []).append(key)
        self._changed[key] = record
        self._gone.discard(key)

    def _known(self, prompt_id: str) -> PromptRecord | None:
        if prompt_id in self._gone:
            return None
        return self._changed.get(prompt_id) or self._change.prompt(prompt_id)

    def _ancestors(self, record: PromptRecord) -> set[str]:
        """Return the ids of what a prompt was made of; the last may be gone."""
        found: set[str] = set()
        known: PromptRecord | None = record
        while known and known.parent and known.parent not in found:
            found.add(known.parent)
            known = self._known(known.parent)
        return found

    def _name(self, before: str) -> str:
        """Return `<name>_enhanced`, with a number behind it where another prompt has that."""
        stem = f"{_SUFFIX.sub('', before)[: MAX_NAME - len('_enhanced99999')]}_enhanced"
        # Prompts of many videos have one name: none counts from 1 again.
        number = self._numbers.get(stem, 1)
        while (name := stem if number == 1 else f"{stem}{number}") in self._names:
            number += 1
        self._numbers[stem] = number + 1
        self._names.add(name)
        return name


def _named(prompt_ids: Sequence[str], known: Snapshot) -> tuple[PromptRecord, ...]:
    """Return the prompts of ids, each once; UsageError names all that cannot be enhanced."""
    ids = delete.resolved(prompt_ids, known.prompts, "prompt")
    records = tuple(known.prompts[each] for each in ids)
    refused = [each.prompt.id for each in records if RUN in each.prompt.inputs]
    if refused:
        raise UsageError(
            f"not for enhance, but for upscale: {schema.listed(refused)}; nothing was done",
            hint="enhance the prompt of the run before it, or say words: cosmos-jobs upscale"
            " rs_… --prompt TEXT",
        )
    return records


def _replaceable(records: Iterable[PromptRecord], used: Collection[str]) -> None:
    """Raise AnswerIsNo when one of the prompts has runs: they say which text made them."""
    having = [each.prompt.id for each in records if each.prompt.id in used]
    if having:
        more = f" and {len(having) - 1:,} more" if having[1:] else ""
        raise AnswerIsNo(
            f"the text of {having[0]}{more} stays: videos were asked of it, and they keep their"
            " prompt",
            hint="make a new prompt beside it: leave out --overwrite",
        )


def _key(record: PromptRecord, by: Detailer) -> str:
    return identity.enhanced(record.prompt.text, record.prompt.inputs, by)


def _answered(enhancer: Enhancer, requests: Sequence[Request]) -> Mapping[str, Answer]:
    return dict(_asked(enhancer, requests))


def _asked(enhancer: Enhancer, requests: Sequence[Request]) -> Iterable[tuple[str, Answer]]:
    """Yield what an enhancer answers; whatever one of another package raises is its error."""
    if not requests:
        return
    try:
        yield from enhancer.enhance(requests)
    except CosmosJobsError:
        raise
    except Exception as error:
        if type(enhancer).__module__.startswith("cosmos_jobs."):
            raise
        raise EngineError(f"{enhancer.name} failed: {type(error).__name__}: {error}") from error
