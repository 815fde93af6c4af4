"""Works batches of Cosmos Transfer2.5 with one load of the model: a sample that fails, fails alone.

    driver.py [--model M] [--disable-guardrails] FOLDER
    driver.py [--model M] [--disable-guardrails] --serve --idle SECONDS SLOT

It runs in the folder of the model's checkout, in the model's own Python (3.10
or newer), and reads FOLDER/batch.jsonl, a sample a line, as NVIDIA's program
does. Beside what the model writes into FOLDER/out, status.ndjson gets a line
for the load and one for each sample. The exit code is 0 when every sample has
an outcome, whichever, and 1 when the model could not be loaded, was lost in
between, or the batch cannot be read.

With --serve it takes batch after batch from SLOT/next, until it was idle for
so long; the batches must have the same controls.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STATUS = "status.ndjson"
HINTS = ("edge", "vis", "depth", "seg")  # in the order in which NVIDIA's program names them
POLL_S = 0.2
LONGEST_REASON = 2000
SHORTEST_SECRET = 4  # a shorter one would cover half of the log

REFUSALS = (
    ("Guardrail blocked generation. Prompt:", "prompt"),
    ("Guardrail blocked generation. Negative prompt:", "negative prompt"),
    ("Guardrail blocked", "video"),
)
"""How the model says that a guardrail refused a sample, and what it refused."""

LOST = ("CUDA error", "device-side assert", "AcceleratorError", "cudaError")
"""What an exception says after which the GPU answers no more in this process."""


class NotLoadedError(Exception):
    """The model could not be loaded: nothing can be made."""


class Model:
    """The model, loaded when the first batch comes."""

    def __init__(self, name: str, guardrails: bool) -> None:
        self.name = name
        self.guardrails = guardrails
        self.hints: list[str] = []
        self.lost = False
        self._pipeline: Any = None
        self._arguments: Any = None

    def load(self, hints: list[str], out: Path) -> dict[str, object]:
        """Load the model for these controls unless it is, and return what to say of it."""
        started = time.monotonic()
        warm = self._pipeline is not None
        if not warm:
            self._load(hints, out)
        elif hints != self.hints:
            raise NotLoadedError(f"the model was loaded for {self.hints}, not for {hints}")
        return {
            "loaded_s": 0 if warm else round(time.monotonic() - started, 3),
            "warm": warm,
            "model": self.name,
            "hints": hints,
            "guardrails": self.guardrails,
        }

    def _load(self, hints: list[str], out: Path) -> None:
        sys.path.insert(0, str(Path.cwd()))
        try:
            importlib.import_module("cosmos_oss.init").init_environment()
            config = importlib.import_module("cosmos_transfer2.config")
            inference = importlib.import_module("cosmos_transfer2.inference")
            # A refusal is to be raised, not passed over: only so it says what was refused.
            setup = config.SetupArguments(
                output_dir=out,
                model=self.name,
                disable_guardrails=not self.guardrails,
                keep_going=False,
            )
            self._pipeline = inference.Control2WorldInference(setup, batch_hint_keys=hints)
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            raise NotLoadedError(described(error)) from error
        self._arguments = config.InferenceArguments
        self.hints = hints

    def make(self, sample: dict[str, Any], out: Path) -> dict[str, object]:
        """Make a sample, and return what came of it."""
        # A frame of ours would keep a failed sample's tensors alive: it is gone before we free.
        outcome = self._tried(sample, out)
        if outcome["status"] == "failed":
            free()
            self.lost = bool(outcome.get("ends"))
        return outcome

    def _tried(self, sample: dict[str, Any], out: Path) -> dict[str, object]:
        try:
            self._pipeline.generate([self._arguments(**sample)], out)
        except (Exception, SystemExit) as error:
            refused = refusal(str(error))
            if refused:
                return {"status": "blocked", "cause": refused}
            say(*traceback.format_exc().splitlines())
            reason = described(error)
            failed: dict[str, object] = {"status": "failed", "reason": reason}
            return {**failed, "ends": True} if any(each in reason for each in LOST) else failed
        if made(out, sample["name"]):
            return {"status": "succeeded"}
        return {"status": "blocked", "cause": "video" if controls(out, sample) else "text"}


def refusal(message: str) -> str:
    """Return what a guardrail refused, by the message of an exception; empty if none did."""
    return next((what for start, what in REFUSALS if message.startswith(start)), "")


def described(error: BaseException) -> str:
    """Return an exception in one line, as Python prints it, without secrets."""
    said = " ".join("".join(traceback.format_exception_only(type(error), error)).split())
    for secret in secrets():
        said = said.replace(secret.decode("utf-8", "replace"), "*" * len(secret))
    return said[:LONGEST_REASON]


def say(*lines: str) -> None:
    """Write lines into the log, marked: what ends the batch later is not to be taken for them."""
    sys.stderr.writelines(f"| {line}\n" for line in lines)
    sys.stderr.flush()


def free() -> None:
    """Give the memory of a failed sample back to the GPU."""
    gc.collect()
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None:
        return
    try:
        cuda.empty_cache()
    except Exception as error:  # the GPU is lost: the next sample says so
        say(described(error))


def made(out: Path, name: str) -> bool:
    """Return whether a sample is there in full: its text is written last."""
    videos = (out / f"{name}{suffix}" for suffix in (".mp4", ".jpg"))
    return (out / f"{name}.txt").is_file() and any(video.is_file() for video in videos)


def kept(out: Path, sample: dict[str, Any]) -> bool:
    """Return whether a sample was made before, of the same prompt."""
    name, prompt = sample["name"], str(sample.get("prompt"))
    return made(out, name) and (out / f"{name}.txt").read_bytes() == prompt.encode(
        "utf-8", "replace"
    )


def controls(out: Path, sample: dict[str, Any]) -> bool:
    """Return whether a sample left its control maps: they come between text and video."""
    return any(out.glob(f"{sample['name']}_control_*"))


# --- a batch ------------------------------------------------------------------------------


def work(folder: Path, model: Model) -> int:
    """Make the samples of a batch that are not made yet; return the exit code."""
    out = folder / "out"
    try:
        out.mkdir(exist_ok=True)
        samples = read(folder / "batch.jsonl")
        hints = [hint for hint in HINTS if any(each.get(hint) is not None for each in samples)]
        note(out, model.load(hints, out))
        for sample in samples:
            work_sample(sample, out, model)
            if model.lost:
                return 1
    except NotLoadedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (OSError, ValueError, AttributeError) as error:
        sys.stderr.write(f"{described(error)}\n")
        return 1
    return 0


def read(path: Path) -> list[dict[str, Any]]:
    """Return the samples of a batch; ValueError when it has none, or one that is no sample."""
    lines = path.read_text(encoding="utf-8").splitlines()
    samples: list[dict[str, Any]] = [json.loads(line) for line in lines]
    if not samples or not all(isinstance(each.get("name"), str) for each in samples):
        raise ValueError(f"{path} has no samples, or some without a name")
    return samples


def work_sample(sample: dict[str, Any], out: Path, model: Model) -> None:
    """Make a sample unless it is there, and note what came of it."""
    started = time.monotonic()
    outcome = {"status": "succeeded"} if kept(out, sample) else model.make(sample, out)
    seconds = round(time.monotonic() - started, 3)
    note(out, {"name": sample["name"], **outcome, "seconds": seconds})


def note(out: Path, line: dict[str, object]) -> None:
    """Append a line to the status file, in one write and down to the disk."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    handle = os.open(out / STATUS, flags, 0o666)
    try:
        os.write(handle, json.dumps(line).encode() + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)


