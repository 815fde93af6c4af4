"""A run's commands: complete, quoted, and without secrets; golden files hold them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cosmos_jobs import engines
from cosmos_jobs.apply import reproduce
from cosmos_jobs.config import schema
from cosmos_jobs.config.project import APPTAINER, PYXIS, Container, Installation, Slurm, Target
from cosmos_jobs.core import identity
from cosmos_jobs.core.record import PromptRecord, Record, State
from tests.conftest import Golden

GOLDEN = Path(__file__).parents[1] / "golden" / "reproduce"
COLOR, EDGE, LOOK = "c" * 64, "e" * 64, "f" * 64
ENV = {"HF_HOME": "/data/it's hf", "HF_TOKEN": "${HF_TOKEN}"}
DOCKER = Container("cosmos-transfer2.5:1", ("/data/hf:/data/hf",), ("--ipc=host",))
PATH = "/opt/cosmos-transfer2.5"
INSTALLED = {
    "bare": Installation(f"{PATH}/.venv", PATH, None, ENV),
    "docker": Installation("", "/workspace", DOCKER, ENV),
    "apptainer": Installation(
        "",
        "/workspace",
        Container("/images/it's.sif", ("/data/hf:/data/hf:ro",), ("--no-home",), APPTAINER),
        ENV,
    ),
    "pyxis": Installation(
        "", "/workspace", Container("nvcr.io#cosmos:1", ("/data/hf:/data/hf",), (), PYXIS), ENV
    ),
}


def made(how: str) -> str:
    """Return the script of a run of Transfer2.5 with a file among its parameters."""
    prompt = identity.prompt('It\'s "night" $(touch hacked)\n`ls`', "", {"color": COLOR})
    contract = schema.contract("transfer2.5")
    run = identity.run(prompt.id, contract, {"edge": 0.7}, {"image_context": LOOK, "seed": 7})
    files = {"image_context": "refs/look.jpg"}
    jobs = {"night": "calm/edges"}
    record = Record(run, jobs, State.SUCCEEDED, files=files)
    known = PromptRecord(
        prompt=prompt,
        name="calm",
        video="pier",
        files={"color": "inputs/pier/color.mp4"},
        frames=121,
    )
    target = Target(
        "h100", "/data/a root", gpus=("0", "1"), engines={"transfer2.5": INSTALLED[how]}
    )
    if how in ("apptainer", "pyxis"):
        target = replace(target, slurm=Slurm("gpu", gres="gpu:2", extra=("--qos=normal",)))
    manifest: Mapping[str, Any] = {
        "inputs": {"color": COLOR, "edge": EDGE, "image_context": LOOK},
        "host": "gpu-1",
        "gpu": "1",
        "gpu_name": "NVIDIA H100 PCIe",
        "driver": "570.1",
        "commit" if how == "bare" else "image": "0123abcd",
        "batch": "ba_0123456789abcdef",
        **({"node": "gpu-7", "slurm_job": "12_3"} if target.slurm else {}),
    }
    return reproduce.script(engines.get("transfer2.5"), target, record, known, manifest)


@pytest.mark.parametrize("how", INSTALLED)
def test_the_commands_are_as_agreed_and_a_shell_can_read_them(golden: Golden, how: str) -> None:
    script = made(how)

    golden(GOLDEN / f"{how}.sh", script)
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("how", INSTALLED)
def test_texts_are_data_and_secrets_stay_references(how: str, tmp_path: Path) -> None:
    script = made(how)

    # What it would start is replaced by a program that only says with what it was started.
    told = script.replace("/data/a root", f"{tmp_path}/a root")
    told = told.replace("cd /opt/cosmos-transfer2.5\n", "").replace("/opt/", f"{tmp_path}/")
    programs = ("cosmos-transfer2.5/.venv/bin/python", "docker", "apptainer", "srun")
    for program in (tmp_path / each for each in programs):
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text('#!/bin/sh\nprintf \'%s\\n\' "$@" > "$HERE/told"\n')
        program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HF_TOKEN": "s3cret", "HERE": str(tmp_path)}
    subprocess.run(["sh", "-s"], input=told, text=True, check=True, env=environment)

    (spec,) = (tmp_path / "a root").rglob("batch.jsonl")
    assert "$(touch hacked)" in spec.read_text()
    assert not list(tmp_path.rglob("hacked"))
    assert "s3cret" not in script + (tmp_path / "told").read_text()
