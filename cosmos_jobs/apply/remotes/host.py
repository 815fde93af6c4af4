"""Outputs published on a host: files below a target's root, brought and fetched by SSH."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, TypeVar

from cosmos_jobs.apply.remotes import AWAY, MAX_MANIFEST
from cosmos_jobs.core import atomic
from cosmos_jobs.errors import ConnectionLost, HostError, NoContact, StoreAway, StoreError
from cosmos_jobs.targets.hosts.base import Completed, Upload
from cosmos_jobs.targets.hosts.blocking import Background
from cosmos_jobs.targets.layout import Folder, Layout

if TYPE_CHECKING:
    from cosmos_jobs.targets.hosts.ssh.host import SSHHost

T = TypeVar("T")

_ANSWER_S = 60.0
_CUTS = 2

# The scripts below are constant: their values stand in front of them, as variables.
_FIND = """[ -d "$d/runs" ] || exit 0
cd -- "$d/runs" || exit 1
for run in $runs; do [ ! -e "$run/manifest.json" ] || echo "$run"; done
"""

_DROP = '[ ! -d "$d/files" ] || { cd -- "$d/files" && rm -f -- $files; }'

# Another client may give the same content its name in between.
_NAME = """cd -- "$d/runs/$run" || exit 1
[ ! -e "$new" ] || mv -f -- "$new" manifest.json || [ ! -e "$new" ] || exit 1
sync -f . 2> /dev/null || sync
"""


class RemoteShelf:
    """The folders `outputs/files` and `outputs/runs` below `root` on a host."""

    def __init__(self, host: SSHHost, root: str) -> None:
        self._folder = Layout(root).folder(Folder.OUTPUTS)
        self.name = f"{host.name}:{self._folder}"
        self._host = host
        self._background = Background()

    def find(self, runs: Collection[str]) -> frozenset[str]:
        """Return those that have a manifest: one round trip."""
        return frozenset(self._run(_FIND, runs=" ".join(runs)).split()) & frozenset(runs)

    def manifest(self, run: str) -> bytes:
        """Return a run's manifest."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "manifest.json"
            self._do(self._host.get({f"{self._folder}/runs/{run}/manifest.json": path}))
            is_one = path.exists() and path.stat().st_size <= MAX_MANIFEST
            return path.read_bytes() if is_one else b""

    def get(self, files: Mapping[str, Path]) -> None:
        """Fetch contents as files."""
        self._do(self._host.get({self._file(sha256): path for sha256, path in files.items()}))

    def put(
        self, run: str, manifest: Path, files: Mapping[str, Path], anew: Collection[str] = ()
    ) -> None:
        """Bring what is not there, and then the manifest, under its name once it is whole."""
        if damaged := [each for each in files if each in anew]:
            self._run(_DROP, files=" ".join(damaged))
        self._bring([Upload(path, self._file(each), each) for each, path in files.items()])
        sha256 = atomic.sha256(manifest)
        self._bring([Upload(manifest, f"{self._folder}/runs/{run}/.{sha256}", sha256)])
        self._run(_NAME, run=run, new=f".{sha256}")

    def close(self) -> None:
        """Close the connection."""
        if self._background.is_running:
            self._do(self._host.close())
            self._background.stop()

    def _file(self, sha256: str) -> str:
        return f"{self._folder}/files/{sha256}"

    def _bring(self, uploads: list[Upload]) -> None:
        if wrong := self._do(self._host.put(uploads)):
            raise StoreError(f"{self.name}: {next(iter(wrong.values()))}")

    def _run(self, script: str, **values: str) -> str:
        given = {"d": self._folder, **values}
        head = "".join(f"{name}={quote(each)}\n" for name, each in given.items())
        reply = self._do(self._insist(head + script))
        if reply.exit_code != 0:
            words = reply.stderr.strip() or "the shell died"
            raise StoreError(f"{self.name}: {words}")
        return reply.stdout

    async def _insist(self, script: str) -> Completed:
        """Run a script, again when the connection was cut meanwhile: each may be repeated."""
        for _ in range(_CUTS):
            with suppress(ConnectionLost):
                return await self._host.run(script, timeout_s=_ANSWER_S)
        return await self._host.run(script, timeout_s=_ANSWER_S)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._background.do(work)
        except NoContact as error:
            message = f"published outputs are out of reach: {error.message}"
            raise StoreAway(message, hint=AWAY) from error
        except HostError as error:
            raise StoreError(error.message, hint=error.hint) from error
