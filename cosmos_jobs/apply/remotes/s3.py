"""Outputs published in an object store that speaks S3: each content is uploaded once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from cosmos_jobs.apply.remotes import AWAY, MAX_MANIFEST
from cosmos_jobs.artifacts.s3 import ABSENT, CUT, PATIENCE_S, Bucket, code, failures, status
from cosmos_jobs.errors import StoreError

T = TypeVar("T")

_PART = 1 << 20
_THERE = frozenset({"PreconditionFailed", "412"})
# Somebody uploads the same content just now, and may not get to the end.
_MEANWHILE = frozenset({"ConditionalRequestConflict", "409"})


class ObjectShelf:
    """The objects `files/<sha256>` and `runs/<run id>/manifest.json` below a URL."""

    def __init__(
        self,
        url: str,
        patience_s: float = PATIENCE_S,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._bucket = Bucket(url, "published outputs are", AWAY, patience_s, say)
        self.name = self._bucket.name

    def find(self, runs: Collection[str]) -> frozenset[str]:
        """Return those that have a manifest: a listing that leaps over what nobody asks for."""
        return frozenset(self._found(sorted(runs)))

    def manifest(self, run: str) -> bytes:
        """Return a run's manifest."""
        found = self._asked(lambda: self._read(self._manifest(run)))
        return found if found and len(found) <= MAX_MANIFEST else b""

    def get(self, files: Mapping[str, Path]) -> None:
        """Fetch contents as files."""
        for sha256, path in files.items():
            self._asked(partial(self._fetch, self._file(sha256), path))

    def put(
        self, run: str, manifest: Path, files: Mapping[str, Path], anew: Collection[str] = ()
    ) -> None:
        """Upload what is not there, and then the manifest."""
        for sha256, path in files.items():
            there = self._size(self._file(sha256))
            if sha256 in anew or there != path.stat().st_size:
                # What is not whole is replaced.
                once = {"IfNoneMatch": "*"} if there is None else {}
                self._upload(self._file(sha256), path, once)
        self._upload(self._manifest(run), manifest, {})

    def close(self) -> None:
        """Close the connections."""
        self._bucket.close()

    def _found(self, runs: list[str]) -> Iterator[str]:
        number, after = 0, ""
        while number < len(runs):
            # Sorted before the manifest of this run, and behind those of all smaller ones.
            after = max(after, self._bucket.key(f"runs/{runs[number]}"))
            page = self._call(
                "list_objects_v2", "IsTruncated", Prefix=self._bucket.key("runs/"), StartAfter=after
            )
            keys = [each["Key"] for each in page.get("Contents", ())]
            there = set(keys)
            after = last = keys[-1] if keys and page["IsTruncated"] else ""
            while number < len(runs):
                key = self._manifest(runs[number])
                if last and key > last:
                    break
                if key in there:
                    yield runs[number]
                number += 1

    def _file(self, sha256: str) -> str:
        return self._bucket.key(f"files/{sha256}")

    def _manifest(self, run: str) -> str:
        return self._bucket.key(f"runs/{run}/manifest.json")

    def _size(self, key: str) -> int | None:
        """Return the size of an object, if it is there."""
        found = self._call("head_object", "ContentLength", Key=key)
        return int(found["ContentLength"]) if found else None

    def _upload(self, key: str, path: Path, condition: Mapping[str, str]) -> None:
        with path.open("rb") as body:

            def send() -> None:
                body.seek(0)
                place = {"Bucket": self._bucket.bucket, "Key": key}
                self._whole(self._bucket.client().put_object(**place, **condition, Body=body))

            self._asked(send)

    def _read(self, key: str) -> bytes:
        data: bytes = self._got(key)["Body"].read(MAX_MANIFEST + 1)
        return data

    def _fetch(self, key: str, path: Path) -> None:
        parts = self._got(key)["Body"].iter_chunks(_PART)
        try:
            with path.open("wb") as file:
                while part := self._next(parts):
                    file.write(part)
        except OSError as error:
            # A full disk is no outage, which would be waited for.
            raise StoreError(f"cannot write {path}: {error.strerror}") from error

    def _next(self, parts: Iterator[bytes]) -> bytes:
        try:
            return next(parts, b"")
        except failures() as error:
            raise self._bucket.away(error) from error

    def _got(self, key: str) -> Mapping[str, Any]:
        reply = self._bucket.client().get_object(Bucket=self._bucket.bucket, Key=key)
        return self._whole(reply, "ContentLength")

    def _call(self, name: str, sign: str, **arguments: Any) -> Mapping[str, Any]:
        """Make a request; return an empty answer where there is no such object."""

        def ask() -> Mapping[str, Any]:
            client = self._bucket.client()
            return self._whole(getattr(client, name)(Bucket=self._bucket.bucket, **arguments), sign)

        return self._asked(ask) or {}

    def _whole(self, reply: Mapping[str, Any], sign: str = "ETag") -> Mapping[str, Any]:
        """Return an answer that has `sign`: one that was cut within its head has not."""
        if sign not in reply:
            raise self._bucket.away(OSError(CUT))
        return reply

    def _asked(self, ask: Callable[[], T]) -> T | None:
        """Ask through an outage; return None where there is no such object, or it is there."""
        return self._bucket.again(lambda: self._once(ask))

    def _once(self, ask: Callable[[], T]) -> T | None:
        # It takes 0.3 s to import.
        self._bucket.client()
        from botocore.exceptions import ClientError

        try:
            return ask()
        except ClientError as error:
            why = code(error.response)
            if why in ABSENT | _THERE:
                return None
            if why in _MEANWHILE or status(error.response) >= 500:
                raise self._bucket.away(error) from error
            raise self._bucket.refused(error.response) from error
        except failures() as error:
            raise self._bucket.away(error) from error
