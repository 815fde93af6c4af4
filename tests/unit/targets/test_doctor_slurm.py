"""What doctor says of a cluster: each thing that is missing, and what to do about it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cosmos_jobs.config.project import Slurm, Target
from cosmos_jobs.targets import executors
from cosmos_jobs.targets.doctor.machine import script
from cosmos_jobs.targets.findings import Check, Facts, Verdict

ASKED = Slurm("gpu", "lab", "gpu:h100:2", "04:00:00", mem="64G", cpus=8, extra=("--qos=normal",))
TARGET = Target("cluster", "/shared/root", ("login",), slurm=ASKED)
HEALTHY: dict[str, tuple[str, ...]] = {
    "clock-at-end": ("1000.7",),
    "root-is-writable": ("",),
    "locks": ("",),
    "slurm": ("24.11.5",),
    "accounting": ("accounting_storage/slurmdbd",),
    "partition": (
        "gpu|up|2-00:00:00|4|gpu:h100:8(S:0-1)|64|1030000|hopper,nvlink",
        "debug*|up|30:00|1|(null)|16|64000|(null)",
    ),
    "account": ("lab|normal,high", "guest|normal"),
    "slurm-test": ("sbatch: Job 7 to start at 2026-11-25T23:04:35 using 8 processors",),
}


def judged(target: Target, found: Facts) -> list[Check]:
    return list(executors.of(target).judged(target, found))


def checked(asked: Slurm = ASKED, /, **told: tuple[str, ...] | None) -> list[Check]:
    changes = {name.replace("_", "-"): value for name, value in told.items()}
    values = {name: value for name, value in {**HEALTHY, **changes}.items() if value is not None}
    return judged(replace(TARGET, slurm=asked), Facts(values))


def missing(asked: Slurm = ASKED, /, **told: tuple[str, ...] | None) -> tuple[str, str, str]:
    """Return the one check that is missing: its name, what it says, and its hint."""
    (found,) = (each for each in checked(asked, **told) if each.verdict is Verdict.MISSING)
    return found.name, found.detail, found.hint


def test_a_target_without_a_cluster_is_not_asked() -> None:
    without = replace(TARGET, slurm=None)

    assert "slurm" not in script(without)
    assert judged(without, Facts(HEALTHY)) == []


def test_a_healthy_cluster_lacks_nothing() -> None:
    found = checked()

    assert [(each.name, each.verdict) for each in found] == [
        (name, Verdict.OK) for name in ("slurm", "partition", "nodes", "account", "request")
    ]
    assert [each.detail for each in found] == [
        "version 24.11.5 answers",
        "gpu: 4 nodes, limit 2-00:00:00, gpu:h100:8",
        "some have all that a batch asks for",
        "lab, QoS normal",
        "a batch could start at 2026-11-25 23:04:35",
    ]


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("sbatch is not installed", "is this a login node? correct `hosts` in cosmos-jobs.yaml"),
        ("Unable to contact slurm controller", "is its controller up? scontrol ping"),
    ],
)
def test_a_slurm_that_does_not_answer_is_told(said: str, hint: str) -> None:
    assert missing(slurm=None, slurm_trouble=(said,)) == ("slurm", said, hint)


@pytest.mark.parametrize(
    ("change", "name", "said"),
    [
        ({"partition": "gpux"}, "partition", "there is no `gpux`, only `debug` and `gpu`"),
        ({"partition": "debug", "gres": ""}, "nodes", "a job may take 30:00, and `time` is 04:00"),
        ({"gres": "gpu:a100:1"}, "nodes", "no node has gpu:a100:1; they have `gpu:h100:8`"),
        ({"gres": "gpu:9"}, "nodes", "no node has gpu:9; they have `gpu:h100:8`"),
        ({"cpus": 65}, "nodes", "no node has 65 CPUs; they have 64"),
        ({"mem": "2T"}, "nodes", "no node has 2T; they have 1,006G"),
        (
            {"extra": ("--constraint=a100|hopper",)},
            "nodes",
            "no node has the feature `a100`, only `h",
        ),
        ({"account": "other"}, "account", "you have no account other, only `guest` and `lab`"),
        ({"account": "guest", "extra": ("--qos=high",)}, "account", "you may not use the QoS high"),
    ],
)
def test_what_no_node_or_account_allows_is_told(
    change: dict[str, object], name: str, said: str
) -> None:
    slurm = replace(ASKED, **change)  # type: ignore[arg-type]
    found = [each for each in checked(slurm) if each.verdict is Verdict.MISSING]

    assert [each.name for each in found][:1] == [name]
    assert found[0].detail.startswith(said)
    assert "cosmos-jobs.yaml" in found[0].hint or "sinfo" in found[0].hint


@pytest.mark.parametrize(
    ("gres", "asked", "lacks"),
    [
        ("gpu:a100:4(S:0),gpu:h100:4(S:1)", "gpu:h100:4", False),
        ("gpu:a100:4(S:0),gpu:h100:4(S:1)", "gpu:8", False),
        ("gpu:a100:4(S:0),gpu:h100:4(S:1)", "gpu:h100:5", True),
        ("gpu:a100:4,gpu:h100:4", "gpu:a100:1,gpu:h100:1", False),
        ("(null)", "gpu", True),
        ("(null)", "", False),
    ],
)
def test_gpus_of_several_kinds_are_counted_by_kind(gres: str, asked: str, lacks: bool) -> None:
    row = HEALTHY["partition"][0].replace("gpu:h100:8(S:0-1)", gres)

    found = checked(replace(ASKED, gres=asked), partition=(row,))

    assert any("no node has" in each.detail for each in found) == lacks


def test_a_cluster_without_a_default_partition_needs_a_name() -> None:
    rows = tuple(each.replace("*", "") for each in HEALTHY["partition"])

    name, said, _ = missing(replace(ASKED, partition=""), partition=rows)

    assert (name, said) == ("partition", "the cluster has no default partition")


def test_a_partition_that_is_down_is_a_warning() -> None:
    rows = tuple(each.replace("|up|", "|down|") for each in HEALTHY["partition"])

    found = {each.name: each for each in checked(partition=rows)}

    assert found["partition"].verdict is Verdict.WARNING


def test_without_accounts_none_is_checked() -> None:
    for kept in ("accounting_storage/none", "(null)"):
        found = {each.name: each for each in checked(accounting=(kept,), account=())}

        assert found["account"].detail == "not checked: the cluster keeps no accounts"


def test_what_slurm_refuses_is_told_in_its_words() -> None:
    name, said, hint = missing(slurm_test=None, slurm_refusal=("allocation failure: no such",))

    assert (name, said) == ("request", "Slurm refuses it: allocation failure: no such")
    assert "sbatch --test-only" in hint


def test_a_root_without_locks_is_a_warning() -> None:
    found = {each.name: each for each in checked(locks=None)}

    assert found["locks"].verdict is Verdict.WARNING
