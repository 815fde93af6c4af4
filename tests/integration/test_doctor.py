"""Doctor on real machines: this one, and OpenSSH servers; what is missing is really missing."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from cosmos_jobs import __version__
from cosmos_jobs.config import project
from cosmos_jobs.config.project import Container, Installation, Slurm, Target
from cosmos_jobs.targets.doctor import examine
from cosmos_jobs.targets.doctor.machine import PROGRAMS
from cosmos_jobs.targets.findings import Check, Verdict
from tests.support import ssh_server
from tests.support.slurm_cluster import Cluster
from tests.support.ssh_server import Home, Server

pytest_plugins = ["tests.support.fixtures_slurm"]

VENV = str(Path(sys.prefix))
NVIDIA_SMI = """\
#!/bin/sh
case "$*" in
-L) echo 'GPU 0: NVIDIA H100 PCIe (UUID: GPU-aa11)' ;;
*) echo '0, GPU-aa11, NVIDIA H100 PCIe, 81559 MiB, 4 MiB'
   echo '1, GPU-bb22, NVIDIA H100 PCIe, 81559 MiB, 71000 MiB' ;;
esac
"""


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def looked(target: Target, root: Path) -> dict[str, Check]:
    """Return what doctor finds on this machine, by the names of the checks."""
    (found,) = asyncio.run(examine(project.Project(root, targets={"t": target}), [target]))
    assert (found.target, found.host) == ("t", "localhost")
    return {each.name: each for each in found.checks}


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target("t", str(tmp_path / "machine"))


# --- this machine ---------------------------------------------------------------------------


def test_this_machine_has_all_that_preview_needs(target: Target, tmp_path: Path) -> None:
    found = looked(target, tmp_path)

    assert {name: each.verdict for name, each in found.items() if name != "disk"} == dict.fromkeys(
        ("programs", "root", "preview"), Verdict.OK
    )
    assert sys.executable in found["preview"].detail
    assert list((tmp_path / "machine").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["a b", "a'b", 'a"b', "$(touch evil)", "`touch evil`", "a;touch evil", "-rf", "é*"]
)
def test_any_path_is_only_a_path(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    installed = {"transfer1": Installation(str(folder), str(folder))}
    target = Target("t", str(tmp_path / f"{name} root"), engines=installed)

    found = looked(target, tmp_path)

    assert found["root"].verdict is found["transfer1"].verdict is Verdict.OK
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([name, f"{name} root"])


def test_a_root_that_cannot_be_made_is_missing(target: Target, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    found = looked(replace(target, root=str(tmp_path / "file" / "root")), tmp_path)

    assert found["root"].verdict is Verdict.MISSING
    assert "Not a directory" in found["root"].detail
    assert "disk" not in found


def test_a_small_disk_is_missing_space(target: Target, small_disk: Path) -> None:
    found = looked(replace(target, root=str(small_disk / "root")), small_disk)

    assert found["disk"].verdict is Verdict.MISSING
    assert found["disk"].hint.startswith("cosmos-jobs prune")


def test_programs_that_are_not_there_are_named(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    for name in {*PROGRAMS, "cat", "date", "df", "mkdir", "mv", "rm", "tr"} - {"flock", "setsid"}:
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")

    found = looked(target, tmp_path)

    assert found["programs"].detail == "`flock` and `setsid` are not installed"
    assert found["programs"].hint == "sudo apt-get install util-linux"
    assert found["root"].verdict is Verdict.OK


def test_gpus_are_those_that_nvidia_smi_lists(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "nvidia-smi", NVIDIA_SMI)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")

    right = looked(replace(target, gpus=("0", "GPU-bb22"), gpu="A100"), tmp_path)
    wrong = looked(replace(target, gpus=("0", "2")), tmp_path)

    assert right["gpus"] == Check("gpus", Verdict.OK, "2 × NVIDIA H100 PCIe, 80 GiB")
    assert right["gpu memory"].detail == "in use (GPU 1: 69.3 GiB)"
    assert right["gpu name"].verdict is Verdict.WARNING
    assert wrong["gpus"].detail == "there is no GPU `2`, only `0` and `1`"


def test_a_driver_that_fails_says_why(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "nvidia-smi", "#!/bin/sh\necho 'Driver mismatch'\nexit 18\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")

    found = looked(replace(target, gpus=("0",)), tmp_path)

    assert (found["gpus"].verdict, found["gpus"].detail) == (Verdict.MISSING, "Driver mismatch")


def test_an_engine_has_its_folder_and_commit(target: Target, tmp_path: Path) -> None:
    there = tmp_path / "model"
    git = ["git", "-C", str(there), "-c", "user.name=a", "-c", "user.email=a@b"]
    there.mkdir()
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    shown = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    installed = {
        "transfer1": Installation(VENV, str(there)),
        "transfer2.5": Installation(VENV, str(tmp_path / "nowhere")),
        "cosmos3": Installation(str(tmp_path / "no-venv")),
    }

    (found,) = asyncio.run(examine(project.Project(tmp_path), [replace(target, engines=installed)]))
    said = [(each.name, each.verdict, each.detail) for each in found.checks]

    commit = f"{there}, commit {shown.stdout[:12]}; we know its program at 5005e823"
    assert ("transfer1", Verdict.WARNING, commit) in said
    assert (
        "transfer2.5",
        Verdict.MISSING,
        f"there is no folder {tmp_path}/nowhere",
    ) in said
    (failed,) = (detail for name, _, detail in said if name == "cosmos3")
    assert failed.startswith(f"{tmp_path}/no-venv/bin/python does not run")


def test_a_python_without_us_says_how_to_install_us(target: Target, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "v")], check=True)

    installed = {"preview": Installation(str(tmp_path / "v"))}
    found = looked(replace(target, engines=installed), tmp_path)

    assert found["preview"].verdict is Verdict.MISSING
    assert "has no cosmos-jobs" in found["preview"].detail
    assert found["preview"].hint == f"{tmp_path}/v/bin/pip install cosmos-jobs=={__version__}"


def test_docker_without_its_daemon_is_missing(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    installed = {"transfer2.5": Installation(container=Container("cosmos:latest"))}

    found = looked(replace(target, engines=installed), tmp_path)

    assert found["docker"].verdict is Verdict.MISSING
    assert "no.sock" in found["docker"].detail or "not installed" in found["docker"].detail
    assert "transfer2.5" not in found


def test_secrets_are_looked_for_here_and_there(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "x")
    monkeypatch.delenv("NO_TOKEN", raising=False)
    env = {"A_TOKEN": "${MY_TOKEN}", "B_TOKEN": "${NO_TOKEN}"}

    found = looked(replace(target, engines={"preview": Installation(env=env)}), tmp_path)

    assert found["preview"].detail == "`NO_TOKEN` has no value, neither here nor there"


# --- machines over SSH ----------------------------------------------------------------------


class Lab:
    """A project with two machines, and the home of a user who may log in there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = Home(folder / "home")
        program(folder / "bin" / "nvidia-smi", NVIDIA_SMI)
        path = f"SetEnv PATH={folder}/bin:/usr/local/bin:/usr/bin:/bin"
        self.servers = [Server(folder / f"sshd{n}", [path]) for n in (1, 2)]

    def configure(self, target: str) -> None:
        """Write the project file with one target."""
        text = f"version: 1\ntargets:\n  t: {{{target}}}\n"
        (self.folder / "cosmos-jobs.yaml").write_text(text)

    def doctor(
        self, *arguments: str, exit_code: int, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command as its user does."""
        done = subprocess.run(
            [sys.executable, "-m", "cosmos_jobs", "doctor", *arguments],
            cwd=self.folder,
            env={**self.home.environment, **(env or {})},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == exit_code, done.stdout + done.stderr
        return done

    def found(self, *arguments: str, exit_code: int) -> list[dict[str, dict[str, str]]]:
        """Return the checks of each machine by their names."""
        done = self.doctor(*arguments, "--format", "json", exit_code=exit_code)
        return [
            {each["name"]: each for each in machine["checks"]}
            for machine in orjson.loads(done.stdout)
        ]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    if why := ssh_server.missing():
        pytest.skip(why)
    made = Lab(tmp_path)
    for server in made.servers:
        server.start()
    yield made
    for server in made.servers:
        server.stop()


def test_two_machines_are_examined_over_one_connection_each(lab: Lab) -> None:
    for name, server in zip(("one", "two"), lab.servers, strict=True):
        lab.home.add(name, server)
    root = f"'{lab.folder}/a root'"
    preview = f"engines: {{preview: {{venv: {VENV}}}}}"
    lab.configure(f"hosts: [one, two], root: {root}, gpus: 2, {preview}")

    found = lab.found("t", exit_code=0)
    shown = lab.doctor("t", exit_code=0).stdout

    names = ["host key", "ssh", "clock", "programs", "root", "disk", "gpus", "preview"]
    assert all({*names} <= {*machine} for machine in found)
    assert [machine["gpus"]["detail"] for machine in found] == ["2 × NVIDIA H100 PCIe, 80 GiB"] * 2
    assert [server.connections for server in lab.servers] == [2, 2]
    assert shown.startswith("t on one\n  ok       host key ")
    assert "\n\nt on two\n" in shown
    assert "Nothing is missing" in shown
    assert "\x1b" not in shown


def test_one_machine_in_trouble_does_not_hide_the_other(lab: Lab) -> None:
    for name, server in zip(("one", "two"), lab.servers, strict=True):
        lab.home.add(name, server)
    preview = f"engines: {{preview: {{venv: {VENV}}}}}"
    lab.configure(f"hosts: [one, two], root: {lab.folder}/root, {preview}")
    lab.servers[0].stop()

    one, two = lab.found("t", "--connect-timeout", "1", exit_code=1)

    assert one["ssh"]["verdict"] == "missing"
    assert "no contact with one" in one["ssh"]["detail"]
    assert one["ssh"]["hint"] == "try it by hand: ssh one"
    assert two["preview"]["verdict"] == "ok"


def test_an_unknown_host_key_is_accepted_only_when_told_to(lab: Lab) -> None:
    lab.home.add("one", lab.servers[0], known=False)
    preview = f"engines: {{preview: {{venv: {VENV}}}}}"
    lab.configure(f"hosts: [one], root: {lab.folder}/root, {preview}")

    (refused,) = lab.found("t", exit_code=1)
    before = lab.home.known_hosts.read_text()
    (accepted,) = lab.found("t", "--accept-new-host-key", exit_code=0)
    (known,) = lab.found("t", exit_code=0)

    assert "SHA256:" in refused["ssh"]["detail"]
    assert "cosmos-jobs doctor --accept-new-host-key" in refused["ssh"]["hint"]
    assert before == ""
    assert accepted["host key"]["detail"].startswith("accepted ")
    assert "SHA256:" in accepted["host key"]["detail"]
    assert known["host key"]["detail"] == "the one in known_hosts"


def test_a_changed_host_key_is_refused_always(lab: Lab) -> None:
    lab.home.add("one", lab.servers[0])
    lab.configure(f"hosts: [one], root: {lab.folder}/root")
    lab.servers[0].change_host_key()
    lab.servers[0].restart()
    before = lab.home.known_hosts.read_text()

    (found,) = lab.found("t", "--accept-new-host-key", exit_code=1)

    assert "has changed" in found["ssh"]["detail"]
    assert lab.home.known_hosts.read_text() == before


def test_a_machine_whose_clock_is_off_is_told(lab: Lab) -> None:
    lab.home.add("one", lab.servers[0])
    lab.configure(f"hosts: [one], root: {lab.folder}/root, engines: {{preview: {{venv: {VENV}}}}}")
    program(lab.folder / "bin" / "date", '#!/bin/sh\nexec /bin/date -d "+100 seconds" "$@"\n')

    (found,) = lab.found("t", exit_code=0)

    assert found["clock"]["verdict"] == "warning"
    # A busy machine takes a while to say what time it is.
    assert re.match(r"is (99|10[0-3]) s ahead of ours", found["clock"]["detail"])


def test_what_a_remote_machine_lacks_comes_with_what_to_type(lab: Lab) -> None:
    lab.home.add("one", lab.servers[0])
    (lab.folder / "file").touch()
    engines = "engines: {preview: {venv: /opt/none}, transfer1: {path: /opt/none}}"
    lab.configure(f"hosts: [one], root: {lab.folder}/file/root, gpus: [0, 5], {engines}")

    shown = lab.doctor(exit_code=1).stdout

    assert "  missing  root " in shown
    assert "-> ssh one 'sudo mkdir -p " in shown
    assert "there is no GPU `5`, only `0` and `1`" in shown
    assert "-> ssh one 'python3 -m venv /opt/none && /opt/none/bin/pip install" in shown
    assert "there is no folder /opt/none" in shown
    assert shown.splitlines()[-1] == "4 things missing."


# --- a cluster ------------------------------------------------------------------------------


def test_a_real_cluster_has_what_a_batch_asks_for(slurm: Cluster, tmp_path: Path) -> None:
    asked = Slurm("gpu", gres="gpu:h100:2", mem="4G", cpus=4, extra=("--constraint=hopper",))
    target = Target("t", str(tmp_path / "root"), slurm=asked)

    found = looked(target, tmp_path)

    names = ("programs", "root", "preview", "slurm", "partition", "nodes", "request")
    assert {name: found[name].verdict for name in names} == dict.fromkeys(names, Verdict.OK)
    assert found["partition"].detail == "gpu: 1 node, limit infinite, gpu:h100:8"
    assert found["request"].detail.startswith("a batch could start at 2")
    assert list((tmp_path / "root").iterdir()) == []
    assert "locks" not in found


@pytest.mark.parametrize(
    ("asked", "check", "said"),
    [
        (Slurm("none"), "partition", "there is no `none`, only `gpu` and `short`"),
        (Slurm("gpu", gres="gpu:a100:1"), "request", "Slurm refuses it: allocation failure"),
        (Slurm("short", time="10"), "nodes", "a job may take 1:00, and `time` is 10"),
        (Slurm(extra=("--reservation=x",)), "request", "Slurm refuses it"),
    ],
)
def test_a_real_cluster_says_what_it_lacks(
    slurm: Cluster, tmp_path: Path, asked: Slurm, check: str, said: str
) -> None:
    found = looked(Target("t", str(tmp_path / "root"), slurm=asked), tmp_path)

    assert found[check].verdict is Verdict.MISSING
    assert found[check].detail.startswith(said)
