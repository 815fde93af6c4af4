"""Every state of Slurm means one thing for a batch, with a reason that people understand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cosmos_jobs.core import failures
from cosmos_jobs.core.batch import Life, Status
from cosmos_jobs.targets.executors.slurm import states
from cosmos_jobs.targets.executors.slurm.states import Place, Told, judged

KEY = "ca_0123456789abcdef", "7"
PLACE = Place(KEY, "123")
BEGUN = replace(PLACE, restarts=0)
OPEN = Status(Life.RUNNING)


@pytest.mark.parametrize("life", [Life.EXITED, Life.CANCELLED, Life.REFUSED])
def test_what_the_files_say_wins(life: Life) -> None:
    status = Status(life)

    assert judged(status, BEGUN, Told("NODE_FAIL")) == status


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", "SUSPENDED", "STAGE_OUT"])
def test_what_slurm_works_on_is_at_work(state: str) -> None:
    assert judged(OPEN, BEGUN, Told(state)) == OPEN


@pytest.mark.parametrize("state", sorted(states.WAITING))
def test_what_slurm_has_not_begun_waits_with_its_reason(state: str) -> None:
    status = judged(OPEN, PLACE, Told(state, "Priority"))

    assert status == replace(OPEN, waits_for="jobs that come first (Priority)")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("None", ""),
        ("", ""),
        ("Resources", "free nodes (Resources)"),
        ("QOSMaxGRESPerUser", "Slurm (QOSMaxGRESPerUser)"),
        ("Nodes required for job are DOWN, DRAINED", "Slurm (Nodes required for job are DOWN, D"),
        ("(ReqNodeNotAvail, UnavailableNodes:n1,n2)", "nodes that are down or reserved"),
    ],
)
def test_reasons_are_told_in_words_and_in_slurms_own(reason: str, words: str) -> None:
    assert states.waiting(Told("PENDING", reason)).startswith(words)


@pytest.mark.parametrize(
    ("told", "life", "reason"),
    [
        (Told("NODE_FAIL"), Life.GONE, "its node failed"),
        (Told("BOOT_FAIL"), Life.GONE, "its node failed"),
        (Told("PREEMPTED"), Life.GONE, "preempted"),
        (Told("REVOKED"), Life.GONE, "back into its queue"),
        (Told("COMPLETED", exit_code=0), Life.GONE, "without a word"),
        (Told(""), Life.GONE, "knows nothing of its job"),
    ],
)
def test_what_is_lost_through_no_fault_of_its_own_is_gone(
    told: Told, life: Life, reason: str
) -> None:
    status = judged(OPEN, BEGUN, told)

    assert status.life is life
    assert reason in failures.lost(status)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("TIMEOUT", "stopped at the time limit of its Slurm job 123_7\nraise `time` of `slurm`"),
        ("OUT_OF_MEMORY", "its Slurm job 123_7 ran out of memory\nraise `mem` of `slurm`"),
        ("DEADLINE", "stopped at the deadline of its Slurm job 123_7\nlook at `extra`"),
        ("FAILED", "its Slurm job 123_7 failed before the engine had ended\ndo all nodes see"),
        ("A_NEW_STATE", "its Slurm job 123_7 failed"),
    ],
)
def test_what_failed_has_failed_with_what_to_do(state: str, reason: str) -> None:
    status = judged(OPEN, BEGUN, Told(state, exit_code=9))

    assert (status.life, status.exit_code) == (Life.EXITED, 9)
    assert failures.explain(status).startswith(reason)


def test_who_cancelled_is_told() -> None:
    by_us = judged(OPEN, replace(BEGUN, is_cancelled=True), Told("CANCELLED"))
    by_known = judged(OPEN, BEGUN, Told("CANCELLED", by="1001"))
    by_someone = judged(OPEN, BEGUN, Told("CANCELLED"))

    assert {each.life for each in (by_us, by_known, by_someone)} == {Life.CANCELLED}
    assert [failures.cancelled(each) for each in (by_us, by_known, by_someone)] == [
        "stopped before it was made",
        "stopped before it was made, in Slurm, by 1001",
        "stopped before it was made, in Slurm, by somebody else",
    ]


def test_what_is_to_begin_a_second_time_is_lost() -> None:
    again = replace(BEGUN, is_requeued=True)

    for told in (Told("PENDING", "BeginTime"), Told("RUNNING"), Told("COMPLETED"), None):
        assert failures.lost(judged(OPEN, again, told)).startswith("Slurm put it back")


def test_what_was_put_back_is_lost_however_its_second_start_ended() -> None:
    for state in ("FAILED", "COMPLETED", "TIMEOUT"):
        status = judged(OPEN, BEGUN, Told(state, exit_code=9, restarts=1))

        assert failures.lost(status).startswith("Slurm put it back")


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_what_was_put_back_since_it_began_is_lost(state: str) -> None:
    for restarts, place, life in (
        (1, BEGUN, Life.GONE),
        (1, replace(BEGUN, restarts=1), Life.RUNNING),
        (1, PLACE, Life.RUNNING),
        (0, BEGUN, Life.RUNNING),
    ):
        assert judged(OPEN, place, Told(state, restarts=restarts)).life is life


def test_the_places_of_batches_are_read() -> None:
    lines = [
        "element ba_1 ca_1 0 - - -",
        "batch ba_1 running",
        "element ba_2 ca_1 1 99 0 cancelled",
        "element ba_3 ca_1 2 99 1 requeued",
    ]

    assert states.places(lines) == {
        "ba_1": Place(("ca_1", "0"), ""),
        "ba_2": Place(("ca_1", "1"), "99", 0, is_cancelled=True),
        "ba_3": Place(("ca_1", "2"), "99", 1, is_requeued=True),
    }


def test_the_queue_is_read() -> None:
    lines = [
        "queue ca_1|0|17|RUNNING|0|None|",
        "queue ca_1|1|17|PENDING|2|JobArrayTaskLimit|",
        "queue a greeting",
        "log queue ca_9|0|17|RUNNING|0|None|",
        "answered",
    ]

    assert states.queue(lines) == {
        ("ca_1", "0"): Told("RUNNING", "None"),
        ("ca_1", "1"): Told("PENDING", "JobArrayTaskLimit", restarts=2),
    }


def test_the_books_are_read() -> None:
    lines = [
        "now 2026-11-25T23:04:10",
        "sacct ca_1|17_0|COMPLETED|0:0|2026-11-25T23:04:00",
        "sacct ca_1|17_1|CANCELLED by 1001|0:15|Unknown",
        "sacct ca_1|17_2|OUT_OF_MEMORY|0:125|",
        "sacct ca_1|17_3|FAILED|2:0|",
        "sacct ca_1|17_[4-9%2]|PENDING|0:0|Unknown",
        "sacct ",
    ]

    assert states.history(lines) == {
        ("ca_1", "0"): Told("COMPLETED", exit_code=0, age_s=10),
        ("ca_1", "1"): Told("CANCELLED", exit_code=143, by="1001"),
        ("ca_1", "2"): Told("OUT_OF_MEMORY", exit_code=253),
        ("ca_1", "3"): Told("FAILED", exit_code=2),
        **{("ca_1", str(n)): Told("PENDING", exit_code=0) for n in range(4, 10)},
    }


def test_what_the_controller_remembers_is_read() -> None:
    lines = [
        "scontrol JobId=18 ArrayJobId=17 ArrayTaskId=0 JobName=ca_1 UserId=ann(1000) "
        "JobState=NODE_FAIL Reason=NodeDown Restarts=2 ExitCode=1:0 Comment=cosmos a=b",
        "scontrol JobId=17 ArrayJobId=17 ArrayTaskId=1-3%2 JobName=ca_1 JobState=PENDING",
        "scontrol JobId=17 ArrayJobId=17 ArrayTaskId=N/A JobName=ca_1 JobState=CANCELLED",
        "scontrol ",
    ]

    assert states.history(lines) == {
        ("ca_1", "0"): Told("NODE_FAIL", "NodeDown", 1, restarts=2),
        **{("ca_1", str(n)): Told("PENDING") for n in (1, 2, 3)},
    }


def test_what_left_no_record_was_cancelled_before_it_began_or_is_forgotten() -> None:
    other = {(KEY[0], "8"): Told("RUNNING")}

    assert states.ended(PLACE, {KEY: Told("TIMEOUT")}) == Told("TIMEOUT")
    assert states.ended(PLACE, other) == Told("CANCELLED")
    assert states.ended(BEGUN, other) == Told("")
    assert states.ended(PLACE, {}) == Told("")
