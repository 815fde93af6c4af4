"""Plans as people read them; the golden files are renewed by `pytest --update-golden`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click import unstyle
from hypothesis import given
from hypothesis import strategies as st

from cosmos_jobs.cli.views import plans
from cosmos_jobs.core.job import JobSpec
from cosmos_jobs.core.record import State
from cosmos_jobs.plan.model import Action, Change, Estimate, Plan, Planned
from cosmos_jobs.plan.reasons import Cause, Reason
from tests.conftest import Golden
from tests.support.examples import expanded, parsed, planned, record, snapshot

GOLDEN = Path(__file__).parents[2] / "golden" / "plans"

SUNSETS = """\
prompts:
  golden: A wooden pier at golden hour
  storm: {text: 'A pier in {weather}', negative: cartoon, videos: [pier]}
variables: {weather: [heavy rain, fresh snow]}
weights: {balanced: [0.25, 0.25, 0.25, 0.25], edges: {edge: 0.7, vis: 0.2}}
params: {num_steps: 35}
"""
ONE_VIDEO = """\
prompts: {night: {text: A city at night, videos: [pier]}}
params: {seed: {start: 1, stop: 500, step: 1}}
"""
SWEEP = "prompts: {night: A city at night}\nparams: {seed: {start: 1, stop: 500, step: 1}}\n"


def sunsets(text: str = SUNSETS) -> JobSpec:
    return parsed(text, name="sunsets")


def done(job: JobSpec, *states: tuple[State, str]) -> Planned:
    """Return the plan of a job whose first runs stand as told, and the rest succeeded."""
    expansion, _ = expanded(job)
    told = [*states, *[(State.SUCCEEDED, "")] * len(expansion.runs)]
    pairs = zip(expansion.runs, told, strict=False)
    return planned([job], snapshot([record(each, *state) for each, state in pairs], [expansion]))


def after(before: str, now: str) -> Planned:
    """Return the plan of an edited job of which everything was done before."""
    expansion, _ = expanded(sunsets(before))
    made = [record(each, State.SUCCEEDED) for each in expansion.runs]
    return planned([sunsets(now)], snapshot(made, [expansion]))


def mixed() -> Planned:
    """Return a plan with every action in it."""
    out_of_memory = "CUDA out of memory. Tried to allocate 20.00 GiB (GPU 0; 79.10 GiB total)"
    now = done(
        parsed(SWEEP.replace("500", "20"), name="night"),
        (State.FAILED, out_of_memory),
        (State.LOST, "its process is gone: killed, or the machine restarted"),
        (State.CANCELLED, ""),
        (State.RUNNING, ""),
        (State.RUNNING, ""),
        (State.QUEUED, ""),
        (State.RUNNING, "no contact since 12:04"),
        (State.BLOCKED, "the guardrail refused the prompt"),
        (State.PENDING, ""),
    )
    forced = replace(
        now.plan.changes[-1],
        action=Action.FORCE,
        reason=Reason(Cause.FORCED, state=State.SUCCEEDED),
    )
    gone = Change(
        Action.ORPHAN, "rs_53ed0dea3d76f480", "night", "night/pier-old", Reason(Cause.GONE)
    )
    changes = (*now.plan.changes[:-1], forced, gone)
    return replace(now, plan=replace(now.plan, changes=changes), estimate=Estimate(6, 0, 900, 0.5))


def several() -> Planned:
    jobs = [sunsets(), parsed(SWEEP, name="night")]
    estimate = Estimate(1008, 8, 41_000.0, 45.6)
    refusals = ("night starts 1,000 runs; its limits.max_runs is 200",)
    return planned(jobs, estimate=estimate, refusals=refusals)


EXAMPLES = {
    "new": lambda: planned([sunsets()], estimate=Estimate(8, 8)),
    "nothing": lambda: done(sunsets()),
    "parameter": lambda: replace(
        after(SUNSETS, SUNSETS.replace("35", "50")), estimate=Estimate(8, 0, 312.0, 0.0)
    ),
    "prompt": lambda: replace(
        after(SUNSETS, SUNSETS.replace("wooden pier", "stone pier")),
        estimate=Estimate(4, 0, 44.0, 0.02),
    ),
    "tables": lambda: planned([sunsets()], estimate=Estimate(8, 0, 12_000.0, 2.8, 9.8, tables=8)),
    "measured": lambda: planned(
        [sunsets()], estimate=Estimate(8, 0, 12_000.0, 2.8, 9.8, 0.93, 1.18, 0, 12)
    ),
    "several": several,
    "mixed": mixed,
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_plans_read_as_agreed(name: str, golden: Golden) -> None:
    text = unstyle(plans.text(EXAMPLES[name]()))

    assert all(len(line) <= 80 for line in text.splitlines())
    golden(GOLDEN / f"{name}.txt", f"{text}\n")


def test_a_verbose_plan_reads_as_agreed(golden: Golden) -> None:
    text = unstyle(plans.text(mixed(), verbose=True))

    golden(GOLDEN / "verbose.txt", f"{text}\n")


def test_a_verbose_plan_names_every_run_with_its_id() -> None:
    text = plans.text(several(), verbose=True)

    assert all(f"{each.run.id}  {each.place}" in text for each in several().desired)


def test_colours_are_only_added() -> None:
    coloured = plans.text(mixed())

    assert "\x1b[32m" in coloured
    assert "\x1b" not in unstyle(coloured)


def test_every_action_has_a_symbol_and_a_word() -> None:
    assert set(plans.SYMBOLS) == set(plans.WORDS) == set(Action)


def test_a_list_never_hides_a_single_line() -> None:
    def shown(seeds: int) -> str:
        return plans.text(planned([parsed(ONE_VIDEO.replace("500", str(seeds)))]))

    assert "more" not in shown(plans.SHOWN + 1)
    assert "… and 2 more; -v shows all" in unstyle(shown(plans.SHOWN + 2))


@given(st.text(max_size=300), st.sampled_from(Action), st.booleans())
def test_no_reason_controls_the_terminal_or_breaks_a_line(
    reason: str, action: Action, verbose: bool
) -> None:
    now = planned([parsed(ONE_VIDEO.replace("500", "1"))])
    change = replace(
        now.plan.changes[0], action=action, reason=Reason(Cause.TOLD, f"a\x1b[2J\n{reason}")
    )

    text = unstyle(plans.text(replace(now, plan=Plan((change,), "", 0)), verbose=verbose))

    assert "\x1b" not in text
    assert len(text.split("\n")) <= 6


@pytest.mark.parametrize(
    ("estimate", "said"),
    [
        (Estimate(), ""),
        (Estimate(3, 3), "How long it takes is unknown until the first run."),
        (Estimate(3, 0, 45.0), "It takes about 45 s."),
        (Estimate(3, 0, 45.0, 0.01), "It takes about 45 s (under 0.1 GPU hours)."),
        (
            Estimate(3, 1, 7260.0, 2.0),
            "It takes about 2 h 01 min (2.0 GPU hours), plus 1 run of unknown length.",
        ),
        (Estimate(3, 0, 600.0, low=0.8, high=1.5), "It takes about 10 min (8 min to 15 min)."),
        (Estimate(3, 0, 45.0, low=0.999, high=1.001), "It takes about 45 s."),
        (
            Estimate(3, 0, 7260.0, 2.0, 5.0, 0.9, 1.25),
            "It takes about 2 h 01 min (2.0 GPU hours, 1.8 to 2.5; 5.00 at the target's price).",
        ),
        (
            Estimate(3, 0, 45.0, low=0.999, high=1.001, batches=1),
            "It takes about 45 s, going by 1 batch made before.",
        ),
        (
            Estimate(3, 0, 45.0, tables=3),
            "It takes about 45 s, going by NVIDIA's tables, without guardrails and the start"
            " of the model.",
        ),
        (
            Estimate(3, 0, 45.0, tables=2, batches=12),
            "It takes about 45 s, going by 12 batches made before and by NVIDIA's tables,"
            " without guardrails and the start of the model.",
        ),
    ],
)
def test_the_cost_is_told_as_far_as_it_is_known(estimate: Estimate, said: str) -> None:
    summary = plans.summary(planned([sunsets()], estimate=estimate))

    first, _, cost = summary.partition("\n")
    assert first == "Plan: 8 to run."
    assert cost.replace("\n", " ") == said
    assert all(len(line) <= plans.WIDTH for line in cost.split("\n"))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "1 s"),
        (1.4, "1 s"),
        (89.0, "89 s"),
        (90.0, "2 min"),
        (3600.0, "60 min"),
        (5400.0, "1 h 30 min"),
        (41_000.0, "11 h 23 min"),
        (1_000_000.0, "277 h 47 min"),
    ],
)
def test_times_are_told_for_people(seconds: float, said: str) -> None:
    assert plans.duration(seconds) == said


def test_one_is_not_many() -> None:
    assert plans.plural(1, "run") == "1 run"
    assert plans.plural(0, "run") == "0 runs"
    assert plans.plural(2000, "run") == "2,000 runs"


def test_counts_are_by_action() -> None:
    assert plans.count(mixed(), Action.RETRY, Action.FORCE) == 4
