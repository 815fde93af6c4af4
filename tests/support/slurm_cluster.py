"""A real Slurm cluster of the tests' own: one node, which takes itself for one with eight GPUs.

Plain helpers: `Cluster` keeps its key, sockets, state and logs in one folder,
and programs find it by SLURM_CONF alone, also over ssh: `servers("login",
f"SetEnv SLURM_CONF={cluster.config}")`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

from tests.support.ssh_server import free_port

NODE = "node"
NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
"""What makes a program another user's: `cluster.run(*NOBODY, "sbatch", ...)`."""
REPOSITORY = Path(__file__).parents[2]
_PROGRAMS = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
}
_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_START_S, _STOP_S = 60, 30
_TOLD = 4000
_ENDED = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"}
    | {"OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"}
)
# The node is as large as we say (config_overrides), and jobs start within a second.
# With ReturnToService=2 the node itself would soon undo that it was set down.
_CONFIG = f"""\
ClusterName=tests
SlurmUser=root
AuthType=auth/munge
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ProctrackType=proctrack/pgid
TaskPlugin=task/none
GresTypes=gpu
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
DefMemPerCPU=1000
InactiveLimit=0
JobRequeue=1
KillWait=2
MailProg=/bin/true
MaxArraySize=1001
MinJobAge=300
ReturnToService=1
SlurmdTimeout=30
NodeName={NODE} NodeHostname=localhost NodeAddr=127.0.0.1 CPUs=64 RealMemory=64000 \
Features=hopper Gres=gpu:h100:8
PartitionName=gpu Nodes={NODE} Default=YES
PartitionName=short Nodes={NODE} MaxTime=1
"""


def missing() -> str:
    """Return what a machine lacks to run a cluster of its own, nothing if it has all."""
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    for program, package in _PROGRAMS.items():
        if not shutil.which(program, path=places):
            return f"{package} is not installed: invoke provision"
    if os.geteuid() != 0:
        return "only root can start a Slurm cluster"
    try:
        # Slurm looks up even addresses, and that way.
        socket.getaddrinfo("127.0.0.1", None, flags=socket.AI_ADDRCONFIG)
    except OSError:
        return "Slurm needs a network interface beside the loopback"
    return ""


