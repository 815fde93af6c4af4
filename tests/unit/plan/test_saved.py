"""A saved plan is applied as it was shown, or not at all."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_jobs.cli.views import reasons
from cosmos_jobs.core.job import Selection
from cosmos_jobs.core.record import State
from cosmos_jobs.errors import InvalidFiles
from cosmos_jobs.plan import diff
from cosmos_jobs.plan import saved as saved_plans
from cosmos_jobs.plan.model import Action, Estimate, Planned
from tests.support.examples import PLAIN, parsed, planned, record, runs, snapshot

NOW = planned([parsed(PLAIN)], estimate=Estimate(2, 0, 60.0, 0.5), refusals=("too much",))


def dump(plan: Planned) -> bytes:
    return saved_plans.dump(plan, reasons.text)


def moved(saved: Planned, now: Planned) -> list[str]:
    return list(saved_plans.moved_on(saved_plans.load(dump(saved), "x.plan"), now))


def test_a_saved_plan_knows_its_selection_and_its_runs() -> None:
    selection = Selection(
        ("a.yaml", "jobs"), target="h100", only=("golden",), force=True, preview=False
    )

    saved = saved_plans.load(dump(replace(NOW, selection=selection)), "x.plan")

    assert saved.selection == selection
    assert saved.targets == {"x": "local"}
    assert saved.lineage == "lineage"
    assert saved.starts == {each.run.id: f"x/{each.place}" for each in runs(PLAIN)}


def test_a_plan_as_json_says_everything_that_the_text_says() -> None:
    document = orjson.loads(dump(NOW))

    assert document["summary"]["create"] == 2
    assert document["estimate"] == {
        "runs": 2,
        "unknown": 0,
        "wall_s": 60.0,
        "gpu_hours": 0.5,
        "price": 0.0,
        "low": 1.0,
        "high": 1.0,
        "tables": 0,
        "batches": 0,
    }
    assert document["refusals"] == ["too much"]
    assert document["store"] == {"lineage": "lineage", "serial": 7}
    assert document["changes"][0] == {
        "action": "create",
        "run_id": NOW.desired[0].run.id,
        "job": "x",
        "place": "golden/pier-default",
        "reason": "new",
        "attempts": 0,
    }


def test_a_saved_plan_names_the_actions_that_it_always_named() -> None:
    change = NOW.plan.changes[0]
    told = {Action.TAKE: "keep", Action.ENHANCE: "unknown"}

    for action in Action:
        plan = replace(NOW.plan, changes=(replace(change, action=action),))
        document = orjson.loads(dump(replace(NOW, plan=plan)))

        assert document["changes"][0]["action"] == told.get(action, action)
        assert document["summary"][told.get(action, action)] == 1
        assert not document["summary"].keys() & told.keys()


def test_a_change_is_one_line_so_that_plans_can_be_compared() -> None:
    lines = dump(NOW).splitlines()

    assert sum(b'"run_id"' in line for line in lines) == 2
    assert all(line.count(b'"run_id"') <= 1 for line in lines)


def test_the_same_plan_is_the_same_bytes() -> None:
    assert dump(NOW) == dump(planned([parsed(PLAIN)], estimate=NOW.estimate, refusals=NOW.refusals))


def test_a_fresh_plan_has_not_moved_on() -> None:
    assert moved(NOW, NOW) == []


def test_an_unrelated_write_to_the_store_does_not_matter() -> None:
    later = replace(NOW, plan=replace(NOW.plan, serial=99))

    assert moved(NOW, later) == []


def test_another_store_matters() -> None:
    other = replace(NOW, plan=replace(NOW.plan, lineage="other"))

    assert moved(NOW, other) == ["the store is another one"]


def test_the_first_write_to_a_store_does_not_matter() -> None:
    empty = replace(NOW, plan=replace(NOW.plan, lineage="", serial=0))

    assert moved(empty, NOW) == []


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.RUNNING])
def test_a_run_that_others_made_or_are_making_is_only_not_started(state: State) -> None:
    known = snapshot([record(each, state) for each in NOW.desired[:1]])

    now = planned([parsed(PLAIN)], known)

    assert len(diff.starts(now.plan)) == 1
    assert moved(NOW, now) == []


def test_a_run_whose_output_is_gone_makes_a_plan_stale() -> None:
    made = [record(each, State.SUCCEEDED) for each in NOW.desired]
    saved = planned([parsed(PLAIN)], snapshot(made))

    assert moved(saved, NOW) == [
        "x/golden/pier-default, x/golden/street-default: not in the saved plan"
    ]


def test_an_edited_job_file_makes_a_plan_stale_and_few_runs_are_named() -> None:
    now = planned([parsed(PLAIN + "params: {seed: [1, 2, 3, 4]}\n")])

    said = moved(NOW, now)

    assert said == [
        "jobs/x.yaml says something else",
        "x/golden/pier-default, x/golden/street-default: no longer to be started",
        "x/golden/pier-default-seed1, x/golden/pier-default-seed2, "
        "x/golden/pier-default-seed3 and 5 more: not in the saved plan",
    ]


def test_another_target_makes_a_plan_stale() -> None:
    now = planned([parsed("target: h100\n" + PLAIN)])

    assert moved(NOW, now) == ["the target of x was local, it is h100"]


def test_comments_and_the_order_of_keys_do_not_matter() -> None:
    now = planned([parsed(f"# night and day\ntarget: local\ndescription: other\n{PLAIN}")])

    assert moved(NOW, now) == []


def test_a_job_that_is_gone_or_new_is_named_by_its_file() -> None:
    one, two = parsed(PLAIN), parsed(PLAIN.replace("golden hour", "noon"), name="y")

    gone = moved(planned([one, two]), planned([one]))
    new = moved(planned([one]), planned([one, two]))

    assert gone[0] == "jobs/y.yaml is gone"
    assert new[0] == "jobs/y.yaml is new"


def test_a_forced_plan_is_applied_once() -> None:
    def forced(attempts: int) -> Planned:
        made = [record(each, State.SUCCEEDED, attempts=attempts) for each in NOW.desired]
        return planned([parsed(PLAIN)], snapshot(made), force=True)

    assert moved(forced(1), forced(1)) == []
    assert moved(forced(1), forced(2)) == [
        "x/golden/pier-default, x/golden/street-default: run again already since the plan was saved"
    ]


def test_a_run_that_failed_meanwhile_is_still_started() -> None:
    known = snapshot([record(each, State.FAILED, "out of memory") for each in NOW.desired])

    assert moved(NOW, planned([parsed(PLAIN)], known)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"format": "cosmos-jobs plan 2"},
        {"selection": {"paths": []}, "changes": [{}]},
        {"selection": {"unknown": 1}},
        {"changes": None},
        {"changes": [1]},
        {"store": []},
        {"targets": 7},
        {"awaits": 7},
        {"sources": {"x": 7}},
    ],
)
def test_a_changed_plan_is_refused(change: dict[str, object]) -> None:
    document = {**orjson.loads(dump(NOW)), **change}

    with pytest.raises(InvalidFiles) as refused:
        saved_plans.load(orjson.dumps(document), "x.plan")

    assert refused.value.exit_code == 3
    assert refused.value.diagnostics[0].path == "x.plan"


@given(
    st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.integers(0, 9) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(orjson.dumps)
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidFiles):
        saved_plans.load(data, "x.plan")
