"""Where everything of a target is on its hosts, below its `root`: for Python, and for our scripts.

A script that uses `$batches_dir` or `$its_exit` is given what these mean in
front of it, by `assignments`; no script names a folder or a file by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Folder(StrEnum):
    """What is below the root; in a script that of INPUTS is `$inputs_dir`."""

    INPUTS = "inputs"  # files by their content, each brought once: `<sha256>.<suffix>`
    BATCHES = "batches"  # a folder for each batch
    RUNS = "runs"  # for each run a file that names the batch it was last given to
    GPUS = "gpus"  # the leases of GPUs: `<id>.lock`, who has each, and who queues for them
    WARM = "warm"  # the servers that keep a model loaded, each named for its GPUs
    ARRAYS = "arrays"  # a folder for each array that was handed to Slurm
    CACHE = "cache"  # what can be computed anew: control maps
    REPRODUCE = "reproduce"  # runs that are made again by hand
    STATE = "state"  # the state of a team that keeps it here
    OUTPUTS = "outputs"  # what a team has published here


class Name(StrEnum):
    """What is in the folder of a batch, a server or an array; in a script EXIT is `$its_exit`."""

    # Of a batch, as it comes.
    DESCRIPTION = "batch.json"  # what it is for, as its client wrote it
    RUNS = "runs"  # its runs, each with the batches that its client knew to have had it
    INPUTS = "inputs"  # the sha256 of the files that it reads
    SCRIPT = "run.sh"
    NEEDED = "needed"  # a mark of each client that has not fetched all that it wants
    ARRAY = "array"  # the array that it is an element of, and its number there
    # As it begins.
    CLAIM = "claim"  # made by the first who starts it: of two, one goes on
    PID = "pid"  # a process, with its birth: in `claim` that of run.sh
    RESTARTS = "restarts"  # in `claim`: how often Slurm had put it back before it began
    CANCEL = "cancel"  # it is to end, or never to start
    REFUSED = "refused"  # batches that have its runs, of which its client did not know
    REQUEUED = "requeued"  # it was begun a second time, and did nothing
    # At work.
    STARTED = "started"
    GPU = "gpu"
    FACTS = "facts"  # what the machine says of itself: commit, image, GPU, driver
    LOG = "log"
    OUT = "out"  # what the engine makes
    CONTAINER = "container"  # one may run for it; that of a server is named in it
    SLOT = "slot"  # the name of the server's folder that works it
    SERVER = "server"  # the process of a server that is to end with it
    PIPE = "pipe"
    DOCKER = "docker.err"  # what Docker said last
    # As it ends.
    SERVED = "served"  # the exit code that a server gives it
    RESERVE = "reserve"  # room for the last lines on a full disk
    FAULT = "fault"
    EXIT = "exit"  # how it ended; written last
    # Of a server.
    GPUS = "gpus"  # those that it uses
    KEY = "key"  # what batches must share with it
    NEXT = "next"  # the batch that it is to take
    CURRENT = "current"  # the batch that it works
    ENDED = "ended"  # its exit code
    # Of an array.
    MEMBERS = "batches"  # in their order
    ARRAY_SCRIPT = "array.sh"
    JOB = "job"  # the number that Slurm gave it


class Dot(StrEnum):
    """How names end; in a script LOCK is `$dot_lock`."""

    LOCK = ".lock"
    HOLDER = ".holder"  # who leased a GPU last: the batch and its client
    QUEUE = ".queue"
    TEMPORARY = ".tmp"  # what is being written, and is renamed once it is whole


BATCH = "ba_[0-9a-f]{16}"
IDENTITY = "[0-9a-f]{12}"
INPUT = rf"(?:\.{IDENTITY}\.)?([0-9a-f]{{64}})\.\w+"
"""An input, named by its sha256; in front of that the mark of a copy that was cut."""

_ANY = "?" * 12
_CUT = {"part_mark": f".{_ANY}.", "any_staging": f".{_ANY}.{_ANY}"}
"""Patterns of the names that `part` and `staging` give."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below the `root` of a target, on its hosts."""

    root: str

    def folder(self, folder: Folder) -> str:
        """Return where one of the folders is."""
        return f"{self.root}/{folder}"

    def input(self, sha256: str, suffix: str) -> str:
        """Return where a file is: by its content, once ever."""
        return f"{self.root}/{Folder.INPUTS}/{sha256}{suffix}"

    def batch(self, batch: str, name: str = "") -> str:
        """Return where a batch's folder is, or what is called `name` in it."""
        return "/".join(filter(None, (self.root, Folder.BATCHES, batch, name)))

    def out(self, batch: str, name: str) -> str:
        """Return where a file is that a batch makes."""
        return self.batch(batch, f"{Name.OUT}/{name}")

    @property
    def cache(self) -> str:
        """What can be computed anew."""
        return self.folder(Folder.CACHE)

    def reproduce(self, run: str) -> str:
        """Return where a run is made again by hand."""
        return f"{self.root}/{Folder.REPRODUCE}/{run}"


def part(folder: str, identity: str, name: str) -> str:
    """Return where a big file grows until it is whole, so that a later process goes on with it."""
    return f"{folder}/.{identity}.{name}"


def staging(folder: str, identity: str, token: str) -> str:
    """Return where small files are unpacked before they are put into place together."""
    return f"{folder}/.{identity}.{token}"


_VARIABLES = {
    **{f"{each.name.lower()}_dir": f'"$root/{each}"' for each in Folder},
    **{f"its_{each.name.lower()}": f"'{each}'" for each in Name},
    **{f"dot_{each.name.lower()}": f"'{each}'" for each in Dot},
    **{name: f"'{pattern}'" for name, pattern in _CUT.items()},
}


def assignments(script: str) -> str:
    """Return the shell assignments of those of our names that a script uses, behind `root`."""
    used = set(re.findall(r"\$\{?(\w+)", script))
    return "".join(f"{name}={value}\n" for name, value in _VARIABLES.items() if name in used)