# --- a server -----------------------------------------------------------------------------


def serve(slot: Path, idle_s: float, model: Model) -> int:
    """Work batch after batch as they come into the slot; return the exit code."""
    until = time.monotonic() + idle_s
    while True:
        folder = taken(slot)
        if folder is None:
            if time.monotonic() >= until:
                return 0
            time.sleep(POLL_S)
            continue
        with logging_to(folder / "log"):
            code = work(folder, model)
        (slot / "current").unlink(missing_ok=True)
        write(folder / "served", f"{code}\n")
        if model.lost or not model.hints:
            return 1
        until = time.monotonic() + idle_s


def taken(slot: Path) -> Path | None:
    """Take the next batch, if there is one, and return its folder."""
    try:
        current = (slot / "next").rename(slot / "current")
    except FileNotFoundError:
        return None
    return Path(current.read_text(encoding="utf-8").removesuffix("\n"))


def write(path: Path, text: str) -> None:
    """Write a file that is there in full or not at all."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.rename(path)


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Send what this process and its children write to a file, at its end, without secrets."""
    values = secrets()
    before = [os.dup(1), os.dup(2)]
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    thread, target = None, log
    if values:
        source, target = os.pipe()
        thread = threading.Thread(target=cover, args=(source, log, values), daemon=True)
        thread.start()
    redirect(target, target)
    os.close(target)
    try:
        yield
    finally:
        redirect(*before)
        for handle in before:
            os.close(handle)
        if thread:
            # A child that lives on keeps the pipe open: it is not waited for.
            thread.join(5)


