"""The shell text of an engine in a container: what docker gets is what the project file says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cosmos_jobs.executors import scripts
from cosmos_jobs.project import Docker, Installation
from tests.conftest import Golden

GOLDEN = Path(__file__).parent / "golden" / "scripts"
INSTALLATION = Installation(
    path="/workspace",
    docker=Docker(
        "cosmos-transfer2.5:latest",
        ("/data/hf:/data/hf", "/data/my models:/models:ro"),
        ("--ipc=host", "--shm-size=32g", "--label", 'note=it\'s "so" $(touch hacked)'),
    ),
    env={"HF_HOME": "/data/hf", "HF_TOKEN": "${MY_TOKEN}"},
)
ARGV = ("python3", "-m", "engine", "it's $(touch hacked)")
ENV = {"HF_HOME": "/data/hf", "NOTE": "a 'b'\n$(c)"}
DOCKER = 'docker() { for each in "$@"; do printf "%s\\0" "$each"; done; }\n'
ROOT = '/data/it\'s "a, root"'


def text() -> str:
    return scripts.engine(ARGV, ENV, INSTALLATION, None)


def given(gpus: str) -> list[str]:
    """Return what `docker` gets when a batch has leased these GPUs."""
    values = scripts.exporting({"root": ROOT, "folder": f"{ROOT}/b", "batch": "ba_1"}, {})
    script = "\n".join([*values, DOCKER, text(), f"engine '{gpus}'"])
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def test_the_script_of_an_engine_in_a_container(golden: Golden) -> None:
    golden(GOLDEN / "contained.sh", scripts.engine(ARGV, ENV, INSTALLATION, 600))


@pytest.mark.parametrize("gpus", ["0", "0 1", "GPU-ab-1 GPU-cd-2"])
def test_a_container_gets_the_gpus_that_were_leased(gpus: str) -> None:
    words = given(gpus)

    # Docker reads this as CSV: without the quotes, a comma begins another field.
    assert words[words.index("--gpus") + 1] == f'"device={gpus.replace(" ", ",")}"'


def test_a_container_without_gpus_asks_for_none() -> None:
    assert "--gpus" not in given("cpu")


def test_docker_gets_each_word_as_it_is_written() -> None:
    place = '/data/it\'s ""a, root""'

    assert given("cpu") == [
        *("run", "--rm", "--name", "ba_1"),
        *("--label", "cosmos-jobs.batch=ba_1", "--label", f"cosmos-jobs.root={ROOT}"),
        *("--mount", f'type=bind,"source={place}","target={place}"', "--workdir", f"{ROOT}/b"),
        *("--env", "HF_HOME=/data/hf", "--env", "NOTE=a 'b'\n$(c)", "--env", "HF_TOKEN"),
        *("--volume", "/data/hf:/data/hf", "--volume", "/data/my models:/models:ro"),
        *("--ipc=host", "--shm-size=32g", "--label", 'note=it\'s "so" $(touch hacked)'),
        "cosmos-transfer2.5:latest",
        *ARGV,
    ]


def test_no_secret_is_in_the_script() -> None:
    assert "MY_TOKEN" not in text()
