"""A real server of the S3 protocol: moto, in a process of its own, one request at a time.

Moto looks whether a write is allowed and then writes: only one request at a
time makes the two one step, as they are in a real store. Nor does it mind a
request that was cut, which a real store refuses.
"""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from tests.support.ssh_server import free_port

BUCKET = "films"
KEY_ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


class ObjectServer:
    """The server, with a bucket; its log is `folder`/objects.log."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.log = folder / "objects.log"
        self._process: subprocess.Popen[bytes] | None = None

    def environment(self, port: int = 0) -> dict[str, str]:
        """Return what a client's environment needs; with `port` it goes through a proxy there."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or self.port}",
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """Return a client of the library's."""
        import boto3

        return boto3.session.Session().client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.object_server", str(self.port)],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while True:
            assert self._process.poll() is None, self.log.read_text()
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)
        client = self.client()
        client.create_bucket(Bucket=BUCKET)
        client.close()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


def main(port: int) -> None:
    """Serve until killed."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, run_simple

    application = DomainDispatcherApplication(create_backend_app)

    def whole(environ: Any, start_response: Any) -> Any:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        if len(body) < length:
            # Moto would keep the part that came.
            start_response("400 Bad Request", [("Content-Length", "0")])
            return [b""]
        environ["wsgi.input"] = io.BytesIO(body)
        return application(environ, start_response)

    class Handler(WSGIRequestHandler):
        def parse_request(self) -> bool:
            head = []
            while line := self.rfile.readline(1 << 16):
                head.append(line)
                if line in (b"\r\n", b"\n"):
                    break
            else:
                # Python's own server takes a head that was cut for a whole one.
                self.close_connection = True
                return False
            rest, self.rfile = self.rfile, io.BytesIO(b"".join(head))
            try:
                return super().parse_request()
            finally:
                self.rfile = rest

    run_simple("127.0.0.1", port, whole, threaded=False, request_handler=Handler)


if __name__ == "__main__":
    main(int(sys.argv[1]))
