"""Operations that have prompts written in more detail."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cosmos_jobs import identity, jobfiles
from cosmos_jobs.errors import AnswerIsNo, CosmosJobsError, EngineError
from cosmos_jobs.model import (
    CONNECT_TIMEOUT_S,
    Detailer,
    Enhanced,
    Enhancement,
    PromptRecord,
    Snapshot,
)
from cosmos_jobs.operations.base import Base, unique, wait
from cosmos_jobs.protocols import Answer, Enhancer, Errand, Request

if TYPE_CHECKING:
    from cosmos_jobs.store import Transaction

SAVE_S = 1.0
"""How long an answer is in memory only, while others are awaited."""

MAX_NAME = 100
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
        and name, which must have no runs. `enhancement_model` is an enhancer's
        name or NAME:MODEL, else the project's. A text that was asked for before
        is not asked for again. Where the enhancer leaves the text as it is, the
        prompt itself is returned. Raises UsageError for an unknown id,
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

        One that gets no new text has `after` None and the reason. With `force`
        texts are asked for anew that are kept.
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
        made = []
        with self.store.transaction() as change:
            if not create_new:
                _replaceable(records, change.prompts_with_runs())
            for each in records:
                key = keys[each.prompt.id]
                answer = answers.get(key, Answer())
                # Of two that ask the same at a time, the first one's text is kept for both.
                text = change.enhanced(key) if answer.text or key not in answers else None
                draft = Enhancement(each, text.text if text else "", answer.reason)
                made.append(_recorded(change, draft, enhancer.name, create_new=create_new))
        return tuple(made)

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
            from cosmos_jobs import errands

            work = replace(errand, key=f"{errand.key} {fresh}")
            return wait(errands.send(self.project, work, connect_timeout_s))

        made = jobfiles.enhancer_of(self.project, wanted, send)
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
            with self.store.transaction() as change:
                change.put_enhanced(texts, replacing=replacing)


def _recorded(
    change: Transaction, draft: Enhancement, enhancer: str, *, create_new: bool
) -> Enhancement:
    """Record the prompt of a new text, in the place of the one before unless `create_new`."""
    before = draft.before
    if not draft.text:
        return draft
    prompt = identity.prompt(draft.text, before.prompt.negative, before.prompt.inputs)
    if prompt.id == before.prompt.id:
        return replace(draft, after=before)
    known = change.prompt(prompt.id)
    after = replace(before, prompt=prompt, enhancer=enhancer)
    if not create_new:
        # What was made of the old text loses its parent, and gets that one's.
        heirs = change.children(before.prompt.id)
        change.put_prompts(replace(each, parent=before.parent) for each in heirs)
        change.remove("prompts", [before.prompt.id])
    elif known and (known.parent or known.enhancer or before.parent == prompt.id):
        return replace(draft, after=known)
    else:
        name = known.name if known else _name(before.name, change.names())
        after = replace(after, parent=before.prompt.id, name=name)
    change.put_prompts([after])
    return replace(draft, after=after)


def _named(prompt_ids: Sequence[str], known: Snapshot) -> tuple[PromptRecord, ...]:
    """Return the prompts of ids, each once."""
    found = dict.fromkeys(unique(each, known.prompts, "prompt") for each in prompt_ids)
    return tuple(known.prompts[each] for each in found)


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


def _name(before: str, taken: Collection[str]) -> str:
    """Return `<name>_enhanced`, with a number behind it where another prompt has that."""
    stem = f"{_SUFFIX.sub('', before)[: MAX_NAME - len('_enhanced999')]}_enhanced"
    number = 1
    while (name := stem if number == 1 else f"{stem}{number}") in taken:
        number += 1
    return name