def redirect(out: int, err: int) -> None:
    """Make these files our standard output and standard error."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(out, 1)
    os.dup2(err, 2)


def secrets() -> list[bytes]:
    """Return the values of the variables that COSMOS_JOBS_SECRETS names, line by line."""
    names = os.environ.get("COSMOS_JOBS_SECRETS", "").split()
    values = (os.environb.get(name.encode(), b"") for name in names)
    return [line for value in values for line in value.splitlines() if len(line) >= SHORTEST_SECRET]


def cover(source: int, log: int, values: list[bytes]) -> None:
    """Copy a pipe to a log, with stars over the secrets, also those that arrive in pieces."""
    # The longest first: one may begin another.
    pattern = re.compile(b"|".join(map(re.escape, sorted(values, key=len, reverse=True))))
    rest = b""
    while data := os.read(source, 65536):
        rest += data
        place = cut(rest, pattern, values)
        send(log, pattern.sub(stars, rest[:place]))
        rest = rest[place:]
    send(log, pattern.sub(stars, rest))
    os.close(source)
    os.close(log)


def stars(secret: re.Match[bytes]) -> bytes:
    """Return as many stars as a secret has bytes: what is behind it stays in its place."""
    return b"*" * len(secret[0])


def cut(data: bytes, pattern: re.Pattern[bytes], values: list[bytes]) -> int:
    """Return up to where `data` can be shown, whatever comes next: it may end within a secret."""
    longest = max(map(len, values))
    ends = (data[place:] for place in range(max(0, len(data) - longest + 1), len(data)))
    begun = (end for end in ends if any(len(v) > len(end) and v.startswith(end) for v in values))
    place = len(data) - len(next(begun, b""))
    return next((m.start() for m in pattern.finditer(data) if m.start() < place < m.end()), place)


def send(log: int, data: bytes) -> None:
    """Write all of `data`; where the disk is full the log ends, and the work goes on."""
    while data:
        try:
            data = data[os.write(log, data) :]
        except OSError:
            return


def main() -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description="Work batches of Cosmos Transfer2.5.")
    parser.add_argument("--model", default="edge")
    parser.add_argument("--disable-guardrails", action="store_true")
    parser.add_argument("--serve", action="store_true", help="take batches from a slot")
    parser.add_argument("--idle", type=float, default=0, help="seconds to wait for a batch")
    parser.add_argument("folder", type=Path, help="a batch's folder, or the slot")
    options = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    model = Model(options.model, not options.disable_guardrails)
    if options.serve:
        return serve(options.folder, options.idle, model)
    return work(options.folder, model)


if __name__ == "__main__":
    sys.exit(main())
