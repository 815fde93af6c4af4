"""A plan says what will happen to each run, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cosmos_jobs.cli.views.reasons import text as worded
from cosmos_jobs.core.job import Expansion, JobInputs
from cosmos_jobs.core.record import State
from cosmos_jobs.core.run import InputFile
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.plan import diff
from cosmos_jobs.plan.model import Action, Change, Plan
from cosmos_jobs.plan.reasons import Cause, Difference, Part, Reason
from tests.support.examples import PLAIN, expanded, file, parsed, record, snapshot

BODY = PLAIN + "params: {num_steps: 35}\n"


def expansion(body: str = BODY, name: str = "x", files: JobInputs | None = None) -> Expansion:
    return expanded(parsed(body, name=name), files)[0]


def planned(
    now: Expansion,
    known: Snapshot,
    *,
    missing: tuple[str, ...] = (),
    force: bool = False,
    partial: bool = False,
) -> Plan:
    return diff.diff(now.runs, now.prompts, known, missing=missing, force=force, partial=partial)


def done(*before: Expansion) -> Snapshot:
    """Return a store in which everything that these jobs asked for was made."""
    made = [record(each, State.SUCCEEDED) for one in before for each in one.runs]
    return snapshot(made, before)


def in_state(now: Expansion, state: State, reason: str = "") -> Snapshot:
    return snapshot([record(each, state, reason) for each in now.runs], [now])


def verdicts(made: Plan) -> set[tuple[Action, str]]:
    return {(change.action, worded(change.reason)) for change in made.changes}


def reasons(made: Plan) -> set[str]:
    return {worded(change.reason) for change in diff.starts(made)}


# --- what happens -------------------------------------------------------------------------


def test_runs_that_nobody_knows_are_new() -> None:
    now = expansion()

    made = planned(now, snapshot(()))

    assert verdicts(made) == {(Action.CREATE, "new")}
    assert [change.run_id for change in made.changes] == [each.run.id for each in now.runs]
    assert (made.lineage, made.serial) == ("lineage", 7)


def test_what_is_done_is_left_alone() -> None:
    now = expansion()

    assert verdicts(planned(now, done(now))) == {(Action.KEEP, "up to date")}


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        (State.PENDING, "", (Action.CREATE, "new")),
        (State.QUEUED, "", (Action.WAIT, "queued")),
        (State.RUNNING, "", (Action.WAIT, "running")),
        (State.RUNNING, "no contact since 12:00", (Action.WAIT, "no contact since 12:00")),
        (State.SUCCEEDED, "", (Action.KEEP, "up to date")),
        (State.FAILED, "out of memory", (Action.RETRY, "failed: out of memory")),
        (State.LOST, "", (Action.RETRY, "lost")),
        (State.CANCELLED, "cancelled", (Action.RETRY, "cancelled: cancelled")),
        (State.BLOCKED, "guardrail", (Action.BLOCKED, "guardrail")),
    ],
)
def test_each_state_has_its_action(state: State, reason: str, expected: tuple[Action, str]) -> None:
    now = expansion()

    assert verdicts(planned(now, in_state(now, state, reason))) == {expected}


@pytest.mark.parametrize(
    ("state", "action"),
    [
        (State.PENDING, Action.CREATE),
        (State.QUEUED, Action.WAIT),
        (State.RUNNING, Action.WAIT),
        (State.SUCCEEDED, Action.FORCE),
        (State.FAILED, Action.RETRY),
        (State.LOST, Action.RETRY),
        (State.CANCELLED, Action.RETRY),
        (State.BLOCKED, Action.FORCE),
    ],
)
def test_force_runs_all_again_but_what_is_in_flight(state: State, action: Action) -> None:
    now = expansion()

    made = planned(now, in_state(now, state), force=True)

    assert {change.action for change in made.changes} == {action}


def test_every_state_has_an_action() -> None:
    now = expansion()

    for force in (True, False):
        for state in State:
            assert len(planned(now, in_state(now, state), force=force).changes) == 2


def test_a_missing_output_is_made_again() -> None:
    now = expansion()
    gone = now.runs[0].run.id

    made = planned(now, done(now), missing=(gone,))

    assert [(change.action, worded(change.reason)) for change in made.changes] == [
        (Action.RETRY, "its video is missing or damaged"),
        (Action.KEEP, "up to date"),
    ]
    assert made.changes[0].attempts == 1


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State.PENDING, (Action.TAKE, "published")),
        (State.FAILED, (Action.TAKE, "published")),
        (State.QUEUED, (Action.WAIT, "queued")),
        (State.BLOCKED, (Action.BLOCKED, "")),
        (State.SUCCEEDED, (Action.KEEP, "up to date")),
    ],
)
def test_what_others_have_published_is_not_made(state: State, expected: tuple[Action, str]) -> None:
    now = expansion()
    published = {each.run.id for each in now.runs}

    made = diff.diff(now.runs, now.prompts, in_state(now, state), published=published)
    forced = diff.diff(now.runs, now.prompts, in_state(now, state), published=published, force=True)

    assert verdicts(made) == {expected}
    assert not diff.taken(forced)


def test_what_is_published_but_cannot_be_taken_is_made() -> None:
    now = expansion()
    one, other = (each.run.id for each in now.runs)
    known = in_state(now, State.FAILED)
    made = diff.diff(now.runs, now.prompts, known, published=(one, other))

    left = diff.without(made, {one})

    assert diff.taken(made) == (one, other)
    assert diff.taken(left) == (other,)
    (change,) = diff.starts(left)
    assert (change.run_id, change.action, change.attempts) == (one, Action.RETRY, 1)


def test_a_start_knows_how_often_its_run_was_tried() -> None:
    now = expansion()
    known = snapshot([record(each, State.FAILED, attempts=3) for each in now.runs])

    assert {change.attempts for change in planned(now, known).changes} == {3}


def test_a_run_of_two_jobs_starts_once() -> None:
    one, other = expansion(name="one"), expansion(name="other")

    made = diff.diff([*one.runs, *other.runs], {**one.prompts, **other.prompts}, snapshot(()))

    assert [(change.job, change.action, worded(change.reason)) for change in made.changes] == [
        ("one", Action.CREATE, "new"),
        ("one", Action.CREATE, "new"),
        ("other", Action.KEEP, "the same run as in one"),
        ("other", Action.KEEP, "the same run as in one"),
    ]
    assert diff.count(made)[Action.CREATE] == 2


# --- why ----------------------------------------------------------------------------------


def test_a_changed_parameter_is_told_with_both_values() -> None:
    before, now = expansion(), expansion(BODY.replace("35", "50"))

    assert reasons(planned(now, done(before))) == {"num_steps 35 → 50"}


def test_several_changes_are_all_told() -> None:
    before = expansion()
    now = expansion(PLAIN + "params: {num_steps: 50, guidance: 7.5, max_frames: 9}\n")

    assert reasons(planned(now, done(before))) == {
        "max_frames none → 9, num_steps 35 → 50, guidance 3 → 7.5"
    }


def test_changed_weights_are_told() -> None:
    before = expansion(PLAIN + "weights: {a: {edge: 0.7, vis: 0.2}}\n")
    now = expansion(PLAIN + "weights: {a: {edge: 0.8, seg: 0.1}}\n")

    assert reasons(planned(now, done(before))) == {
        "weight of vis 0.2 → 0, weight of edge 0.7 → 0.8, weight of seg 0 → 0.1"
    }


def test_a_changed_prompt_is_told() -> None:
    before = expansion("prompts: {a: {text: A pier, negative: cartoon}}\n")
    text = expansion("prompts: {a: {text: A road, negative: cartoon}}\n")
    negative = expansion("prompts: {a: {text: A pier}}\n")

    assert reasons(planned(text, done(before))) == {"prompt text changed"}
    assert reasons(planned(negative, done(before))) == {"negative text changed"}


def test_a_changed_video_is_told_by_its_role() -> None:
    def videos(color: str, **more: InputFile) -> JobInputs:
        return JobInputs({"pier": {"color": file(color), **more}}, {})

    before = expansion(files=videos("color"))
    color = expansion(files=videos("other"))
    depth = expansion(files=videos("color", depth=file("depth")))

    assert reasons(planned(color, done(before))) == {"color video changed"}
    assert reasons(planned(depth, done(before))) == {"depth video changed"}


def test_another_engine_is_told_and_not_its_parameters() -> None:
    now = expansion()
    run = replace(now.runs[0].run, id="rs_old", engine="transfer1", params={"sigma_max": 70})
    before = replace(now.runs[0], run=run)

    made = planned(now, snapshot([record(before, State.SUCCEEDED)], [now]))

    assert worded(made.changes[0].reason) == "engine transfer1 → preview"


def test_a_new_contract_of_the_engine_is_told() -> None:
    now = expansion()
    old = [replace(each, run=replace(each.run, id="rs_old", contract=0)) for each in now.runs[:1]]

    made = planned(now, snapshot([record(each, State.SUCCEEDED) for each in old], [now]))

    assert worded(made.changes[0].reason) == "contract of preview 0 → 1"


def test_a_prompt_that_the_store_has_lost_is_no_obstacle() -> None:
    before, now = expansion(), expansion(BODY.replace("golden hour", "noon"))

    made = planned(now, replace(done(before), prompts={}))

    assert reasons(made) == {"the prompt changed"}


# --- orphans ------------------------------------------------------------------------------


def test_runs_that_left_the_file_are_orphans() -> None:
    before, now = expansion(), expansion(BODY + "exclude: [{video: street}]\n")

    made = planned(now, done(before))

    left = before.runs[1]
    assert made.changes[-1] == Change(
        Action.ORPHAN, left.run.id, "x", left.place, Reason(Cause.GONE)
    )
    assert diff.starts(made) == ()


def test_every_generation_of_orphans_is_found() -> None:
    first, second = expansion(), expansion(BODY.replace("35", "50"))
    now = expansion(BODY.replace("35", "60"))

    made = planned(now, done(first, second))

    orphans = {change.run_id for change in made.changes if change.action is Action.ORPHAN}
    assert orphans == {each.run.id for each in (*first.runs, *second.runs)}
    assert {worded(each.reason) for each in made.changes if each.action is Action.ORPHAN} == {
        "replaced in the job file"
    }
    assert reasons(made) == {"num_steps 50 → 60"}


def test_other_jobs_have_no_orphans_here() -> None:
    now, other = expansion(), expansion(BODY.replace("35", "50"), name="other")

    assert verdicts(planned(now, done(now, other))) == {(Action.KEEP, "up to date")}


def test_a_part_of_a_job_finds_no_orphans_but_still_says_why() -> None:
    before, whole = expansion(), expansion(BODY.replace("35", "50"))
    part = replace(whole, runs=whole.runs[:1])

    made = planned(part, done(before), partial=True)

    assert verdicts(made) == {(Action.CREATE, "num_steps 35 → 50")}


def test_a_run_that_two_jobs_had_is_an_orphan_of_the_one_that_gave_it_up() -> None:
    one, other = expansion(name="one"), expansion(name="other")
    shared = [
        replace(record(each, State.SUCCEEDED), jobs={"one": each.place, "other": each.place})
        for each in one.runs
    ]
    now = expansion(BODY + "exclude: [{video: street}]\n", name="one")

    made = diff.diff([*now.runs, *other.runs], now.prompts, snapshot(shared))
    alone = planned(now, snapshot(shared))

    assert diff.count(made)[Action.ORPHAN] == 0
    assert [(each.job, each.run_id) for each in alone.changes if each.action is Action.ORPHAN] == [
        ("one", one.runs[1].run.id)
    ]


def test_counts_name_every_action() -> None:
    counts = diff.count(planned(expansion(), snapshot(())))

    others = ("retry", "force", "unknown", "wait", "keep", "blocked", "orphan")
    assert counts == {"create": 2, **dict.fromkeys(others, 0)}


def test_why_is_a_value() -> None:
    before, now = expansion(), expansion(BODY.replace("35", "50"))

    made = planned(now, done(before))

    steps = Difference(Part.PARAMETER, "num_steps", 35, 50)
    assert {each.reason for each in diff.starts(made)} == {
        Reason(Cause.CHANGED, differences=(steps,))
    }


def test_renaming_a_label_runs_nothing() -> None:
    before = expansion(PLAIN + "weights: {a: {edge: 0.5}}\n")
    now = expansion(PLAIN + "weights: {b: {edge: 0.5}}\n")

    made = planned(now, done(before))

    assert verdicts(made) == {(Action.KEEP, "up to date")}
    assert [change.place for change in made.changes] == ["golden/pier-b", "golden/street-b"]