class Cluster:
    """A Slurm cluster in a folder; `lines` of slurm.conf replace ours of the same name.

    The folder's path must be short, as there are sockets in it, and others than
    root must be let through to it.
    """

    def __init__(self, folder: Path, *lines: str) -> None:
        self.folder = folder
        self.config = folder / "slurm.conf"
        self.environment = {**os.environ, "SLURM_CONF": str(self.config)}
        self._lines = lines
        self._ports = free_port(), free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> Self:
        """Start the daemons, and wait until the node is ready for jobs."""
        try:
            self._lay_out()
            self._start_munge()
            self._start_node()
            self.start_controller()
        except BaseException:
            self.end()
            raise
        return self

    def _lay_out(self) -> None:
        self.folder.chmod(0o755)
        for name in ("munge", "spool", "state"):
            (self.folder / name).mkdir(exist_ok=True)
        for number in range(8):
            # Slurm takes only devices, but any of them.
            (self.folder / f"gpu{number}").symlink_to("/dev/null")
        gpus = f"NodeName={NODE} Name=gpu Type=h100 File={self.folder}/gpu[0-7]\n"
        (self.folder / "gres.conf").write_text(gpus)
        # The plugin that starts without cgroups; the one that is found otherwise needs systemd.
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        self.config.write_text("\n".join(self._settings()) + "\n")

    def _settings(self) -> Iterator[str]:
        own = {_name(line) for line in self._lines}
        lines = [*self._places(), *_CONFIG.splitlines()]
        yield from (line for line in lines if _name(line) not in own)
        yield from self._lines

    def _places(self) -> tuple[str, ...]:
        controller, node = self._ports
        return (
            # The controller starts only where the host is called so; nobody looks the name up.
            f"SlurmctldHost={socket.gethostname().partition('.')[0]}(127.0.0.1)",
            f"SlurmctldPort={controller}",
            f"SlurmdPort={node}",
            # A job that is queued again waits as long as credentials last: two minutes, or 5 s.
            f"AuthInfo=socket={self.folder}/munge/socket,cred_expire=5",
            f"StateSaveLocation={self.folder}/state",
            f"SlurmdSpoolDir={self.folder}/spool",
            f"SlurmctldPidFile={self.folder}/slurmctld.pid",
            f"SlurmdPidFile={self.folder}/slurmd.pid",
        )

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        key = folder / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        user = pwd.getpwnam("munge")
        for path in (folder, key):
            os.chown(path, user.pw_uid, user.pw_gid)
        files = (f"--{each}-file={folder}/{each}" for each in ("key", "pid", "seed"))
        argv = ("munged", "--foreground", f"--socket={folder}/socket", *files)
        self._launch("munged", *argv, user="munge")
        self._wait((folder / "socket").exists)

    def _start_node(self) -> None:
        """Start slurmd below a keeper, who knows all that comes of it and ends it after us."""
        keeper = (sys.executable, "-m", "tests.support.slurm_cluster", str(self.folder))
        slurmd = ("slurmd", "-D", "-N", NODE)
        self._launch("slurmd", *keeper, *_bound("KILL"), *slurmd, end="TERM")

    def _launch(self, name: str, *argv: str, user: str = "root", end: str = "KILL") -> None:
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*_bound(end), *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=REPOSITORY,
                env={**self.environment, "PATH": path},
                user=user,
                group=user,
                extra_groups=[],
                start_new_session=True,
            )

    def _wait(self, met: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_S
        while not met():
            dead = [each for each, process in self._processes.items() if process.poll() is not None]
            assert not dead, self._logs()
            assert time.monotonic() < deadline, self._logs()
            time.sleep(0.05)

    def _logs(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(
            each.read_text(errors="replace")[-_TOLD:] for each in self.folder.glob("*.log")
        )

    def start_controller(self) -> None:
        """Start the controller, unless it runs, and wait until it has heard of the node."""
        if "slurmctld" in self._processes:
            return
        self._launch("slurmctld", "slurmctld", "-D")
        self._wait(self._listens)
        self._wait(self._hears_of_node)

    def _listens(self) -> bool:
        # Programs of Slurm wait for seconds when nothing does.
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._ports[0])):
            return True
        return False

    def _hears_of_node(self) -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):
            state = self.node()
            return not any(each in state for each in ("*", "unknown", "not_responding"))
        return False

    def stop_controller(self) -> None:
        """Ask the controller to end, as systemctl stop does; the node and its jobs go on."""
        process = self._processes.pop("slurmctld")
        process.terminate()
        process.wait(_STOP_S)

    def kill_controller(self) -> None:
        """Kill the controller: what it learned in the last five seconds may be lost."""
        process = self._processes.pop("slurmctld")
        process.kill()
        process.wait()

    def run(self, *argv: str) -> str:
        """Run a client program; return what it prints."""
        done = subprocess.run(
            argv, capture_output=True, env=self.environment, timeout=60, check=True
        )
        return done.stdout.decode().strip()

    def node(self) -> str:
        """Return the node's state: idle, mixed, down, idle+drain, ..."""
        # Not by sinfo, whose node stays mixed when it goes down with a job on it.
        shown = self.run("scontrol", "--oneliner", "show", "node", NODE)
        return shown.partition("State=")[2].split()[0].lower()

    def set_node(self, state: str) -> None:
        """Set the node `down`, which ends its jobs, or let it `resume`."""
        self.run("scontrol", "update", f"NodeName={NODE}", f"State={state}", "Reason=tests")
        self._wait(self._hears_of_node)

    def jobs(self) -> dict[str, str]:
        """Return the states of all jobs and elements of arrays, also of those that have ended."""
        query = ("squeue", "--noheader", "--array", "--states=all", "--format=%i %T")
        return dict(each.split() for each in self.run(*query).splitlines())

    def cancel_all(self) -> None:
        """Cancel all jobs, and wait until none is left that has not ended."""
        deadline = time.monotonic() + _STOP_S
        while left := [job for job, state in self.jobs().items() if state not in _ENDED]:
            assert time.monotonic() < deadline, left
            self.run("scancel", *{job.partition("_")[0] for job in left})
            time.sleep(0.05)

    def calm(self) -> None:
        """Undo what tests do: the controller runs, the node is up and has no jobs."""
        self.start_controller()
        self._raise_node()
        self.cancel_all()
        # A job that was being started meanwhile, and could not be, has taken the node out.
        self._raise_node()

    def _raise_node(self) -> None:
        if {"down", "drain"}.intersection(self.node().split("+")):
            self.set_node("resume")

    def end(self) -> None:
        """Stop the cluster for good: nothing of it is left, nor of its jobs, nor the folder."""
        for name, process in self._processes.items():
            if name == "slurmd":
                process.terminate()
            elif process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        for process in self._processes.values():
            process.wait(_STOP_S)
        self._processes.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.end()


def _name(line: str) -> str:
    """Return what a line of slurm.conf sets; there may be many partitions."""
    name, _, value = line.partition("=")
    return f"{name}={value.split()[0]}" if name == "PartitionName" else name


def _bound(end: str) -> tuple[str, ...]:
    """Return what ends a program by a signal once its parent ends, however that ends."""
    return ("setpriv", f"--pdeathsig={end}")


def main(arguments: Sequence[str]) -> None:
    """Run a program until SIGTERM, then kill all that came of it: FOLDER PROGRAM...

    The folder is removed. Until then we are the parent of all orphans below, and
    bury them at once: Slurm waits for that after each job, and not on every
    machine does the first process do it.
    """
    folder, *command = arguments
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)
    awaited = {signal.SIGTERM, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    os.posix_spawnp(command[0], command, os.environ, setsigmask=())
    while signal.sigwait(awaited) is not signal.SIGTERM:
        _alive()
    while _alive():
        for pid in _below(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    shutil.rmtree(folder, ignore_errors=True)


def _alive() -> bool:
    """Bury our dead children; return whether others live."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _below(ancestor: int) -> set[int]:
    """Return the processes below a process."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = {ancestor}
    while below := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= below
    return found - {ancestor}


if __name__ == "__main__":
    main(sys.argv[1:])
