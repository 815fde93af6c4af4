"""What a batch says of itself on a host: enough to take it over, without what became of it."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_jobs.config import schema
from cosmos_jobs.core import identity, serialize
from cosmos_jobs.core.batch import Batch
from cosmos_jobs.core.record import PromptRecord, Record, State
from cosmos_jobs.core.serialize import Described
from cosmos_jobs.state import untrusted
from tests.support.examples import PLAIN, expanded, parsed, record

EXPANSION, _ = expanded(parsed(PLAIN + "params: {seed: [1, 2]}\n"))
RECORDS = tuple(record(each, State.FAILED, "no", attempts=2) for each in EXPANSION.runs[:2])
PROMPTS = tuple(
    PromptRecord(
        prompt=each.prompt,
        name=each.name,
        video=each.video,
        files={"color": "clips/it's.mp4"},
        frames=121,
    )
    for each in EXPANSION.prompts.values()
)
BATCH = Batch("ba_1", "preview", "h100", tuple(each.run.id for each in RECORDS), host="gpu-1")


def test_a_description_brings_back_runs_and_prompts_without_their_history() -> None:
    told = serialize.described(serialize.describe(Described(BATCH, "ann@laptop", RECORDS, PROMPTS)))

    assert told is not None
    assert (told.batch, told.client, told.prompts) == (BATCH, "ann@laptop", PROMPTS)
    assert [each.run for each in told.records] == [each.run for each in RECORDS]
    assert {(each.state, each.attempts) for each in told.records} == {(State.PENDING, ())}
    assert [each.jobs for each in told.records] == [each.jobs for each in RECORDS]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'{"format": 2}', b'{"format": 1}', b"\xff"]
)
def test_what_is_no_description_is_none(data: bytes) -> None:
    assert serialize.described(data) is None


def test_a_machine_cannot_tell_of_what_leads_outside() -> None:
    prompt = identity.prompt("A pier", "", {"color": "0" * 64})
    run = identity.run(prompt.id, schema.contract("preview"), {"edge": 0.5}, {})
    batch = Batch("ba_0123456789abcdef", "preview", "h100", (run.id,))
    evil = Record(run, {"small": "../../x/1", "..": "a/b", "mine": "a/b"})
    named = PromptRecord(
        prompt=prompt, name="../x", video="a", files={"color": "clips/a.mp4"}, frames=121
    )

    taken = untrusted.described(Described(batch, "ann@laptop", (evil,), (named,)), set())

    assert taken is not None
    assert [each.jobs for each in taken.records] == [{"mine": "a/b"}]
    assert [each.name for each in taken.prompts] == ["pier"]


def test_a_batch_with_an_impossible_id_is_none() -> None:
    told = Described(replace(BATCH, id="../../../x"), "ann@laptop", RECORDS, PROMPTS)

    assert untrusted.described(told, set()) is None


@given(st.data())
def test_a_damaged_description_is_none_or_whole(data: st.DataObject) -> None:
    whole = serialize.describe(Described(BATCH, "ann@laptop", RECORDS, PROMPTS))
    document = orjson.loads(whole)
    key = data.draw(st.sampled_from(sorted(document)))
    document[key] = data.draw(st.sampled_from([None, 1, "x", [], {}, [1], {"a": 1}]))

    told = serialize.described(orjson.dumps(document))

    assert told is None or isinstance(told, Described)
