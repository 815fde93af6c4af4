"""Operations that have prompts written in more detail."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cosmos_jobs import enhancers
from cosmos_jobs.config import schema
from cosmos_jobs.core import identity
from cosmos_jobs.core.batch import CONNECT_TIMEOUT_S
from cosmos_jobs.core.errand import Errand
from cosmos_jobs.core.job import Detailer, Enhanced
from cosmos_jobs.core.record import Enhancement, PromptRecord
from cosmos_jobs.core.run import RUN, Prompt
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.enhancers.base import Answer, Enhancer, Request
from cosmos_jobs.errors import AnswerIsNo, CosmosJobsError, EngineError, UsageError
from cosmos_jobs.operations.base import Base, wait
from cosmos_jobs.state import delete

if TYPE_CHECKING:
    from cosmos_jobs.state.store import Transaction

SAVE_S = 1.0
"""How long an answer is in memory only, while others are awaited."""

MAX_NAME = 100
GONE = "it was replaced or deleted meanwhile"
NOT_CALLED = "not asked: a model that costs money or GPU time is asked with --call only"
_SUFFIX = re.compile(r"_enhanced\d*$")


class Enhancing(Base):
    """What can be done with a prompt's words."""

    def enhance_prompt(
        self, prompt_id: str, create_new: bool = True, enhancement_model: str | None = None
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
        (made,) = self.enhance_prompts(
            [prompt_id], create_new=create_new, enhancement_model=enhancement_model
        )
        if made.after is None:
            raise EngineError(
                f"{made.before.prompt.id} is not enhanced: {made.reason}",
                hint="try again, or name another enhancer: --model NAME",
            )
        return made.after

    def enhance_prompts(
        self,
        prompt_ids: Sequence[str],
        *,
        create_new: bool = True,
        enhancement_model: str | None = None,
        force: bool = False,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> tuple[Enhancement, ...]:
        """Do the same with several prompts at once, each of them once.

        One that gets no new text has `after` None and the reason; so has one that
        is replaced or deleted meanwhile. With `force` texts are asked for anew
        that are kept.
        """
        known = self.store.snapshot()
        records = _named(prompt_ids, known)
        if not create_new:
            _replaceable(records, {known.runs[each].run.prompt_id for each in known.runs})
        # What a machine has made of the same prompts before is not asked for then.
        fresh = f"after {known.serial}" if force else ""
        enhancer, by = self._enhancer(enhancement_model or "", connect_timeout_s, fresh)
        keys = {each.prompt.id: _key(each, by) for each in records}
        kept = {} if force else known.enhanced
        wanted = [each for each in records if keys[each.prompt.id] not in kept]
        requests = [self._request(keys[each.prompt.id], each) for each in wanted]
        answers = self._ask(enhancer, requests, replacing=force)

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

        return self.store.change(write)

    def draft_enhancements(
        self, prompt_ids: Sequence[str], *, enhancement_model: str | None = None, call: bool = False
    ) -> tuple[Enhancement, ...]:
        """Return what `enhance_prompts` would write; nothing is written.

        An enhancer that is not free is asked with `call` only.
        """
        known = self.store.snapshot()
        records = _named(prompt_ids, known)
        enhancer, by = self._enhancer(enhancement_model or "", CONNECT_TIMEOUT_S)
        keys = {each.prompt.id: _key(each, by) for each in records}
        answers = {
            key: Answer(known.enhanced[key].text) for key in keys.values() if key in known.enhanced
        }
        wanted = [each for each in records if keys[each.prompt.id] not in answers]
        if enhancer.is_free or call:
            requests = [self._request(keys[each.prompt.id], each) for each in wanted]
            answers |= _answered(enhancer, requests)
        nothing = Answer(reason=NOT_CALLED)
        found = ((each, answers.get(keys[each.prompt.id], nothing)) for each in records)
        return tuple(Enhancement(each, answer.text, answer.reason) for each, answer in found)

    def is_free(self, enhancement_model: str | None = None) -> bool:
        """Say whether an enhancer costs neither money nor GPU time."""
        return self._enhancer(enhancement_model or "", CONNECT_TIMEOUT_S)[0].is_free

    def _enhancer(
        self, wanted: str, connect_timeout_s: float, fresh: str = ""
    ) -> tuple[Enhancer, Detailer]:
        """Return an enhancer, and what its texts depend on; `fresh` makes its errands new ones."""

        def send(errand: Errand) -> str:
            # What reaches machines brings asyncio, and most enhancers need none.
            from cosmos_jobs.targets import remote_task

            work = replace(errand, key=f"{errand.key} {fresh}")
            return wait(remote_task.send(self.project, work, connect_timeout_s))

        made = enhancers.enhancer_of(self.project, wanted, send)
        return made, Detailer(made.name, self.project.enhancing(wanted).kind, made.settings)

    def _request(self, key: str, record: PromptRecord) -> Request:
        path = record.files.get("color")
        video = None if path is None else self.project.root / path
        sha256 = record.prompt.inputs.get("color", "")
        return Request(key, record.prompt.text, record.prompt.negative, video, sha256)

    def _ask(
        self, enhancer: Enhancer, requests: Sequence[Request], *, replacing: bool = False
    ) -> dict[str, Answer]:
        """Return the answers; they are kept as they come, whatever becomes of the others."""
        texts = {each.id: each.text for each in requests}
        answers: dict[str, Answer] = {}
        unsaved: list[Enhanced] = []
        saved = time.monotonic()
        try:
            for key, answer in _asked(enhancer, requests):
                answers[key] = answer
                if answer.text:
                    unsaved.append(Enhanced(key, answer.text, texts[key], enhancer.name))
                if time.monotonic() - saved > SAVE_S:
                    self._keep(unsaved, replacing=replacing)
                    unsaved, saved = [], time.monotonic()
        finally:
            self._keep(unsaved, replacing=replacing)
        return {key: answers.get(key, Answer(reason="it did not answer")) for key in texts}

    def _keep(self, texts: Collection[Enhanced], *, replacing: bool) -> None:
        if texts:
            self.store.change(lambda change: change.put_enhanced(texts, replacing=replacing))


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
