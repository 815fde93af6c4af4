"""The shell text of an engine in a container: what docker gets is what the project file says."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from cosmos_jobs.config.project import APPTAINER, PYXIS, Container, Installation
from cosmos_jobs.core.batch import Command, Server
from cosmos_jobs.targets.executors import launcher
from cosmos_jobs.targets.executors import script as scripts
from tests.conftest import Golden

GOLDEN = Path(__file__).parents[1] / "golden" / "scripts"
INSTALLATION = Installation(
    path="/workspace",
    container=Container(
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


COMMAND = Command(ARGV, {}, ENV)
SERVER = Server(("python3", "-m", "server", "it's"), "the model", 300)
WARM = replace(COMMAND, cwd="/work it's", server=SERVER)
BARE = replace(INSTALLATION, container=None)


def given(gpus: str, command: Command = COMMAND, function: str = "engine") -> list[str]:
    """Return what `docker` gets when a batch has leased these GPUs."""
    values = {"root": ROOT, "folder": f"{ROOT}/b", "batch": "ba_1", "box": "cosmos-jobs-1"}
    head = scripts.exporting({**values, "slot": f"{ROOT}/warm/0-1"}, {})
    text = launcher.engine(command, INSTALLATION, None)
    script = "\n".join([*head, DOCKER, text, f"{function} '{gpus}'"])
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def test_the_script_of_an_engine_in_a_container(golden: Golden) -> None:
    golden(GOLDEN / "contained.sh", launcher.engine(COMMAND, INSTALLATION, 600))


def test_the_script_of_a_server_in_a_container(golden: Golden) -> None:
    golden(GOLDEN / "server-contained.sh", launcher.engine(WARM, INSTALLATION, 600))


def test_the_script_of_a_server(golden: Golden) -> None:
    golden(GOLDEN / "server.sh", launcher.engine(WARM, BARE, 600))


IN_APPTAINER = replace(
    INSTALLATION,
    container=Container(
        "/images/cosmos-transfer2.5.sif", ("/data/hf:/data/hf:ro",), ("--no-home",), APPTAINER
    ),
)
IN_PYXIS = replace(
    INSTALLATION,
    container=Container(
        "nvcr.io#nvidia/cosmos:2.5", ("/data/my models:/models:ro",), ("--mpi=none",), PYXIS
    ),
)


@pytest.mark.parametrize(
    ("name", "command", "installation"),
    [
        ("apptainer", COMMAND, IN_APPTAINER),
        ("server-apptainer", WARM, IN_APPTAINER),
        ("pyxis", COMMAND, IN_PYXIS),
    ],
)
def test_the_script_of_an_engine_in_a_container_of_a_cluster(
    name: str, command: Command, installation: Installation, golden: Golden
) -> None:
    golden(GOLDEN / f"{name}.sh", launcher.engine(command, installation, 600))


def words_of(program: str, installation: Installation, gpus: str) -> list[str]:
    """Return what a program gets that stands in for the real one, and its environment behind it."""
    told = f'{program}() {{ printf "%s\\0" "$@"; env -0; }}\n'
    text = launcher.engine(COMMAND, installation, None).replace(f"exec {program}", program)
    text = text.replace('exec "$srun"', program)
    head = scripts.exporting({"root": ROOT, "folder": f"{ROOT}/b", "HF_TOKEN": "s3cret"}, {})
    script = "\n".join([*head, told, text, f"engine '{gpus}'"])
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def test_apptainer_gets_each_word_as_it_is_written_and_variables_by_the_environment() -> None:
    words = words_of("apptainer", IN_APPTAINER, "2 3")

    assert words[: words.index("it's $(touch hacked)") + 1] == [
        *("exec", "--cleanenv", "--nv", "--bind", f"{ROOT}:{ROOT}", "--pwd", f"{ROOT}/b"),
        *("--bind", "/data/hf:/data/hf:ro", "--no-home", "/images/cosmos-transfer2.5.sif"),
        *ARGV,
    ]
    assert {
        "APPTAINERENV_HF_HOME=/data/hf",
        "APPTAINERENV_NOTE=a 'b'\n$(c)",
        "APPTAINERENV_HF_TOKEN=s3cret",
        "APPTAINERENV_CUDA_VISIBLE_DEVICES=2,3",
    } <= set(words)
    assert "--nv" not in words_of("apptainer", IN_APPTAINER, "cpu")


def test_srun_gets_each_word_as_it_is_written_and_variables_by_the_environment() -> None:
    words = words_of("srun", IN_PYXIS, "0")

    assert words[: words.index("it's $(touch hacked)") + 1] == [
        *("--ntasks=1", "--export=ALL"),
        f"--container-mounts={ROOT}:{ROOT},/data/my models:/models:ro",
        f"--container-workdir={ROOT}/b",
        "--container-env=HF_HOME,HF_TOKEN,NOTE",
        *("--container-image=nvcr.io#nvidia/cosmos:2.5", "--mpi=none", *ARGV),
    ]
    assert {"HF_HOME=/data/hf", "NOTE=a 'b'\n$(c)", "HF_TOKEN=s3cret"} <= set(words)


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


def test_a_server_gets_its_folder_and_the_names_of_secrets() -> None:
    words = given("0 1", WARM, "serve")

    assert words[:7] == [
        *("run", "--rm", "--name", "cosmos-jobs-1", "--label", "cosmos-jobs.server=0-1"),
        "--label",
    ]
    assert words[words.index("--workdir") + 1] == "/work it's"
    assert "COSMOS_JOBS_SECRETS=HF_TOKEN" in words
    assert words[-5:] == [*SERVER.argv, f"{ROOT}/warm/0-1"]


@pytest.mark.parametrize("installation", [INSTALLATION, BARE])
def test_no_secret_is_in_the_script(installation: Installation) -> None:
    assert "MY_TOKEN" not in launcher.engine(WARM, installation, None)


# --- who may share a server -----------------------------------------------------------------


def test_batches_share_a_server_whatever_is_theirs_alone() -> None:
    other = Command(("x",), {"a": b""}, dict(reversed(ENV.items())), WARM.cwd, SERVER)
    renamed = replace(INSTALLATION, env={"HF_TOKEN": "${OTHERS}", "HF_HOME": "/x"})

    same = scripts.server_key(replace(other, server=replace(SERVER, idle_s=1)), renamed)

    assert same == scripts.server_key(WARM, INSTALLATION)
    assert scripts.server_key(COMMAND, INSTALLATION) == ""


@pytest.mark.parametrize(
    ("command", "installation"),
    [
        (replace(WARM, server=replace(SERVER, key="another")), INSTALLATION),
        (replace(WARM, cwd="/elsewhere"), INSTALLATION),
        (replace(WARM, env={}), INSTALLATION),
        (WARM, replace(INSTALLATION, path="/other")),
        (WARM, replace(INSTALLATION, venv="/other")),
        (WARM, replace(INSTALLATION, env={"HF_HOME": "/data/hf"})),
        (WARM, replace(INSTALLATION, container=Container("cosmos-transfer2.5:latest"))),
        (WARM, BARE),
    ],
)
def test_what_a_server_has_loaded_with_is_part_of_its_key(
    command: Command, installation: Installation
) -> None:
    assert scripts.server_key(command, installation) != scripts.server_key(WARM, INSTALLATION)
