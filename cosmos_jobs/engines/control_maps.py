"""Control maps for the models: computed on this machine by the preview engine, each once."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from cosmos_jobs.core.run import Scalar

END_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """A map of a `kind` (`vis` or `edge`): from which video, and how (parameters of preview)."""

    kind: str
    path: Path
    sha256: str
    params: tuple[tuple[str, Scalar], ...]

    @property
    def content(self) -> tuple[object, ...]:
        """What makes two maps the same, wherever their videos are."""
        return self.kind, self.sha256, self.params


@dataclass(frozen=True, slots=True)
class Made:
    """A finished map: where it is, and its content's digest."""

    path: Path
    sha256: str


class Controls:
    """Computes maps into a cache, which `preview` shares."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._made: dict[tuple[object, ...], Made | str] = {}
        # One program fills all cores.
        self._turn = asyncio.Lock()

    async def make(self, wanted: Iterable[Wanted]) -> Mapping[Wanted, Made | str]:
        """Return each map, or why there is none."""
        wanted = tuple(wanted)
        async with self._turn:
            missing = {each.content: each for each in wanted if each.content not in self._made}
            if missing:
                self._made |= await self._compute(missing)
        return {each: self._made[each.content] for each in wanted}

    async def _compute(
        self, missing: Mapping[tuple[object, ...], Wanted]
    ) -> dict[tuple[object, ...], Made | str]:
        names = {str(number): content for number, content in enumerate(missing)}
        lines = [_line(name, missing[content]) for name, content in names.items()]
        with tempfile.TemporaryDirectory(prefix="cosmos-jobs-") as folder:
            asked = Path(folder) / "maps.jsonl"
            asked.write_bytes(b"".join(lines))
            said, errors = await self._run(asked)
        told = {str(each["id"]): _made(each) for each in _read(said)}
        last = errors.strip().rpartition("\n")[2] or "the program ended without a word"
        return {content: told.get(name, last) for name, content in names.items()}

    async def _run(self, asked: Path) -> tuple[str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cosmos_jobs.engines.preview", "--maps"),
            *("-i", asked, "-o", asked.parent, "--cache", self._cache),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    async with asyncio.timeout(END_TIMEOUT_S):
                        await process.wait()
                except TimeoutError:
                    process.kill()
        return out.decode(), err.decode(errors="replace")


def _line(name: str, wanted: Wanted) -> bytes:
    document = {
        "id": name,
        "kind": wanted.kind,
        "path": str(wanted.path),
        "sha256": wanted.sha256,
        "params": dict(wanted.params),
    }
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def _read(said: str) -> Iterator[Mapping[str, str]]:
    """Yield what the program said; its last line may be cut, when it was killed."""
    for line in said.splitlines():
        with suppress(orjson.JSONDecodeError):
            yield orjson.loads(line)


def _made(told: Mapping[str, str]) -> Made | str:
    return told["error"] if "error" in told else Made(Path(told["path"]), told["sha256"])
