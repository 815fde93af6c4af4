"""A state file in an object store that speaks S3: replaced only if it is still the one read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cosmos_jobs.artifacts.s3 import (
    ABSENT,
    CUT,
    PATIENCE_S,
    Bucket,
    code,
    failures,
    is_network,
    status,
)
from cosmos_jobs.state.backends import RESTORE
from cosmos_jobs.state.backends.base import Content, Unwritten

FRESH_S = 1.0
BACKUP_EVERY_S = 60.0
"""A copy of the object is one more request: a backup may be so much older than the last write."""

# Others were quicker: before, just now, or they have removed it.
_CONFLICTS = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409", "404"})
_CONFLICTS |= ABSENT


class ObjectFile:
    """The object `state.json` below a URL, `s3://bucket/prefix`, with its backup beside it.

    Address, region and credentials of the store come from the environment and
    files that every program of AWS knows. Nobody ever holds a lock. An outage
    may last `patience_s`; `say` gets a line for people when one begins.
    """

    fresh_s = FRESH_S

    def __init__(
        self,
        url: str,
        patience_s: float = PATIENCE_S,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        hint = "reading commands show the last copy"
        self._bucket = Bucket(url, "the state is", hint, patience_s, say)
        self._key = self._bucket.key("state.json")
        self.name = self._bucket.name = f"s3://{self._bucket.bucket}/{self._key}"
        self._backed_up = -BACKUP_EVERY_S

    def read(self, mark: str) -> Content | None:
        """Return the object; None when it is still the one with `mark`, its ETag."""
        given = {"IfNoneMatch": mark} if mark else {}
        code, found = self._got(self._key, given)
        if code == "304":
            return None
        if found is not None:
            return found
        return Content(None, is_lost=self._got(f"{self._key}.bak", {})[1] is not None)

    @contextmanager
    def writing(self, mark: str) -> Iterator[_Writing]:
        """Read what is there: it is replaced if it is still that."""
        found = self.read(mark)
        yield _Writing(self, mark if found is None else found.mark, found)

    def replace(self, data: bytes, mark: str) -> str:
        """Write the object if it is still the one with `mark`; return the new one's."""
        if mark:
            self._back_up(mark)
        given = {"IfMatch": mark} if mark else {"IfNoneMatch": "*"}
        place = {"Bucket": self._bucket.bucket, "Key": self._key}
        reply = self._call(
            "put_object", {**place, **given, "Body": data, "ContentType": "application/json"}
        )
        if "ETag" not in reply:
            raise Unwritten(CUT)
        return str(reply["ETag"])

    def backup(self) -> bytes | None:
        """Return an earlier version, up to a minute older than the last write."""
        _, found = self._got(f"{self._key}.bak", {})
        return found.data if found else None

    def restoring(self) -> str:
        """Return what to type to get the backup back."""
        return RESTORE

    def holder(self) -> str:
        """Nobody ever holds it."""
        return ""

    def close(self) -> None:
        """Close the connections."""
        self._bucket.close()

    def _back_up(self, mark: str) -> None:
        if time.monotonic() - self._backed_up < BACKUP_EVERY_S:
            return
        # Of what we have read and found whole.
        source = {"Bucket": self._bucket.bucket, "Key": self._key}
        copy = {"Bucket": self._bucket.bucket, "Key": f"{self._key}.bak", "CopySource": source}
        self._call("copy_object", {**copy, "CopySourceIfMatch": mark})
        self._backed_up = time.monotonic()

    def _got(self, key: str, given: Mapping[str, str]) -> tuple[str, Content | None]:
        """Return an object, or the code that says why there is none; wait an outage out."""
        return self._bucket.again(lambda: self._asked(key, given))

    def _asked(self, key: str, given: Mapping[str, str]) -> tuple[str, Content | None]:
        from botocore.exceptions import ClientError

        try:
            reply = self._bucket.client().get_object(Bucket=self._bucket.bucket, Key=key, **given)
            data = reply["Body"].read()
        except ClientError as error:
            why = code(error.response)
            if why in ABSENT or why == "304":
                return why, None
            if status(error.response) >= 500:
                raise self._bucket.away(error) from error
            raise self._bucket.refused(error.response) from error
        except failures() as error:
            raise self._bucket.away(error) from error
        # An answer that was cut within its head looks like a short one.
        if "ETag" not in reply or "ContentLength" not in reply:
            raise self._bucket.away(OSError(CUT))
        return "", Content(data, str(reply["ETag"]))

    def _call(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make a conditional request; Unwritten where it may not have had its effect."""
        from botocore.exceptions import ClientError

        try:
            reply: Mapping[str, Any] = getattr(self._bucket.client(), name)(**arguments)
        except ClientError as error:
            if code(error.response) in _CONFLICTS or status(error.response) >= 500:
                raise Unwritten(str(error)) from error
            raise self._bucket.refused(error.response) from error
        except failures() as error:
            if is_network(error):
                raise Unwritten(str(error)) from error
            raise self._bucket.away(error) from error
        return reply


class _Writing:
    def __init__(self, file: ObjectFile, mark: str, found: Content | None) -> None:
        self._file = file
        self._mark = mark
        self.found = found

    def write(self, data: bytes) -> str:
        return self._file.replace(data, self._mark)
