"""How fast the preview engine is, beside the bare OpenCV and x264 calls, and what it holds."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from benchmarks.rows import Row
from cosmos_jobs.artifacts import media, video_writer
from cosmos_jobs.artifacts.media import Pixels
from cosmos_jobs.engines import filters
from cosmos_jobs.engines.preview import recipes, requests
from cosmos_jobs.engines.preview.cache import Cache
from cosmos_jobs.engines.preview.passes import compute
from cosmos_jobs.engines.preview.probes import probe
from cosmos_jobs.engines.preview.program import make

CORES = len(os.sched_getaffinity(0))
_SIZE = (1280, 704)
_FRAMES = 16
_RUNS = 8
_TIMES = 3

# The kernel counts a child's ru_maxrss from before its exec, so VmHWM is read instead.
_REPORTING = """
import sys
from cosmos_jobs.engines.preview.program import main
code = main(sys.argv[1:])
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0], file=sys.stderr)
sys.exit(code)
"""


def measure() -> list[Row]:
    """Measure maps, further runs and memory on clips of our own at 1280×704."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        clip = _clip(root / "clip.mp4", _FRAMES)
        with redirect_stdout(io.StringIO()):  # the program's log
            return [*_maps(clip, root), *_further_runs(clip, root), *_memory(root)]


def _maps(clip: Path, root: Path) -> list[Row]:
    # Edges are quick: on a short clip the two fsync would be a fifth of the time.
    long = _clip(root / "long.mp4", 4 * _FRAMES)
    return [
        _map_row("edge", ("edge",), long, root),
        _map_row("vis", ("vis",), clip, root),
        _map_row("all four", ("vis", "edge", "depth", "seg"), clip, root),
    ]


def _map_row(name: str, kinds: Sequence[str], clip: Path, root: Path) -> Row:
    wanted = _recipes(clip, kinds)
    # In turns, so that what else the machine does meanwhile falls on both.
    pairs = [(_bare(wanted, clip, root), _ours(wanted, clip, root)) for _ in range(_TIMES)]
    bare, ours = (min(times) for times in zip(*pairs, strict=True))
    per_frame = 1000 / wanted[0].clip.frames
    return Row(
        f"maps of a new video: {name}",
        f"{ours * per_frame:.1f} ms/frame",
        f"bare calls, all cores {bare * per_frame:.1f} ms/frame",
        ours / bare,
        "≤ 1.2",
    )


def _bare(wanted: Sequence[recipes.Recipe], clip: Path, root: Path) -> float:
    """Time a plain loop: OpenCV and x264 use all cores, each in its turn."""
    frames = [media.rgb(frame) for frame in media.frames(clip, wanted[0].clip.frames)]
    table = filters.palette_table(frames[::6])
    cv2.setNumThreads(CORES)
    start = time.perf_counter()
    for recipe in wanted:
        codec = video_writer.LOSSLESS_GREY if recipe.is_grey else video_writer.LOSSLESS_RGB
        with av.open(root / "bare.mp4", "w") as container:
            added = container.add_stream(codec.encoder, 30, options=dict(codec.options))
            stream = cast(VideoStream, added)
            stream.width, stream.height = _SIZE
            stream.pix_fmt = codec.pixels
            stream.codec_context.thread_count = 0
            for frame in frames:
                image = _draw(recipe, frame, table)
                picture = av.VideoFrame.from_ndarray(image, format=codec.pixels)
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
    return time.perf_counter() - start


def _draw(recipe: recipes.Recipe, frame: Pixels, table: Pixels) -> Pixels:
    match recipe.kind:
        case "edge":
            return filters.edge(frame, 100, 200)
        case "vis":
            return filters.vis(frame, 2, 10)
        case "depth":
            return filters.luminance(frame)
        case _:
            return filters.quantised(frame, table)


