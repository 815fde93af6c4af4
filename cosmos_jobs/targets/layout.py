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

    INPUTS = "inputs"
    """Files by their content, each brought once: `<sha256>.<suffix>`."""
    BATCHES = "batches"
    """A folder for each batch."""
    RUNS = "runs"
    """For each run a file that names the batch it was last given to."""
    GPUS = "gpus"
    """The leases of GPUs: `<id>.lock`, who has each, and who queues for them."""
    WARM = "warm"
    """The servers that keep a model loaded, each in a folder named for its GPUs."""
    ARRAYS = "arrays"
    """What was handed to Slurm: a folder for each array."""
    CACHE = "cache"
    """What can be computed anew: control maps."""
    REPRODUCE = "reproduce"
    """Runs that are made again by hand."""
    STATE = "state"
    """The state of a team that keeps it here."""
    OUTPUTS = "outputs"
    """What a team has published here."""


class Name(StrEnum):
    """What is in the folder of a batch, a server or an array; in a script EXIT is `$its_exit`."""

    DESCRIPTION = "batch.json"
    """What a batch is for, as its client wrote it."""
    RUNS = "runs"
    """Its runs, each with the batches that its client knew to have had it."""
    INPUTS = "inputs"
    """The sha256 of the files that it reads."""
    SCRIPT = "run.sh"
    NEEDED = "needed"
    """A folder with a mark of each client that has not fetched all that it wants."""
    CLAIM = "claim"
    """Made by the first who starts it: of two, one goes on."""
    PID = "pid"
    """A process, with its birth: in `claim` that of run.sh."""
    RESTARTS = "restarts"
    """In `claim`: how often a scheduler had put the batch back before it began."""
    CANCEL = "cancel"
    """It is to end, or never to start."""
    REFUSED = "refused"
    """Batches that have its runs, of which its client did not know."""
    REQUEUED = "requeued"
    """It was begun a second time, and did nothing."""
    STARTED = "started"
    GPU = "gpu"
    FACTS = "facts"
    """What the machine says of itself: commit, image, GPU, driver."""
    LOG = "log"
    OUT = "out"
    """What the engine makes."""
    FAULT = "fault"
    EXIT = "exit"
    """How it ended; written last."""
    CONTAINER = "container"
    """A container may run for it; that of a server is named in it."""
    SLOT = "slot"
    """The name of the server's folder that works the batch."""
    SERVER = "server"
    """The process of a server that is to end with the batch."""
    SERVED = "served"
    """The exit code that a server gives it."""
    RESERVE = "reserve"
    """Room for the last lines on a full disk."""
    PIPE = "pipe"
    DOCKER = "docker.err"
    """What Docker said last."""
    NEXT = "next"
    """The batch that a server is to take."""
    CURRENT = "current"
    """The batch that it works."""
    KEY = "key"
    """What batches must share with it."""
    GPUS = "gpus"
    """The GPUs that it uses."""
    ENDED = "ended"
    """The exit code of a server that has ended."""
    ARRAY = "array"
    """The array that a batch is an element of, and its number there."""
    MEMBERS = "batches"
    """The batches of an array, in their order."""
    ARRAY_SCRIPT = "array.sh"
    JOB = "job"
    """The number that Slurm gave an array."""


class Dot(StrEnum):
    """How names end; in a script LOCK is `$dot_lock`."""

    LOCK = ".lock"
    HOLDER = ".holder"
    """Who leased a GPU last: the batch and its client."""
    QUEUE = ".queue"
    TEMPORARY = ".tmp"
    """What is being written, and is renamed once it is whole."""


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
