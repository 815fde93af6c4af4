"""Batches: every run once, few model loads, the same ids everywhere."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cosmos_jobs.core.batch import Batch
from cosmos_jobs.core.run import Run
from cosmos_jobs.plan import batching

ENGINES = ("preview", "transfer1")


def run(number: int, prompt: int = 0, engine: str = "preview", resolution: int = 720) -> Run:
    params = {"resolution": resolution}
    return Run(f"rs_{number:016}", f"ps_{prompt:016}", engine, 1, {"edge": 1}, params)


def key(run: Run) -> str:
    return str(run.params["resolution"])


def grouped(
    runs: list[Run],
    attempts: dict[str, int] | None = None,
    target: str = "local",
    max_batch: int = 4,
) -> tuple[Batch, ...]:
    return batching.group(runs, attempts or {}, target, key, max_batch)


many = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(ENGINES), st.sampled_from([256, 720])),
    max_size=30,
).map(lambda parts: [run(number, *each) for number, each in enumerate(parts)])


@given(many, st.integers(1, 7))
def test_each_run_is_in_one_batch_with_its_like(runs: list[Run], max_batch: int) -> None:
    batches = grouped(runs, max_batch=max_batch)

    by_id = {each.id: each for each in runs}
    placed = [run_id for batch in batches for run_id in batch.runs]
    assert sorted(placed) == sorted(by_id)
    assert all(1 <= len(batch.runs) <= max_batch for batch in batches)
    for batch in batches:
        members = [by_id[run_id] for run_id in batch.runs]
        assert {(each.engine, key(each)) for each in members} == {(batch.engine, key(members[0]))}


@given(many, st.integers(1, 7))
def test_there_are_no_more_batches_than_needed(runs: list[Run], max_batch: int) -> None:
    sizes: dict[tuple[str, str], int] = {}
    for each in runs:
        sizes[each.engine, key(each)] = sizes.get((each.engine, key(each)), 0) + 1

    batches = grouped(runs, max_batch=max_batch)

    assert len(batches) == sum(-(-size // max_batch) for size in sizes.values())


@given(many)
def test_runs_of_a_prompt_stand_together_in_the_order_of_the_job(runs: list[Run]) -> None:
    for batch in grouped(runs, max_batch=100):
        prompts = [next(each for each in runs if each.id == one).prompt_id for one in batch.runs]
        blocks = [one for index, one in enumerate(prompts) if prompts[index - 1 : index] != [one]]
        assert len(blocks) == len(set(blocks))
        for prompt in set(prompts):
            members = [one for one, of in zip(batch.runs, prompts, strict=True) if of == prompt]
            assert members == sorted(members)


@given(many)
def test_ids_do_not_depend_on_the_target(runs: list[Run]) -> None:
    here, there = (grouped(runs, target=name) for name in ("local", "h100"))

    assert [each.id for each in here] == [each.id for each in there]
    assert [replace(each, target="local") for each in there] == list(here)


def test_batches_have_different_ids() -> None:
    ids = [batch.id for batch in grouped([run(number) for number in range(20)], max_batch=3)]

    assert len(set(ids)) == 7
    assert all(each.startswith("ba_") and len(each) == 19 for each in ids)


def test_a_retry_is_another_batch() -> None:
    runs = [run(1), run(2)]

    first, second, third = (grouped(runs, {runs[0].id: tried})[0] for tried in (0, 1, 2))

    assert len({first.id, second.id, third.id}) == 3
    assert first.runs == second.runs == third.runs


def test_nothing_makes_no_batch() -> None:
    assert grouped([]) == ()


def test_a_batch_after_one_of_others_is_another_one_for_everybody() -> None:
    runs = [run(1), run(2)]
    before = {runs[0].id: "ba_1"}

    first = grouped(runs)
    after = [batching.group(runs, {}, target, key, 4, before) for target in ("local", "h100")]

    assert first[0].id != after[0][0].id
    assert after[0][0].id == after[1][0].id


def test_work_is_spread_over_gpus_that_would_be_idle() -> None:
    many = [run(number, resolution=number) for number in range(20)]

    def sizes(slots: int, kinds: int = 1) -> list[int]:
        def kind(each: Run) -> str:
            return str(int(key(each)) % kinds)

        made = batching.group(many, {}, "gpu", kind, 50, slots=slots)
        return [len(batch.runs) for batch in made]

    assert sizes(1) == [20]
    assert sizes(8) == [3, 3, 3, 3, 3, 3, 2]
    assert sizes(100) == [1] * 20
    # Two kinds of batches keep two GPUs busy as they are.
    assert sizes(2, kinds=2) == [10, 10]
    assert sizes(4, kinds=2) == [5, 5, 5, 5]
