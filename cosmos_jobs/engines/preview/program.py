"""The program: reads a file of runs, makes their videos and says so line by line."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import cv2

from cosmos_jobs.engines.preview import maps_only, requests
from cosmos_jobs.engines.preview.cache import Cache
from cosmos_jobs.engines.preview.log import Log
from cosmos_jobs.engines.preview.session import Session

_STALE_S = 24 * 60 * 60


def main(arguments: Sequence[str]) -> int:
    """Make the runs or maps of a file; 0 if all are made, 1 if any failed, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    cache = options.cache or options.output / ".cache"
    try:
        if options.maps:
            done = make_maps(requests.read_maps(options.input), cache, options.jobs)
        else:
            done = make(requests.read(options.input), options.output, cache, options.jobs)
    except requests.BadRequest as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    except OSError as error:
        print(f"{options.output} cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1
    return 0 if done else 1


def make(wanted: Sequence[requests.Request], out: Path, cache: Path, jobs: int) -> bool:
    """Make every run that has no manifest in `out` yet; return whether none failed.

    `jobs` is the number of threads that compute; the bytes do not depend on it.
    Raises OSError where not even a failure can be written down.
    """
    log = Log()
    with _threads(jobs) as pool:
        Session(out, _swept(cache), pool, jobs, log).make(wanted)
    return log.failures == 0


def make_maps(wanted: Sequence[requests.MapRequest], cache: Path, jobs: int) -> bool:
    """Put the maps into the cache, print a line of JSON for each; return whether none failed."""
    failures = 0
    with _threads(jobs) as pool:
        for answer in maps_only.make(wanted, _swept(cache), pool, jobs):
            failures += "error" in answer
            print(json.dumps(answer), flush=True)  # noqa: T201, this is the answer
    return failures == 0


def _swept(cache: Path) -> Cache:
    maps = Cache(cache)
    maps.sweep(time.time() - _STALE_S)
    return maps


@contextmanager
def _threads(jobs: int) -> Iterator[ThreadPoolExecutor]:
    cv2.setNumThreads(1)  # frames are what runs in parallel
    pool = ThreadPoolExecutor(jobs)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cosmos_jobs.engines.preview",
        description="Show what a Cosmos Transfer model would be conditioned on.",
    )
    parser.add_argument("-i", "--input", type=Path, required=True, help="runs, one JSON per line")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--maps", action="store_true", help="the file has maps, not runs")
    parser.add_argument("--cache", type=Path, help="folder of computed maps (OUTPUT/.cache)")
    parser.add_argument("--jobs", type=_positive, default=_cores(), help="threads (all cores)")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _cores() -> int:
    """Return how many cores this process may use, which a scheduler may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end(number: int, _frame: object) -> NoReturn:
    """End by way of the blocks that remove temporary files."""
    sys.exit(128 + number)
