"""An object store that speaks S3, by boto3: its client, its errors in our words, outages."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from cosmos_jobs.core.backoff import Backoff
from cosmos_jobs.core.redaction import masked
from cosmos_jobs.errors import StoreAway, StoreError

T = TypeVar("T")

PATIENCE_S = 60.0
CUT = "the connection was cut"
ABSENT = frozenset({"NoSuchKey", "404"})

_CONNECT_S, _ANSWER_S = 10.0, 30.0
_PAUSES = Backoff(0.1, 5.0, spread=0.5)
_HINTS = {
    "NoSuchBucket": "make the bucket first, or correct its address in cosmos-jobs.yaml",
    "AccessDenied": "it must be allowed to read and write below the prefix",
}


class Bucket:
    """What lies below a URL, `s3://bucket/prefix`.

    Address, region and credentials of the store come from the environment and
    files that every program of AWS knows. An outage may last `patience_s`;
    `say` gets a line for people when one begins. `what` is out of reach then,
    and `hint` says what that means.
    """

    def __init__(
        self,
        url: str,
        what: str,
        hint: str,
        patience_s: float = PATIENCE_S,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self._prefix = prefix.strip("/")
        self.name = f"s3://{self.bucket}/{self._prefix}".rstrip("/")
        self._what = what
        self._hint = hint
        self._patience_s = patience_s
        self._say = say
        self._client: Any = None
        self._guard = threading.Lock()

    def key(self, name: str) -> str:
        """Return the key of an object below the prefix."""
        return f"{self._prefix}/{name}" if self._prefix else name

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def again(self, ask: Callable[[], T]) -> T:
        """Ask until there is an answer; raise StoreAway when an outage lasts too long."""
        deadline = math.inf
        for number in itertools.count():
            try:
                return ask()
            except StoreAway:
                # An outage begins when it is met: what was asked may have gone on for long.
                deadline = min(deadline, time.monotonic() + self._patience_s)
                pause = _PAUSES.pause(number)
                if time.monotonic() + pause > deadline:
                    raise
                if number == 2:
                    self._say(f"{self.name}: no answer; trying again for {self._patience_s:.0f} s")
                time.sleep(pause)
        raise AssertionError

    def client(self) -> Any:
        """Return the client; StoreError where there can be none."""
        with self._guard:
            if self._client is None:
                self._client = self._made()
            return self._client

    def _made(self) -> Any:
        try:
            # Readers of a local store need none of it; it takes 0.3 s to import.
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
            from botocore.handlers import add_expect_header
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
            client = boto3.session.Session().client("s3", config=config)
        except (BotoCoreError, ValueError) as error:
            raise self._misled(error) from error
        # Cut while it waits for `100 Continue`, it would wait in a loop without end.
        client.meta.events.unregister("before-call.s3", add_expect_header)
        return client

    def refused(self, response: Mapping[str, Any]) -> StoreError:
        """Return what a refusal means."""
        told, name = response.get("Error", {}), code(response)
        words = masked(str(told.get("Message") or name))
        return StoreError(f"{self.name}: {words}", hint=_HINTS.get(name, ""))

    def away(self, error: Exception) -> StoreError:
        """Return what it means that there is no answer: StoreAway if there may be one soon."""
        words = masked(str(error)).rstrip(".")
        if is_network(error):
            message = f"{self._what} out of reach: {self.name}: {words}"
            return StoreAway(message, hint=self._hint)
        return self._misled(error)

    def _misled(self, error: Exception) -> StoreError:
        words = masked(str(error)).rstrip(".")
        hint = "credentials and region are taken from where the AWS command line has them"
        return StoreError(f"{self.name}: {words}", hint=hint)


def code(response: Mapping[str, Any]) -> str:
    """Return the code of an answer that is none."""
    return str(response.get("Error", {}).get("Code", ""))


def status(response: Mapping[str, Any]) -> int:
    """Return the HTTP status of an answer."""
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def failures() -> tuple[type[Exception], ...]:
    """Return what is raised when a request gets no answer, or could not be made."""
    from botocore.exceptions import BotoCoreError
    from botocore.parsers import ResponseParserError

    # An answer that was cut within its head is read as far as it goes: `Content-Length: `.
    return BotoCoreError, ResponseParserError, ValueError, OSError


def is_network(error: Exception) -> bool:
    """Return whether it may work in a moment."""
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    network = exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.IncompleteReadError
    if isinstance(error, exceptions.BotoCoreError):
        return isinstance(error, network)
    return isinstance(error, (exceptions.ClientError, ResponseParserError, ValueError, OSError))
