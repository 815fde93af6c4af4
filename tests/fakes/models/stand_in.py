"""What the stand-ins for the three models share: marked videos, the ledger, trigger words.

A made video is clip.mp4 and a box that players skip, whose content is the
mark: JSON of what the program understood. A made picture is picture.jpg with
the mark behind its end. STAND_IN_LEDGER gets a line `time what engine name`
for each model load, and when a sample begins and is made. STAND_IN_SECONDS is
the length of a sample, STAND_IN_LOAD_SECONDS that of a load, and
STAND_IN_CHECKPOINT=missing fails every load.
"""

import json
import os
import signal
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BOX = b"free"
PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF")
OTHER_FILMS = (b"\x1aE\xdf\xa3", b"RIFF", b"OggS")


def _error(module, name, base=RuntimeError):
    return type(name, (base,), {"__module__": module})


OutOfMemoryError = _error("torch", "OutOfMemoryError")
InvalidDataError = _error("av.error", "InvalidDataError", ValueError)


class Log:
    """Lines for people on stderr, and in console.log and debug.log once there is a folder."""

    def __init__(self, source):
        self.source = source
        self.files = []

    def open(self, folder):
        os.makedirs(folder, exist_ok=True)
        for name in ("console.log", "debug.log"):
            self.files.append(open(os.path.join(folder, name), "w", encoding="utf-8"))  # noqa: SIM115

    def line(self, level, message):
        if os.environ.get("RANK", "0") != "0":
            return
        text = time.strftime(f"[%m-%d %H:%M:%S|{level}|{self.source}] {message}\n")
        for file in (sys.stderr, *self.files):
            file.write(text)
            file.flush()

    def info(self, message):
        self.line("INFO", message)

    def success(self, message):
        self.line("SUCCESS", message)

    def warning(self, message):
        self.line("WARNING", message)

    def error(self, message):
        self.line("ERROR", message)

    def critical(self, message):
        self.line("CRITICAL", message)


def note(what, engine, name):
    """Append a line to the ledger; one write, so that processes do not mix their lines."""
    ledger = os.environ.get("STAND_IN_LEDGER")
    if not ledger:
        return
    line = f"{time.time():.3f} {what} {engine} {'_'.join(str(name).split()) or '-'}\n"
    handle = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(handle, line.encode())
    os.close(handle)


def load(engine, name, checkpoint):
    """Load the model: a line in the ledger, and the time it takes."""
    note("load", engine, name)
    if os.environ.get("STAND_IN_CHECKPOINT") == "missing":
        raise FileNotFoundError(2, "No such file or directory", checkpoint)
    time.sleep(float(os.environ.get("STAND_IN_LOAD_SECONDS", "0")))


def generate(prompt, video, checkpoint):
    """Take the time of a sample, and fail as its prompt's trigger word says."""
    time.sleep(float(os.environ.get("STAND_IN_SECONDS", "0")))
    if "CRASH" in prompt:
        raise RuntimeError("the prompt asked for a crash")
    if "OOM" in prompt:
        raise OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of "
            "79.10 GiB of which 1.25 GiB is free."
        )
    if "GPU-LOST" in prompt:
        raise RuntimeError("CUDA error: device-side assert triggered")
    if "NO-CHECKPOINT" in prompt:
        raise FileNotFoundError(2, "No such file or directory", checkpoint)
    if "BAD-VIDEO" in prompt:
        raise unreadable(video)
    if "KILL" in prompt:
        os.kill(os.getpid(), signal.SIGKILL)
    while "HANG" in prompt:
        time.sleep(60)


def unreadable(path):
    return InvalidDataError(
        f"[Errno 1094995529] Invalid data found when processing input: '{path}'"
    )


def probe(path):
    """Return frames and frames a second of a video; None where a container is not an MP4.

    Raises InvalidDataError for what is no video or picture.
    """
    with open(path, "rb") as file:
        data = file.read()
    if data.startswith(PICTURES) and data[8:12] != b"AVI ":
        return 1, None
    if data.startswith(OTHER_FILMS):
        return None, None
    media, times = data.find(b"mdhd"), data.find(b"stts")
    if data[4:8] != b"ftyp" or media < 0 or times < 0:
        raise unreadable(path)
    (scale,) = struct.unpack_from(">I", data, media + (24 if data[media + 4] else 16))
    (entries,) = struct.unpack_from(">I", data, times + 8)
    runs = [struct.unpack_from(">II", data, times + 12 + 8 * each) for each in range(entries)]
    frames = sum(count for count, _ in runs)
    ticks = sum(count * length for count, length in runs)
    return frames, (scale * frames / ticks if ticks else None)


def write_video(path, mark):
    """Write a clip that carries the mark."""
    with open(os.path.join(HERE, "clip.mp4"), "rb") as file:
        clip = file.read()
    content = json.dumps(mark).encode()
    with open(path, "wb") as file:
        file.write(clip + (len(content) + 8).to_bytes(4, "big") + BOX + content)


def write_picture(path, mark):
    """Write a picture that carries the mark."""
    with open(os.path.join(HERE, "picture.jpg"), "rb") as file:
        picture = file.read()
    with open(path, "wb") as file:
        file.write(picture + json.dumps(mark).encode())


def write(path, mark):
    """Write a marked video, or a picture if `path` says so."""
    (write_picture if path.endswith(".jpg") else write_video)(path, mark)


def normalised(weights):
    """Return the weights divided by their sum."""
    total = sum(weights.values())
    return {hint: weight / total for hint, weight in weights.items()}