def _ours(wanted: Sequence[recipes.Recipe], clip: Path, root: Path) -> float:
    """Time the engine's pass, which also decodes the video."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(dir=root) as folder, ThreadPoolExecutor(CORES) as pool:
        start = time.perf_counter()
        compute(wanted, clip, Cache(Path(folder)), pool, 2 * CORES, lambda: None)
        return time.perf_counter() - start


def _further_runs(clip: Path, root: Path) -> list[Row]:
    cache = root / "cache"
    make(_requests(clip, 1), root / "first", cache, CORES)
    times = [_timed(clip, root / f"further{number}", cache) for number in range(_TIMES)]
    wall, busy = (min(each) for each in zip(*times, strict=True))
    frames = _RUNS * _FRAMES
    return [
        Row(
            f"{_RUNS} further runs, four maps each: wall clock",
            f"{frames / wall / CORES:.0f} frames/s per core",
            "aim 50 frames/s per core",
            frames / wall / CORES / 50,
            "≥ 1",
        ),
        Row(
            f"{_RUNS} further runs, four maps each: processor time",
            f"{frames / busy:.0f} frames per processor second",
            "aim 50",
            frames / busy / 50,
            "≥ 1",
        ),
    ]


def _timed(clip: Path, out: Path, cache: Path) -> tuple[float, float]:
    """Return the seconds, by the clock and of processors, of runs whose maps are cached."""
    start, cpu = time.perf_counter(), time.process_time()
    make(_requests(clip, _RUNS), out, cache, CORES)
    return time.perf_counter() - start, time.process_time() - cpu


def _memory(root: Path) -> list[Row]:
    clips = {count: _clip(root / f"{count}.mp4", count) for count in (6, 24, 192)}
    # 24 runs go through in three rounds, 72 in nine; the allocator takes two to settle.
    some, many = (_peak_mb(root / f"many{n}", _requests(clips[6], n)) for n in (24, 72))
    short, long = (_peak_mb(root / f"long{n}", _requests(clips[n], 1)) for n in (24, 192))
    return [
        _memory_row("video of 192 frames", long, "24 frames", short),
        _memory_row("72 runs of one video", many, "24 runs", some),
    ]


def _memory_row(what: str, measured: float, beside: str, reference: float) -> Row:
    measured_text, reference_text = f"{measured:.0f} MB", f"{beside} {reference:.0f} MB"
    return Row(f"memory: {what}", measured_text, reference_text, measured / reference, "≈ 1")


def _peak_mb(out: Path, wanted: Sequence[requests.Request]) -> float:
    """Run the program on its own and return the most memory that it held (Linux)."""
    out.mkdir()
    runs = out / "runs.jsonl"
    runs.write_text("".join(json.dumps(_line(request)) + "\n" for request in wanted))
    command = [sys.executable, "-c", _REPORTING, "-i", str(runs), "-o", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(ended.stderr.split()[-1]) / 1024


def _recipes(clip: Path, kinds: Sequence[str]) -> list[recipes.Recipe]:
    made = recipes.recipes(_requests(clip, 1)[0], {"color": probe(clip)})
    return [made[kind] for kind in kinds]


def _requests(clip: Path, count: int) -> list[requests.Request]:
    source = {"path": str(clip), "sha256": f"{clip.stat().st_size:064x}"}
    return [
        requests.parse(
            {
                "id": f"rs_{number:016x}",
                "prompt": f"A pier at dusk, take {number}",
                "inputs": {"color": source},  # type: ignore[dict-item]
                "weights": {"vis": 0.2, "edge": 0.2 + number / 100, "depth": 0.3, "seg": 0.3},
            }
        )
        for number in range(count)
    ]


def _line(request: requests.Request) -> dict[str, object]:
    inputs = {
        role: {"path": str(source.path), "sha256": source.sha256}
        for role, source in request.inputs.items()
    }
    return {
        "id": request.id,
        "prompt": request.prompt,
        "inputs": inputs,
        "weights": dict(request.weights),
        "params": {"blur_strength": "low"},  # the quickest; it needs no less memory
    }


def _clip(path: Path, count: int) -> Path:
    """Write a panning view of blocks with some texture, at bucket size."""
    width, height = _SIZE
    random = np.random.default_rng(1)
    blocks = random.integers(0, 255, (height // 64, 2 * width // 64, 3), np.uint8)
    scene = cv2.resize(blocks, (2 * width, height), interpolation=cv2.INTER_NEAREST)
    scene = cv2.add(scene, random.integers(0, 12, scene.shape, np.uint8))
    with video_writer.Writer(path, _SIZE, Fraction(30), video_writer.VIEWING) as writer:
        for number in range(count):
            left = number * 4 % width
            view = np.ascontiguousarray(scene[:, left : left + width])
            writer.write(np.asarray(cv2.cvtColor(view, cv2.COLOR_RGB2YUV_I420), np.uint8))
    return path
