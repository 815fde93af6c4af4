"""The stand-in models, installed in a folder: checkouts, environments, and what they made."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAND_INS = Path(__file__).parents[1] / "fakes" / "models"
CHECKOUTS = {
    "transfer1": "cosmos-transfer1",
    "transfer2.5": "cosmos-transfer2.5",
    "cosmos3": "cosmos-framework",
}
# What the environment has installed; cosmos-transfer1 is found by PYTHONPATH alone.
INSTALLED = {
    "transfer1": (),
    "transfer2.5": ("", "packages/cosmos-oss"),
    "cosmos3": ("",),
}
_BOX = b"free"
_END_OF_PICTURE = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the ledger: `what` is load, begin or made; a load is named for its hints."""

    time: float
    what: str
    engine: str
    name: str


class Models:
    """Checkouts and environments of the three models in `folder`, which may have a space."""

    def __init__(self, folder: Path, *, repositories: bool = False) -> None:
        self.folder = folder
        self.ledger_file = folder / "ledger"
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(STAND_INS, folder, ignore=ignore, dirs_exist_ok=True)
        for engine in CHECKOUTS:
            self._environment(engine)
            if repositories:
                self._commit(engine)

    def checkout(self, engine: str) -> Path:
        """Return the folder of the engine's repository."""
        return self.folder / CHECKOUTS[engine]

    def venv(self, engine: str) -> Path:
        """Return the folder of the engine's environment."""
        return self.folder / f"venv {engine}"

    def python(self, engine: str) -> Path:
        """Return the environment's Python."""
        return self.venv(engine) / "bin" / "python"

    def installation(
        self, engine: str, *, seconds: float = 0.0, load_seconds: float = 0.0, **env: str
    ) -> dict[str, Any]:
        """Return the entry of a target's `engines`.

        A sample takes `seconds`, a model load `load_seconds`. A server that
        keeps a model loaded ends soon after its last batch.
        """
        return {
            **({"idle_s": 2} if engine == "transfer2.5" else {}),
            "path": str(self.checkout(engine)),
            "venv": str(self.venv(engine)),
            "env": {
                "STAND_IN_LEDGER": str(self.ledger_file),
                "STAND_IN_SECONDS": str(seconds),
                "STAND_IN_LOAD_SECONDS": str(load_seconds),
                **env,
            },
        }

    def commit(self, engine: str) -> str:
        """Return the commit of the checkout; it has one with `repositories` only."""
        command = ["git", "rev-parse", "HEAD"]
        output = subprocess.check_output(command, cwd=self.checkout(engine), text=True)
        return output.strip()

    def ledger(self, what: str = "") -> list[Line]:
        """Return the lines of the ledger, or only those of one kind."""
        text = self.ledger_file.read_text() if self.ledger_file.exists() else ""
        words = (line.split(" ") for line in text.splitlines())
        lines = [Line(float(time), kind, engine, name) for time, kind, engine, name in words]
        return [line for line in lines if what in ("", line.what)]

    def _environment(self, engine: str) -> None:
        python = self.python(engine)
        python.parent.mkdir(parents=True)
        paths = [self.checkout(engine) / each for each in INSTALLED[engine]]
        ours = shlex.quote(":".join(map(str, [*paths, self.folder])))
        # Behind what is set already, as installed packages are.
        lines = (
            "#!/bin/sh",
            f'PYTHONPATH="${{PYTHONPATH:+$PYTHONPATH:}}"{ours}',
            "export PYTHONPATH",
        )
        _program(python, *lines, f'exec {shlex.quote(sys.executable)} "$@"')
        run = f'exec {shlex.quote(str(python))} -m torch.distributed.run "$@"'
        _program(python.with_name("torchrun"), "#!/bin/sh", run)

    def _commit(self, engine: str) -> None:
        who = ("-c", "user.name=stand-in", "-c", "user.email=stand-in@example.com")
        for words in (("init", "-q"), ("add", "-A"), (*who, "commit", "-q", "-m", "Stand in")):
            subprocess.run(["git", *words], cwd=self.checkout(engine), check=True)


def _program(path: Path, *lines: str) -> None:
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)


def mark(path: Path) -> dict[str, Any]:
    """Return what a made video or picture carries; raises ValueError if it carries nothing."""
    data = path.read_bytes()
    # The word may come earlier by chance; only behind the right one is JSON to the end.
    end = _END_OF_PICTURE if path.suffix == ".jpg" else _BOX
    for start in _ends(data, end):
        try:
            found = json.loads(data[start:])
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    raise ValueError(f"{path} carries no mark")


def _ends(data: bytes, word: bytes) -> Sequence[int]:
    """Return where each occurrence of `word` ends."""
    places = []
    place = data.find(word)
    while place >= 0:
        places.append(place + len(word))
        place = data.find(word, place + 1)
    return places
