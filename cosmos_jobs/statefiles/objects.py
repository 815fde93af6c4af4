"""A state file in an object store that speaks S3: replaced only if it is still the one read."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cosmos_jobs.errors import StoreAway, StoreError
from cosmos_jobs.protocols import Content, Unwritten
from cosmos_jobs.redaction import masked
from cosmos_jobs.statefiles import RESTORE

FRESH_S = 1.0
BACKUP_EVERY_S = 60.0
"""A copy of the object is one more request: a backup may be so much older than the last write."""

PATIENCE_S = 60.0

_CONNECT_S, _ANSWER_S = 10.0, 30.0
_LONGEST_PAUSE_S = 5.0
_CUT = "the connection was cut"
_ABSENT = frozenset({"NoSuchKey", "404"})
# Others were quicker: before, just now, or they have removed it.
_CONFLICTS = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409", "404"})
_CONFLICTS |= _ABSENT
_HINTS = {
    "NoSuchBucket": "make the bucket first, or correct `state` in cosmos-jobs.yaml",
    "AccessDenied": "it must be allowed to read and write below the prefix",
}


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
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        prefix = prefix.strip("/")
        self._bucket = bucket
        self._key = f"{prefix}/state.json" if prefix else "state.json"
        self.name = f"s3://{bucket}/{self._key}"
        self._patience_s = patience_s
        self._say = say
        self._client: Any = None
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
        place = {"Bucket": self._bucket, "Key": self._key}
        reply = self._call(
            "put_object", {**place, **given, "Body": data, "ContentType": "application/json"}
        )
        if "ETag" not in reply:
            raise Unwritten(_CUT)
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
        if self._client is not None:
            self._client.close()
            self._client = None

    def _back_up(self, mark: str) -> None:
        if time.monotonic() - self._backed_up < BACKUP_EVERY_S:
            return
        # Of what we have read and found whole.
        source = {"Bucket": self._bucket, "Key": self._key}
        copy = {"Bucket": self._bucket, "Key": f"{self._key}.bak", "CopySource": source}
        self._call("copy_object", {**copy, "CopySourceIfMatch": mark})
        self._backed_up = time.monotonic()

    def _got(self, key: str, given: Mapping[str, str]) -> tuple[str, Content | None]:
        """Return an object, or the code that says why there is none; wait an outage out."""
        deadline = time.monotonic() + self._patience_s
        for number in itertools.count():
            try:
                return self._asked(key, given)
            except StoreAway:
                pause = random.uniform(0.5, 1) * min(_LONGEST_PAUSE_S, 0.1 * 2.0**number)  # noqa: S311
                if time.monotonic() + pause > deadline:
                    raise
                if number == 2:
                    self._say(f"{self.name}: no answer; trying again for {self._patience_s:.0f} s")
                time.sleep(pause)
        raise AssertionError

    def _asked(self, key: str, given: Mapping[str, str]) -> tuple[str, Content | None]:
        from botocore.exceptions import ClientError

        try:
            reply = self._connected().get_object(Bucket=self._bucket, Key=key, **given)
            data = reply["Body"].read()
        except ClientError as error:
            code = _code(error.response)
            if code in _ABSENT or code == "304":
                return code, None
            if _status(error.response) >= 500:
                raise self._away(error) from error
            raise self._refused(error.response) from error
        except _failures() as error:
            raise self._away(error) from error
        # An answer that was cut within its head looks like a short one.
        if "ETag" not in reply or "ContentLength" not in reply:
            raise self._away(OSError(_CUT))
        return "", Content(data, str(reply["ETag"]))

    def _call(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make a conditional request; Unwritten where it may not have had its effect."""
        from botocore.exceptions import ClientError

        try:
            reply: Mapping[str, Any] = getattr(self._connected(), name)(**arguments)
        except ClientError as error:
            if _code(error.response) in _CONFLICTS or _status(error.response) >= 500:
                raise Unwritten(str(error)) from error
            raise self._refused(error.response) from error
        except _failures() as error:
            if _is_network(error):
                raise Unwritten(str(error)) from error
            raise self._away(error) from error
        return reply

    def _connected(self) -> Any:
        if self._client is None:
            try:
                # Readers of a local store need none of it; it takes 0.3 s to import.
                import boto3
                from botocore.config import Config
                from botocore.exceptions import BotoCoreError
            except ImportError as error:
                raise StoreError(
                    f"{self.name} needs the package boto3",
                    hint='install it: pip install "cosmos-jobs[s3]"',
                ) from error
            config = Config(
                connect_timeout=min(_CONNECT_S, self._patience_s),
                read_timeout=min(_ANSWER_S, self._patience_s),
                # We try again ourselves, and then look first whether it was written.
                retries={"mode": "standard", "total_max_attempts": 1},
                # Stores other than Amazon's own do not know the newer checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            )
            try:
                self._client = boto3.session.Session().client("s3", config=config)
            except (BotoCoreError, ValueError) as error:
                raise self._misled(error) from error
        return self._client

    def _refused(self, response: Mapping[str, Any]) -> StoreError:
        code, told = _code(response), response.get("Error", {})
        words = masked(str(told.get("Message") or code))
        return StoreError(f"{self.name}: {words}", hint=_HINTS.get(code, ""))

    def _away(self, error: Exception) -> StoreError:
        words = masked(str(error)).rstrip(".")
        if _is_network(error):
            hint = "reading commands show the last copy"
            return StoreAway(f"the state is out of reach: {self.name}: {words}", hint=hint)
        return self._misled(error)

    def _misled(self, error: Exception) -> StoreError:
        words = masked(str(error)).rstrip(".")
        hint = "credentials and region are taken from where the AWS command line has them"
        return StoreError(f"{self.name}: {words}", hint=hint)


class _Writing:
    def __init__(self, file: ObjectFile, mark: str, found: Content | None) -> None:
        self._file = file
        self._mark = mark
        self.found = found

    def write(self, data: bytes) -> str:
        return self._file.replace(data, self._mark)


def _code(response: Mapping[str, Any]) -> str:
    return str(response.get("Error", {}).get("Code", ""))


def _status(response: Mapping[str, Any]) -> int:
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _failures() -> tuple[type[Exception], ...]:
    """Return what is raised when a request gets no answer, or could not be made."""
    from botocore.exceptions import BotoCoreError
    from botocore.parsers import ResponseParserError

    # An answer that was cut within its head is read as far as it goes: `Content-Length: `.
    return BotoCoreError, ResponseParserError, ValueError, OSError


def _is_network(error: Exception) -> bool:
    """Return whether it may work in a moment."""
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    network = exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.IncompleteReadError
    if isinstance(error, exceptions.BotoCoreError):
        return isinstance(error, network)
    return isinstance(error, (exceptions.ClientError, ResponseParserError, ValueError, OSError))
