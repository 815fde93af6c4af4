"""What sbatch is given: each resource in its own words, and nothing but what was said."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosmos_jobs.config.project import Slurm
from cosmos_jobs.targets.executors.slurm import script as arrays
from tests.conftest import Golden

GOLDEN = Path(__file__).parents[1] / "golden" / "scripts"
NAME = "ca_0123456789abcdef"
ALL = Slurm(
    "gpu",
    "lab",
    "gpu:h100:1",
    "04:00:00",
    mem="64G",
    cpus=8,
    max_running=32,
    extra=("--qos=normal",),
)


def test_the_script_of_an_array(golden: Golden) -> None:
    golden(GOLDEN / "array.sh", arrays.script(NAME, 500, ALL, 3600, "ann@laptop"))


@pytest.mark.parametrize(
    ("limit_s", "time"), [(None, None), (60, "6"), (3600, "65"), (3601, "66"), (1, "6")]
)
def test_a_job_gets_whole_minutes_and_a_margin(limit_s: int | None, time: str | None) -> None:
    script = arrays.script(NAME, 1, Slurm(), limit_s, "ann@laptop")

    lines = [line for line in script.splitlines() if "--time" in line]
    assert lines == ([f"#SBATCH --time={time}"] if time else [])


def test_the_name_of_a_client_cannot_add_a_line() -> None:
    script = arrays.script(NAME, 1, Slurm(), None, 'ann"\n#SBATCH --uid=0@laptop')

    assert f'#SBATCH --comment="cosmos-jobs {NAME} of ann___SBATCH_--uid_0@laptop"' in script


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [
        ("30", 1800),
        ("30:15", 1815),
        ("1:30:00", 5400),
        ("04:00:00", 14400),
        ("2-0", 172800),
        ("1-2:30", 95400),
        ("1-02:30:15", 95415),
        ("UNLIMITED", None),
        ("", None),
    ],
)
def test_time_limits_are_read_as_slurm_writes_them(limit: str, seconds: int | None) -> None:
    assert arrays.seconds(limit) == seconds
