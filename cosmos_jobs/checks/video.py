"""A video beside what it was made of: its frames, and the metrics of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from cosmos_jobs.artifacts import media
from cosmos_jobs.artifacts.media import Pixels, Size, VideoError
from cosmos_jobs.artifacts.outputs import MAPS
from cosmos_jobs.checks import image
from cosmos_jobs.checks.registry import BY_NAME, Measured
from cosmos_jobs.engines import filters

SAMPLES = 16
"""How many frames of a video are looked at, spread over it, each with the one after it."""

LIMIT = 1280
"""Wider videos are measured at this width: a 4K one has no more to compare with."""

NO_SSIM = "needs scikit-image: pip install 'cosmos-jobs[metrics]'"
NO_INPUT = "the input video is not there as it was"

_FILTERS = {
    "color": filters.FILE_INTERPOLATION["vis"],
    "edge": filters.FILE_INTERPOLATION["edge"],
    "depth": filters.FILE_INTERPOLATION["depth"],
    "segmentation": filters.FILE_INTERPOLATION["seg"],
}
"""How the files of an input are brought to an output's size."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Subject:
    """An output and what it is compared with: files by role.

    `given` are those of the input, `own` the maps of the output itself.
    `shown` is the size of the picture where a caption is below it, `shown_given`
    the same of an input that was an output. With `covers` the engine cuts the
    input to the output's shape, else it stretches it.
    """

    video: Path
    given: Mapping[str, Path] = field(default_factory=dict)
    own: Mapping[str, Path] = field(default_factory=dict)
    shown: Size | None = None
    shown_given: Size | None = None
    covers: bool = False


def measure(subject: Subject) -> Measured:
    """Return what can be measured of a video, and why the rest cannot."""
    try:
        return _Clip(subject).measured()
    except VideoError as error:
        return Measured(why=dict.fromkeys(BY_NAME, f"the output {error}"))


class _Clip:
    """The frames of an output that are looked at, by number."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        count = media.whole(subject.video).packets.shown
        self._numbers = spread(count)
        following = {each + 1 for each in self._numbers if each + 1 < count}
        read = _read(subject.video, {*self._numbers, *following})
        self._frames = {
            number: _limited(_cut(each, subject.shown)) for number, each in read.items()
        }
        height, width = self._frames[0].shape[:2]
        self._size = (width, height)

    def measured(self) -> Measured:
        """Return all values and reasons."""
        frames = [self._frames[each] for each in self._numbers]
        found: dict[str, float | str] = {
            "sharpness": fmean(map(image.sharpness, frames)),
            "flicker": self._flicker(),
        }
        for name, compare in (
            ("edge_f1", self._edge_f1),
            ("blur_ssim", self._blur_ssim),
            ("seg_boundary_f1", self._seg_boundary_f1),
            ("depth_si_rmse", self._depth_si_rmse),
        ):
            try:
                found[name] = compare()
            except VideoError as error:
                found[name] = f"a video to compare with {error}"
        return Measured(
            {name: each for name, each in found.items() if not isinstance(each, str)},
            {name: each for name, each in found.items() if isinstance(each, str)},
            tuple(map(image.fingerprint, frames)),
        )

    def _flicker(self) -> float | str:
        pairs = [(each, each + 1) for each in self._numbers if each + 1 in self._frames]
        found = [image.flicker(self._frames[a], self._frames[b]) for a, b in pairs]
        why_none = "no two frames show the same" if pairs else "it has one frame only"
        return _mean((each for each in found if each is not None), why_none)

    def _edge_f1(self) -> float | str:
        if "edge" in self._subject.given:
            wanted = {
                number: filters.luminance(each) > 127
                for number, each in self._given("edge").items()
            }
        else:
            wanted = _each(self._given("color"), image.edges)
        found = (image.edge_f1(image.edges(self._frames[n]), each) for n, each in wanted.items())
        return _mean(found, NO_INPUT)

    def _blur_ssim(self) -> float | str:
        if not image.has_ssim():
            return NO_SSIM
        found = (
            image.blur_ssim(image.blurred(self._frames[number]), image.blurred(each))
            for number, each in self._given("color").items()
        )
        return _mean(found, NO_INPUT)

    def _seg_boundary_f1(self) -> float | str:
        pair = self._maps("segmentation", image.boundaries)
        return pair if isinstance(pair, str) else _compared(image.boundary_f1, *pair)

    def _depth_si_rmse(self) -> float | str:
        pair = self._maps("depth", filters.luminance)
        return pair if isinstance(pair, str) else _compared(image.depth_si_rmse, *pair)

    def _maps(
        self, role: str, prepare: Callable[[Pixels], _T]
    ) -> tuple[Mapping[int, _T], Mapping[int, _T]] | str:
        """Return the maps of the output and of the input, or why they cannot be had."""
        if role not in self._subject.given:
            return f"the input has no {role} map"
        if role not in self._subject.own:
            return f"the output has no {role} map; put one beside it, as {MAPS[role]}"
        own = _read(self._subject.own[role], self._numbers)
        found = {
            number: filters.resize(each, self._size, _FILTERS[role]) for number, each in own.items()
        }
        return _each(found, prepare), _each(self._given(role), prepare)

    def _given(self, role: str) -> dict[int, Pixels]:
        """Return the frames of the input beside the output's: models pair them by their number."""
        if role not in self._subject.given:
            return {}
        cut = self._subject.shown_given if role == "color" else None
        frames = _read(self._subject.given[role], self._numbers)
        return {number: self._fitted(_cut(each, cut), role) for number, each in frames.items()}

    def _fitted(self, frame: Pixels, role: str) -> Pixels:
        if self._subject.covers:
            return filters.cover(frame, self._size)
        return filters.resize(frame, self._size, _FILTERS[role])


def spread(count: int) -> list[int]:
    """Return the numbers of the frames that are looked at, of `count`."""
    last = max(0, count - 2)
    return sorted({round(each * last / (SAMPLES - 1)) for each in range(SAMPLES)})


def _read(path: Path, numbers: Iterable[int]) -> dict[int, Pixels]:
    """Return frames of a video by number, as far as it has them; raises VideoError."""
    wanted = set(numbers)
    limit = min(media.whole(path).packets.shown, max(wanted) + 1)
    frames = enumerate(media.frames(path, limit))
    return {number: media.rgb(each) for number, each in frames if number in wanted}


def _cut(frame: Pixels, size: Size | None) -> Pixels:
    return frame[: size[1], : size[0]] if size else frame


def _limited(frame: Pixels) -> Pixels:
    height, width = frame.shape[:2]
    return filters.resize(frame, (LIMIT, round(height * LIMIT / width))) if width > LIMIT else frame


def _each(frames: Mapping[int, Pixels], function: Callable[[Pixels], _T]) -> dict[int, _T]:
    return {number: function(each) for number, each in frames.items()}


def _compared(
    compare: Callable[[_T, _T], float], found: Mapping[int, _T], wanted: Mapping[int, _T]
) -> float | str:
    shared = [number for number in found if number in wanted]
    return _mean((compare(found[each], wanted[each]) for each in shared), NO_INPUT)


def _mean(values: Iterable[float], why_none: str) -> float | str:
    found = list(values)
    return fmean(found) if found else why_none
