"""What a machine answers becomes checks, each with what to type."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cosmos_jobs import __version__
from cosmos_jobs.config.project import Container, Installation, Target
from cosmos_jobs.targets.doctor.machine import PROGRAMS, Trip, judged, script, ssh_command
from cosmos_jobs.targets.findings import Check, Facts, Verdict, facts

HOST = "ubuntu@gpu-1"
TARGET = Target(
    "h100", "/data/x", (HOST,), ("0", "1"), engines={"preview": Installation("/opt/cosmos-jobs")}
)
HEALTHY = {
    "clock": ("1000.5",),
    "root-is-writable": ("",),
    "space": ("/dev/sda1 1000000000 500000000 500000000 50% /",),
    "gpu": (
        "0, GPU-aa11, NVIDIA H100 PCIe, 81559 MiB, 4 MiB",
        "1, GPU-bb22, NVIDIA H100 PCIe, 81559 MiB, 4 MiB",
    ),
    "python:preview": (f"python 3.11.7 {__version__}",),
    "clock-at-end": ("1000.7",),
}
TRIP = Trip(1000.4, 1000.8)


def checked(
    target: Target = TARGET,
    trip: Trip = TRIP,
    more: Mapping[str, str] | None = None,
    **told: str | None,
) -> list[Check]:
    """Return the checks of a healthy machine that tells `told` and `more` beside or instead."""
    changes = {name.replace("_", "-"): value for name, value in told.items()} | dict(more or {})
    values = {**HEALTHY, **{name: (value,) for name, value in changes.items() if value is not None}}
    kept = {name: value for name, value in values.items() if changes.get(name, "") is not None}
    return list(judged(target, target.hosts[0] if target.hosts else "", Facts(kept), trip, {}))


def one(found: list[Check], name: str) -> Check:
    return [each for each in found if each.name == name][-1]


def engines(**installed: Installation) -> Target:
    return replace(TARGET, engines={name.replace("_", "."): it for name, it in installed.items()})


# --- the script -----------------------------------------------------------------------------


def test_only_what_the_target_needs_is_asked() -> None:
    text = script(replace(TARGET, gpus=()))

    assert "nvidia-smi" not in text
    assert "docker" not in text


def test_lines_that_a_shell_greets_with_are_no_facts() -> None:
    printed = "Welcome to Ubuntu\n@fact\tgpu\t0, a\n@fact\tgpu\t1, b\n@fact\tclock\t1.5\n@fact"

    assert facts(printed).all("gpu") == ("0, a", "1, b")
    assert facts(printed).one("clock") == "1.5"
    assert facts(printed).one("space") == ""


# --- a machine ------------------------------------------------------------------------------


def test_a_healthy_machine_lacks_nothing() -> None:
    found = checked()

    assert [(each.name, each.verdict) for each in found] == [
        (name, Verdict.OK)
        for name in ("ssh", "clock", "programs", "root", "disk", "gpus", "preview")
    ]
    assert not any(each.hint for each in found)
    assert one(found, "ssh").detail == "answers after 200 ms, with connecting"
    assert one(found, "gpus").detail == "2 × NVIDIA H100 PCIe, 80 GiB"
    assert one(found, "disk").detail == "512 GB of 1,024 GB are free"


def test_this_machine_is_not_asked_for_its_clock() -> None:
    names = [each.name for each in checked(replace(TARGET, hosts=()))]

    assert not {"ssh", "clock"} & {*names}


def test_a_shell_that_stops_midway_is_told() -> None:
    found = one(checked(clock_at_end=None), "shell")

    assert found.verdict is Verdict.MISSING
    assert found.hint == "does `ssh ubuntu@gpu-1 echo hello` print hello?"


@pytest.mark.parametrize(
    ("trip", "verdict"),
    [
        (Trip(1000.4, 1000.8), Verdict.OK),
        (Trip(1002.4, 1002.8), Verdict.OK),
        (Trip(1003.4, 1003.8), Verdict.WARNING),
        (Trip(996.4, 996.8), Verdict.WARNING),
        # A slow way hides where the time went.
        (Trip(990.0, 1001.0), Verdict.OK),
    ],
)
def test_a_clock_may_be_two_seconds_off(trip: Trip, verdict: Verdict) -> None:
    assert one(checked(trip=trip), "clock").verdict is verdict


def test_a_clock_that_is_off_says_how_much_and_which_way() -> None:
    found = one(checked(trip=Trip(900.4, 900.8)), "clock")

    assert found.detail.startswith("is 100 s ahead of ours")
    assert "timedatectl" in found.hint


def test_a_date_without_nanoseconds_is_read() -> None:
    found = checked(clock="1000.%N", clock_at_end="1000.N")

    assert one(found, "clock").verdict is Verdict.OK


def test_programs_that_are_missing_come_with_their_packages() -> None:
    target = Target("h100", "/data/x", ("ubuntu@gpu-1:2222",), engines=TARGET.engines)
    values = {**HEALTHY, "no-program": ("flock", "setsid", "tar")}

    found = one(list(judged(target, target.hosts[0], Facts(values), TRIP, {})), "programs")

    assert found.verdict is Verdict.MISSING
    assert found.detail == "`flock`, `setsid` and `tar` are not installed"
    assert found.hint == "ssh -p 2222 ubuntu@gpu-1 'sudo apt-get install tar util-linux'"


def test_every_program_is_asked_for(tmp_path: Path) -> None:
    # What a fact is told with is all that there is.
    (tmp_path / "tr").symlink_to("/usr/bin/tr")
    asked = script(replace(TARGET, root=str(tmp_path / "root")))

    done = subprocess.run(
        ["/bin/sh", "-s"], input=asked, capture_output=True, text=True, env={"PATH": str(tmp_path)}
    )

    assert facts(done.stdout).all("no-program") == tuple(PROGRAMS)


def test_a_root_that_cannot_be_written_says_why() -> None:
    told = "sh: 3: cannot create /data/x/.doctor.1: Permission denied"

    found = one(checked(root_is_writable=None, root_trouble=told), "root")

    assert found.verdict is Verdict.MISSING
    assert found.detail == "cannot create /data/x/.doctor.1: Permission denied"
    assert found.hint == (
        "ssh ubuntu@gpu-1 'sudo mkdir -p /data/x && sudo chown \"$USER\" /data/x'"
    )


@pytest.mark.parametrize(
    ("free_kib", "verdict"),
    [
        (900_000, Verdict.MISSING),
        (1_000_000, Verdict.WARNING),
        (19_000_000, Verdict.WARNING),
        (20_000_000, Verdict.OK),
    ],
)
def test_little_space_is_warned_of(free_kib: int, verdict: Verdict) -> None:
    found = one(checked(space=f"a b 50000000 1 {free_kib} 90% /mnt/a b"), "disk")

    assert found.verdict is verdict
    assert bool(found.hint) is (verdict is not Verdict.OK)


# --- GPUs -----------------------------------------------------------------------------------


def test_gpus_that_the_machine_does_not_have_are_named() -> None:
    found = one(checked(replace(TARGET, gpus=("0", "7", "GPU-cc33"))), "gpus")

    assert found.verdict is Verdict.MISSING
    assert found.detail == "there is no GPU `7` or `GPU-cc33`, only `0` and `1`"
    assert "correct `gpus` of `h100` in cosmos-jobs.yaml" in found.hint


def test_gpus_may_be_named_by_their_uuid_cut_short() -> None:
    found = one(checked(replace(TARGET, gpus=("GPU-bb",))), "gpus")

    assert found == Check("gpus", Verdict.OK, "1 of 2 × NVIDIA H100 PCIe, 80 GiB")


def test_parts_of_a_gpu_are_looked_for() -> None:
    parts = "GPU 0: NVIDIA H100   MIG 1g.10gb  Device  0: (UUID: MIG-12ab)"

    assert one(checked(replace(TARGET, gpus=("MIG-12ab",)), gpu_parts=parts), "gpus").detail == (
        "1 of 2 × parts of a GPU"
    )
    assert one(checked(replace(TARGET, gpus=("MIG-99",)), gpu_parts=parts), "gpus").verdict is (
        Verdict.MISSING
    )


@pytest.mark.parametrize("told", ["nvidia-smi is not installed", "Driver/library mismatch"])
def test_no_gpu_says_what_nvidia_smi_says(told: str) -> None:
    found = one(checked(gpu=None, gpu_trouble=told), "gpus")

    assert (found.verdict, found.detail) == (Verdict.MISSING, told)
    assert "remove `gpus` of `h100`" in found.hint


def test_a_target_without_gpus_is_not_asked_for_them() -> None:
    assert "gpus" not in [each.name for each in checked(replace(TARGET, gpus=()), gpu=None)]


def test_memory_that_is_in_use_is_a_warning() -> None:
    busy = "0, GPU-aa11, NVIDIA H100 PCIe, 81559 MiB, 40960 MiB"

    found = one(checked(replace(TARGET, gpus=("0",)), gpu=busy), "gpu memory")

    assert (found.verdict, found.detail) == (Verdict.WARNING, "in use (GPU 0: 40.0 GiB)")


def test_gpus_without_memory_of_their_own_are_read() -> None:
    shared = "0, GPU-aa11, NVIDIA GB10, [N/A], [N/A]"

    found = one(checked(replace(TARGET, gpus=("0",)), gpu=shared), "gpus")

    assert found.detail == "1 × NVIDIA GB10"


@pytest.mark.parametrize(("written", "warned"), [("", False), ("h100 pcie", False), ("A100", True)])
def test_another_gpu_than_estimates_are_for_is_a_warning(written: str, warned: bool) -> None:
    found = [each for each in checked(replace(TARGET, gpu=written)) if each.name == "gpu name"]

    assert bool(found) is warned
    assert all("write `gpu: NVIDIA H100 PCIe`" in each.hint for each in found)


# --- engines --------------------------------------------------------------------------------


def test_a_target_must_list_an_engine() -> None:
    found = one(checked(replace(TARGET, engines={})), "engines")

    assert (found.verdict, found.detail) == (Verdict.MISSING, "`h100` lists none")


@pytest.mark.parametrize(
    ("told", "detail", "hint"),
    [
        (
            "python 3.11.7 none",
            f"/opt/cosmos-jobs/bin/python has no cosmos-jobs; {__version__} is needed",
            f"ssh ubuntu@gpu-1 '/opt/cosmos-jobs/bin/pip install cosmos-jobs=={__version__}'",
        ),
        (
            "python 3.11.7 0.0.1",
            f"/opt/cosmos-jobs/bin/python has cosmos-jobs 0.0.1; {__version__} is needed",
            f"ssh ubuntu@gpu-1 '/opt/cosmos-jobs/bin/pip install cosmos-jobs=={__version__}'",
        ),
        (
            "sh: 9: /opt/cosmos-jobs/bin/python: not found",
            "/opt/cosmos-jobs/bin/python does not run: /opt/cosmos-jobs/bin/python: not found",
            "ssh ubuntu@gpu-1 'python3 -m venv /opt/cosmos-jobs &&"
            f" /opt/cosmos-jobs/bin/pip install cosmos-jobs=={__version__}'",
        ),
    ],
)
def test_preview_needs_our_own_version(told: str, detail: str, hint: str) -> None:
    found = one(checked(more={"python:preview": told}), "preview")

    assert found == Check("preview", Verdict.MISSING, detail, hint)


def test_other_engines_need_a_python_of_any_kind() -> None:
    target = engines(transfer1=Installation("/opt/t1/.venv", "/opt/t1"))
    told = {"python:transfer1": "python 3.10.1 none", "folder:transfer1": "5005e8234567"}

    found = checked(target, more=told)

    assert [each.detail for each in found if each.name == "transfer1"] == [
        "/opt/t1, commit 5005e8234567",
        "Python 3.10.1, /opt/t1/.venv/bin/python",
    ]
    assert {each.verdict for each in found} == {Verdict.OK}


@pytest.mark.parametrize(
    ("engine", "commit"),
    [("transfer1", "5005e823"), ("transfer2.5", "2ff49d07"), ("cosmos3", "5eee9ed5")],
)
def test_another_commit_of_a_model_is_a_warning(engine: str, commit: str) -> None:
    target = replace(TARGET, engines={engine: Installation("/v", "/opt/it's")})
    python = {f"python:{engine}": "python 3.10.1 none"}

    right = checked(target, more={**python, f"folder:{engine}": f"{commit}4567"})
    wrong = checked(target, more={**python, f"folder:{engine}": "0123456789ab"})
    none = checked(target, more={**python, f"folder:{engine}": ""})

    (found,) = (each for each in wrong if each.verdict is not Verdict.OK)
    assert found.verdict is Verdict.WARNING
    assert found.detail == f"/opt/it's, commit 0123456789ab; we know its program at {commit}"
    assert f"checkout {commit}" in found.hint
    assert {each.verdict for each in (*right, *none)} == {Verdict.OK}


def test_a_folder_that_is_not_there_is_missing() -> None:
    found = checked(engines(transfer1=Installation(path="/opt/t1")))

    assert ("there is no folder /opt/t1", Verdict.MISSING) in [
        (each.detail, each.verdict) for each in found
    ]


IN_DOCKER = engines(transfer2_5=Installation(container=Container("cosmos:latest")))


def test_an_image_is_there_or_comes_with_how_to_get_it() -> None:
    there = one(checked(IN_DOCKER, docker="28.2.2", image="transfer2.5"), "transfer2.5")
    missing = one(checked(IN_DOCKER, docker="28.2.2"), "transfer2.5")

    assert there == Check("transfer2.5", Verdict.OK, "image cosmos:latest")
    assert missing.detail == "there is no image cosmos:latest"
    assert missing.hint == (
        "ssh ubuntu@gpu-1 'docker pull cosmos:latest',"
        " or build it there: docker build -t cosmos:latest FOLDER"
    )


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("docker is not installed", "https://docs.docker.com/engine/install/"),
        ("permission denied while trying to connect", "usermod -aG docker"),
        ("Cannot connect to the Docker daemon at unix:///x.", "systemctl start docker"),
    ],
)
def test_docker_that_does_not_answer_is_told_once(said: str, hint: str) -> None:
    found = checked(IN_DOCKER, docker_trouble=said)

    assert one(found, "docker").detail == said
    assert hint in one(found, "docker").hint
    assert "transfer2.5" not in [each.name for each in found]


@pytest.mark.parametrize(
    ("here", "there", "warned"),
    [((), None, True), (("HF_TOKEN",), None, False), ((), "MY_TOKEN", False)],
)
def test_a_secret_must_have_a_value_here_or_there(
    here: tuple[str, ...], there: str | None, warned: bool
) -> None:
    target = engines(preview=Installation("/v", env={"HF_TOKEN": "${MY_TOKEN}", "A": "b"}))
    values = {**HEALTHY, **({"variable": (there,)} if there else {})}

    found = judged(target, HOST, Facts(values), TRIP, {"preview": here})

    assert [each.detail for each in found if each.verdict is Verdict.WARNING] == (
        ["`MY_TOKEN` has no value, neither here nor there"] if warned else []
    )


@pytest.mark.parametrize(
    ("address", "command"),
    [
        ("gpu-1", "ssh gpu-1"),
        ("me@gpu-1:2222", "ssh -p 2222 me@gpu-1"),
        ("me@[::1]:2222", "ssh -p 2222 me@::1"),
        ("fe80::1", "ssh fe80::1"),
    ],
)
def test_hints_name_the_machine_as_ssh_does(address: str, command: str) -> None:
    assert ssh_command(address) == command
