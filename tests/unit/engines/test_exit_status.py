"""After a crash: who is to blame, who never began, and whom nobody can tell apart."""

from __future__ import annotations

import pytest

from cosmos_jobs.core.batch import Life, Outcome, Status
from cosmos_jobs.core.record import State
from cosmos_jobs.engines.exit_status import NEVER_BEGAN, after_exit

ORDER = ("a", "b", "c", "d")


def ended(code: int, log: str = "", fault: str = "") -> Status:
    return Status(Life.EXITED, code, log=log, fault=fault)


def test_the_first_run_that_began_and_did_not_end_is_to_blame() -> None:
    found = after_exit(ORDER, ["a"], ["a", "b"], ended(1, "RuntimeError: no\n"))

    assert found["b"] == Outcome(State.FAILED, "the engine exited with code 1: RuntimeError: no")
    assert found["c"] is found["d"] is NEVER_BEGAN
    assert "a" not in found


@pytest.mark.parametrize(
    ("code", "log"),
    [
        (137, "step 3\nRuntimeError: an old one, caught\n"),
        (1, "step 3\n"),
        (1, "x.ChildFailedError:\n  traceback : Signal 9 (SIGKILL) received by PID 7\n"),
    ],
)
def test_a_process_that_died_without_a_word_gets_the_benefit_of_the_doubt(
    code: int, log: str
) -> None:
    found = after_exit(ORDER, ["a"], ["a", "b"], ended(code, log))

    assert found["b"].state is State.FAILED
    assert found["b"].crashed
    assert found["c"] is NEVER_BEGAN


def test_without_a_sign_the_run_behind_the_last_result_is_to_blame() -> None:
    found = after_exit(ORDER, ["a", "b"], [], ended(139))

    assert found["c"].crashed
    assert found["d"] is NEVER_BEGAN


def test_an_engine_that_fell_before_any_run_failed_for_all() -> None:
    found = after_exit(ORDER, [], [], ended(1, "ValueError: bad spec\n"))

    assert {each.state for each in found.values()} == {State.FAILED}
    assert not any(each.crashed for each in found.values())


def test_a_machine_that_lacks_something_fails_all_and_blames_none() -> None:
    found = after_exit(ORDER, ["a"], ["a", "b"], ended(127, fault="no-image x"))

    assert {each.state for each in found.values()} == {State.FAILED}
    assert not any(each.crashed for each in found.values())


def test_what_hangs_fails_at_once_and_the_others_go_on() -> None:
    found = after_exit(ORDER, ["a"], ["a", "b"], ended(124, fault="timeout 90"))

    assert found["b"].state is State.FAILED
    assert not found["b"].crashed
    assert "the time limit" in found["b"].reason
    assert found["c"] is NEVER_BEGAN


def test_a_process_that_ended_well_and_left_nothing_is_no_crash() -> None:
    found = after_exit(ORDER, ["a"], ["a"], ended(0))

    assert {each.reason for each in found.values()} == {"the engine left no result"}
