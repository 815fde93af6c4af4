"""What a plan will cost, as far as NVIDIA's tables and the past tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_jobs.core.batch import Batch
from cosmos_jobs.core.record import Attempt, PromptRecord, Record, State
from cosmos_jobs.core.run import Prompt, Run, Scalar
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.plan import estimate
from cosmos_jobs.plan.estimate import Expected, Fit, History, Machine, Work
from cosmos_jobs.plan.model import Estimate

FRAMES = 121
LOCAL = Machine("local")
B200 = Machine("b200", "B200", 1)
EMPTY = History(Snapshot({}, {}, {}, {}))
T25: dict[str, Scalar] = {
    "num_steps": 35,
    "num_video_frames_per_chunk": 93,
    "num_conditional_frames": 1,
    "resolution": "720",
    "max_frames": None,
    "distilled": False,
}


def run(name: str = "rs_x", engine: str = "transfer2.5", **params: Scalar) -> Run:
    given = {**T25, **({"checkpoint": "Cosmos3-Nano"} if engine == "cosmos3" else {}), **params}
    return Run(name, "ps_x", engine, 1, {"edge": 1.0}, given)


def seconds(gpu: str, gpus: int = 1, frames: int = FRAMES, **changes: Scalar) -> float | None:
    return estimate.expected_s(run(**changes), frames, gpu, gpus)  # type: ignore[arg-type]


class Past:
    """A store that is filled batch by batch."""

    def __init__(self, engine: str = "transfer2.5", frames: int = FRAMES) -> None:
        self.engine = engine
        prompt = PromptRecord(
            prompt=Prompt("ps_x", "", "", {}), name="golden", video="pier", files={}, frames=frames
        )
        self.known = Snapshot({}, {}, {"ps_x": prompt}, {})

    def add(
        self,
        runs: int,
        wall_s: float,
        *,
        target: str = "b200",
        gpu: str = "0",
        gpu_name: str = "NVIDIA B200",
        state: State = State.SUCCEEDED,
        **params: Scalar,
    ) -> Past:
        """Add a batch whose runs finish one after the other; the last of them as `state`."""
        known, number = self.known, len(self.known.batches)
        ids = tuple(f"rs_{number}_{each}" for each in range(runs))
        states = {**dict.fromkeys(ids, State.SUCCEEDED), ids[-1]: state}
        batch = Batch(f"ba_{number}", self.engine, target, ids, done=True)
        attempts = {
            each: Attempt(
                *(batch.id, target, states[each], 100.0, 100.0 + wall_s * (place + 1) / runs),
                gpu=gpu,
                gpu_name=gpu_name,
            )
            for place, each in enumerate(ids)
        }
        records = {
            each: Record(
                run(each, self.engine, **params), {}, states[each], attempts=(attempts[each],)
            )
            for each in ids
        }
        self.known = replace(
            known,
            runs={**known.runs, **records},
            states={**known.states, **states},
            batches={**known.batches, batch.id: batch},
        )
        return self

    def fit(self, machine: Machine = B200, **params: Scalar) -> Fit | None:
        return History(self.known).fit(run("rs_new", self.engine, **params), machine)

    def expected(self, runs: int, machine: Machine = B200, **params: Scalar) -> Expected:
        return estimate.expected(works(runs, self.engine, **params), History(self.known), machine)


def works(count: int, engine: str = "transfer2.5", **params: Scalar) -> list[Work]:
    return [(run(f"rs_new_{n}", engine, **params), FRAMES) for n in range(count)]


def on_cpu(past: Past, runs: int, wall_s: float, **changes: str) -> Past:
    return past.add(runs, wall_s, gpu="", gpu_name="", **{"target": "local", **changes})  # type: ignore[arg-type]


# --- NVIDIA's tables ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpu", "gpus", "expected"),
    [
        ("NVIDIA B200", 1, 186.92),
        ("B200", 4, 62.3),
        ("b200", 8, 41.8),
        ("NVIDIA H100 PCIe", 1, 533.58),
        ("NVIDIA H100 NVL", 1, 895.33),
        ("H100-NVL", 8, 92.5),
        ("NVIDIA H20", 1, 1370.39),
        ("NVIDIA H200 NVL", 1, 374.4),
        ("NVIDIA B300 SXM6 AC", 4, 127.7),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 8, 118.8),
    ],
)
def test_two_chunks_of_transfer2_5_take_what_nvidia_published(
    gpu: str, gpus: int, expected: float
) -> None:
    assert seconds(gpu, gpus) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("gpu", "gpus"),
    [
        ("", 1),
        ("NVIDIA H100 80GB HBM3", 1),
        ("NVIDIA H100", 1),
        ("NVIDIA H200", 1),
        ("NVIDIA A100-SXM4-80GB", 1),
        ("NVIDIA GB200", 1),
        ("NVIDIA H100 PCIe", 4),
        ("NVIDIA B200", 0),
        ("NVIDIA B200", 16),
    ],
)
def test_a_gpu_that_nvidia_did_not_measure_has_no_time(gpu: str, gpus: int) -> None:
    assert seconds(gpu, gpus) is None


def test_a_distilled_run_goes_by_its_own_table_whatever_its_steps() -> None:
    assert seconds("B200", distilled=True) == pytest.approx(24.2)
    assert seconds("B200", distilled=True, num_steps=50) == pytest.approx(24.2)
    assert seconds("H100 PCIe", distilled=True) is None


def test_cosmos3_goes_by_its_own_table_of_189_frames_at_once() -> None:
    at_once: dict[str, Scalar] = {"engine": "cosmos3", "num_video_frames_per_chunk": 189}

    assert seconds("NVIDIA H100 80GB HBM3", 1, 189, **at_once) == pytest.approx(207.8)
    assert seconds("H200", 1, 189, **at_once) == pytest.approx(214.3)
    assert seconds("H100", 8, 189, **at_once) == pytest.approx(41.8)
    assert seconds("H100", 1, 93, engine="cosmos3") == pytest.approx(207.8 / 2)
    assert seconds("H100", 1, 93, engine="cosmos3", checkpoint="Cosmos3-Super") is None


@pytest.mark.parametrize("engine", ["transfer1", "preview"])
def test_engines_without_a_table_have_no_time(engine: str) -> None:
    assert seconds("B200", engine=engine) is None


@pytest.mark.parametrize(
    ("frames", "changes", "chunks"),
    [
        (1, {}, 1 / 24),
        (16, {}, 1),
        (93, {}, 1),
        (94, {}, 2),
        (185, {}, 2),
        (186, {}, 3),
        (184, {"num_conditional_frames": 2}, 2),
        (185, {"num_conditional_frames": 2}, 3),
        (500, {"max_frames": 93}, 1),
        (9000, {}, 55),
        (93, {"num_video_frames_per_chunk": 1, "num_conditional_frames": 1}, 93 / 24),
    ],
)
def test_time_grows_with_the_chunks(frames: int, changes: dict[str, Scalar], chunks: float) -> None:
    assert seconds("B200", 1, frames, **changes) == pytest.approx(186.92 / 2 * chunks)


def test_steps_and_pixels_count_in_proportion() -> None:
    assert seconds("B200", num_steps=70) == pytest.approx(2 * 186.92)
    assert seconds("B200", resolution="256") == pytest.approx(186.92 * (320 * 192) / (1280 * 704))


def test_without_the_frames_there_is_no_time() -> None:
    assert seconds("B200", frames=0) is None


def test_between_the_numbers_of_gpus_a_power_law_holds() -> None:
    two = seconds("B200", 2)

    # Halfway between 1 and 4, as powers of 2 go.
    assert two == pytest.approx((186.92 * 62.3) ** 0.5)


@given(st.sampled_from(["B200", "H20", "B300", "RTX PRO 6000"]), st.integers(1, 7))
def test_more_gpus_are_quicker(gpu: str, gpus: int) -> None:
    fewer, more = seconds(gpu, gpus), seconds(gpu, gpus + 1)

    assert fewer is not None
    assert more is not None
    assert more < fewer


# --- what the store remembers ---------------------------------------------------------------


def test_the_load_of_the_model_is_told_from_batches_of_different_size() -> None:
    past = Past("transfer1").add(1, 160).add(10, 700).add(4, 340)

    expected = past.expected(20)

    assert expected.seconds == pytest.approx(100 + 20 * 60)
    assert (expected.low_s, expected.high_s) == pytest.approx((1300, 1300))
    assert (expected.unknown, expected.tables, expected.batches) == (0, 0, 3)


def test_one_odd_batch_spoils_neither_the_load_nor_the_rest() -> None:
    past = Past("transfer1").add(1, 160).add(10, 700).add(4, 340).add(7, 520).add(5, 90_000)

    assert past.expected(20).seconds == pytest.approx(1300, rel=0.1)


def test_batches_of_one_size_have_their_load_spread_over_their_runs() -> None:
    fit = Past().add(2, 400).add(2, 440).add(2, 420).fit()

    assert fit is not None
    assert fit.load_s == 0
    assert fit.scale == pytest.approx(420 / (2 * 186.92))


def test_batches_of_nearly_one_size_tell_no_load_either() -> None:
    fit = Past("transfer1").add(20, 2100).add(21, 2110).fit()

    assert fit is not None
    assert fit.load_s == 0


def test_a_load_below_nothing_is_none() -> None:
    fit = Past("transfer1").add(1, 10).add(10, 400).fit()

    assert fit is not None
    assert fit.load_s == 0


def test_the_range_is_everything_of_few_batches_and_the_middle_half_of_many() -> None:
    few, many = Past(), Past()
    for wall_s in (300, 400, 500):
        few.add(2, wall_s)
    for wall_s in (100, 300, 390, 400, 410, 500, 9000):
        many.add(2, wall_s)

    found, better = few.fit(), many.fit()

    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.75, 1.25))
    assert better is not None
    assert (better.low, better.high) == pytest.approx((345 / 400, 455 / 400))


def test_history_corrects_a_table_and_keeps_its_proportions() -> None:
    past = Past().add(1, 2 * 186.92).add(1, 2 * 186.92)

    assert past.expected(1).seconds == pytest.approx(2 * 186.92)
    assert past.expected(1, num_steps=70).seconds == pytest.approx(4 * 186.92)
    assert past.expected(1).tables == 0


def test_without_a_history_the_table_says_it_and_without_both_nobody_does() -> None:
    assert Past().expected(3) == Expected(3 * 186.92, 3 * 186.92, 3 * 186.92, 0, 3, 0)
    assert Past("transfer1").expected(3) == Expected(unknown=3)


def test_only_the_same_engine_and_gpu_count() -> None:
    past = Past("transfer1").add(4, 400)

    assert past.fit(Machine("other", "NVIDIA B200", 1)) is not None
    assert past.fit(Machine("other", "B200", 1)) is not None
    assert past.fit(Machine("other", "H100 PCIe", 1)) is None
    assert past.fit(Machine("other", "", 1)) is None
    assert History(past.known).fit(run(engine="transfer2.5"), B200) is None


def test_where_no_gpu_is_named_the_target_decides() -> None:
    past = Past("transfer1").add(4, 400, gpu_name="")

    assert past.fit(Machine("b200", "", 1)) is not None
    assert past.fit(Machine("b200", "B200", 1)) is not None
    assert past.fit(Machine("other", "", 1)) is None


def test_another_number_of_gpus_counts_only_where_a_table_compares_them() -> None:
    four = Machine("b200", "B200", 4)

    assert Past("transfer1").add(4, 400).fit(four) is None
    assert Past().add(1, 2 * 186.92).expected(1, four).seconds == pytest.approx(2 * 62.3)


def test_other_models_of_an_engine_count_for_themselves() -> None:
    past = Past("transfer1").add(4, 400)

    assert past.fit(distilled=True) is None
    assert past.fit(upscale=0.5) is None


@pytest.mark.parametrize("state", [state for state in State if state is not State.SUCCEEDED])
def test_batches_that_did_not_succeed_say_nothing(state: State) -> None:
    assert Past("transfer1").add(3, 400, state=state).fit() is None


def test_a_batch_whose_run_was_made_later_says_nothing() -> None:
    past = Past("transfer1").add(2, 400).add(1, 70)
    later = replace(
        past.known.runs["rs_0_1"],
        attempts=(past.known.runs["rs_0_1"].attempts[0], past.known.runs["rs_1_0"].attempts[0]),
    )
    past.known = replace(past.known, runs={**past.known.runs, "rs_0_1": later})

    fit = past.fit()

    assert fit is not None
    assert fit.batches == 1


def test_records_without_times_say_nothing() -> None:
    past = Past("transfer1").add(1, 400).add(1, 400).add(1, 0)
    attempt = Attempt("ba_1", "b200", State.SUCCEEDED)
    never = replace(past.known.runs["rs_0_0"], attempts=())
    untimed = replace(past.known.runs["rs_1_0"], attempts=(attempt,))
    runs = {**past.known.runs, "rs_0_0": never, "rs_1_0": untimed}
    past.known = replace(past.known, runs=runs)

    assert past.fit() is None


def test_only_the_newest_batches_count() -> None:
    past = Past("transfer1")
    for _ in range(estimate.RECENT):
        past.add(1, 9000)
    for _ in range(estimate.RECENT):
        past.add(1, 60)

    assert past.expected(1).seconds == pytest.approx(60)


def test_previews_count_alike_on_their_own_target() -> None:
    past = on_cpu(on_cpu(on_cpu(Past("preview"), 4, 400), 4, 440), 1, 90_000)

    assert past.expected(2, LOCAL).seconds == pytest.approx(220)
    assert past.expected(2, LOCAL, num_steps=70).seconds == pytest.approx(220)
    assert past.fit(Machine("h100")) is None


def test_previews_do_not_care_for_the_gpus_of_their_target() -> None:
    past = Past("preview").add(2, 60, gpu="0 1", gpu_name="NVIDIA H100 NVL")

    assert past.expected(1, B200).seconds == pytest.approx(30)


def test_what_nvidia_smi_told_counts_unless_the_file_names_another_gpu() -> None:
    history = History(Past("transfer1").add(1, 60, gpu_name="NVIDIA H100 NVL").known)

    assert history.machine("b200", "", 1) == Machine("b200", "NVIDIA H100 NVL", 1)
    assert history.machine("b200", "h100", 1) == Machine("b200", "NVIDIA H100 NVL", 1)
    assert history.machine("b200", "H200", 1) == Machine("b200", "H200", 1)
    assert history.machine("other", "H200", 1) == Machine("other", "H200", 1)


@given(st.lists(st.tuples(st.floats(0.1, 1e6), st.floats(0.1, 1e6)), min_size=1, max_size=12))
def test_a_fit_never_promises_less_than_nothing(measured: list[tuple[float, float]]) -> None:
    fit = estimate.fitted(measured)

    assert fit is not None
    assert fit.load_s >= 0
    assert fit.scale > 0
    assert 0 <= fit.low <= 1 <= fit.high
    assert fit.batches == len(measured)


def test_of_100_000_records_few_are_read_and_none_is_twice() -> None:
    class Counting(dict[str, Record]):
        read = 0

        def __getitem__(self, key: str) -> Record:
            Counting.read += 1
            return super().__getitem__(key)

    past = Past("transfer1").add(50, 3000)
    records = [past.known.runs[f"rs_0_{n}"] for n in range(50)]
    attempts = [record.attempts[0] for record in records]
    runs, batches = Counting(), {}
    for number in range(2000):
        batch = Batch(
            f"ba_{number}", "transfer1", "b200", tuple(f"{number}_{n}" for n in range(50))
        )
        batches[batch.id] = batch
        for name, record, attempt in zip(batch.runs, records, attempts, strict=True):
            runs[name] = replace(record, attempts=(replace(attempt, batch=batch.id),))
    known = replace(
        past.known, runs=runs, states=dict.fromkeys(runs, State.SUCCEEDED), batches=batches
    )

    history = History(known)
    fits = {history.fit(run(engine="transfer1"), B200) for _ in range(1000)}

    assert len(fits) == 1
    assert Counting.read <= estimate.RECENT * 51


# --- what is to come ------------------------------------------------------------------------


def test_a_batch_may_take_a_multiple_of_its_load_and_its_work() -> None:
    past = Past("transfer1").add(1, 160).add(10, 700)

    assert estimate.limit_s(past.expected(5), 3, ()) == 3 * (100 + 5 * 60)
    assert estimate.limit_s(past.expected(1), 3, ()) == estimate.MIN_LIMIT_S


def test_a_first_start_may_download_a_model_and_what_is_unknown_ends_some_day() -> None:
    by_table = estimate.limit_s(Past().expected(10), 3, ())
    one, long = (run(engine="transfer1"), 121), (run(engine="transfer1"), 1000)
    unknown = [
        estimate.limit_s(Past("transfer1").expected(2), 3, works) for works in ([one], [one, long])
    ]

    assert by_table == 5608 + estimate.FIRST_START_S
    assert unknown == [estimate.FIRST_START_S + 3600 * chunks for chunks in (1, 10)]


def hourly(batches: Sequence[int], slots: int = 1, gpus: int = 0, price: float = 0.0) -> Estimate:
    """Return the estimate of batches of so many runs, of which each takes an hour."""
    machine = Machine("b200", "B200", gpus)
    past = Past("transfer1").add(1, 3600, gpu=" ".join(map(str, range(gpus))))
    groups = [works(count, "transfer1") for count in batches]
    return estimate.estimate(groups, History(past.known), machine, slots, price)


def test_batches_are_spread_over_the_slots_and_a_batch_is_not_divided() -> None:
    assert hourly([4, 4, 2], slots=2).wall_s == 6 * 3600
    assert hourly([8], slots=4).wall_s == 8 * 3600
    assert hourly([1] * 9, slots=8).wall_s == 2 * 3600
    assert hourly([]).wall_s == 0


def test_each_batch_pays_one_load_of_the_model() -> None:
    history = History(Past("transfer1").add(1, 160).add(10, 700).known)

    cost = estimate.estimate([works(5, "transfer1"), works(5, "transfer1")], history, B200, 2)

    assert cost.wall_s == pytest.approx(100 + 5 * 60)
    assert cost.gpu_hours == pytest.approx(2 * (100 + 5 * 60) / 3600)


def test_hours_cost_what_the_target_says() -> None:
    cost = hourly([2, 2], slots=2, gpus=4, price=2.5)

    assert (cost.wall_s, cost.gpu_hours, cost.price) == (7200.0, 16.0, 40.0)
    assert estimate.total([("a", cost), ("b", cost)]).price == 80.0


def test_without_a_history_nothing_is_promised() -> None:
    groups = [works(8, "transfer1")]

    assert estimate.estimate(groups, EMPTY, B200, 4) == Estimate(8, 8, 0.0, 0.0)


def test_an_estimate_says_what_it_goes_by_and_its_range() -> None:
    by_table = estimate.estimate([works(2)], EMPTY, B200, 1)
    history = History(Past().add(2, 300).add(2, 500).known)
    measured = estimate.estimate([works(2)], history, B200, 1)

    assert (by_table.tables, by_table.batches) == (2, 0)
    assert (measured.tables, measured.batches) == (0, 2)
    assert (measured.low, measured.high) == pytest.approx((0.75, 1.25))


def test_targets_work_at_the_same_time_and_each_does_one_job_after_the_other() -> None:
    total = estimate.total(
        [
            ("local", Estimate(2, 0, 60.0, 0.5)),
            ("h100", Estimate(3, 1, 90.0, 0.25)),
            ("local", Estimate(1, 0, 50.0, 0.25)),
        ]
    )

    assert total == Estimate(6, 1, 110.0, 1.0)


def test_the_range_of_a_sum_is_weighed_and_its_sources_are_kept() -> None:
    total = estimate.total(
        [
            ("a", Estimate(1, 0, 300.0, low=0.8, high=1.2, batches=5)),
            ("b", Estimate(2, 0, 100.0, tables=2)),
        ]
    )

    assert (total.low, total.high) == pytest.approx((0.85, 1.15))
    assert (total.tables, total.batches) == (2, 5)
