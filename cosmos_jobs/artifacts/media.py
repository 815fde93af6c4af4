"""The one reader of videos and pictures: what a file holds, and its frames one after the other.

Nothing else in the package opens media. A whole video is never in memory. What
is found is said, not judged: what a job refuses and what an engine refuses are
different questions, and each asks the same value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

from cosmos_jobs.core.run import IMAGE_SUFFIXES

# PyAV and numpy take long to import: digests that are in the cache need neither.
if TYPE_CHECKING:
    import av
    import numpy as np
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

Pixels: TypeAlias = "NDArray[np.uint8]"
"""A picture: (height, width, 3), RGB, or (height, width), 0–255."""

Size: TypeAlias = tuple[int, int]
"""Width and height, in pixels."""

_DECODER_THREADS = 4  # each holds a frame: bounded on machines with many cores

# All decoders paint over broken data. Most say nothing unless they are strict; this one marks the
# frames (on several threads, measured), and strict it would refuse whole recordings for an odd
# message between the pictures, which cameras write and no player minds.
_MARK_DAMAGE = ("h264",)

_INTERLACED = range(2, 6)  # of FFmpeg's AVFieldOrder: 0 is unknown, 1 progressive
_MIRRORED = (2, 4, 5, 7)  # of EXIF's orientations
_ORIENTATION = 0x0112


class VideoError(Exception):
    """A video cannot be used; raised here, the message begins with the verb."""


class UnreadableError(VideoError):
    """A file cannot be opened or read on; `reason` says why, as FFmpeg does."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"cannot be read: {reason}")
        self.reason = reason


class NoPictureError(VideoError):
    """A file has no video stream: sound alone, or nothing."""

    def __init__(self) -> None:
        super().__init__("has no picture")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packets:
    """What a file stores, and what its header says about that.

    `declared` is the header's number of frames, 0 where it has none. `filled`
    are the packets with data. `empty` are the chunks of an AVI between them that
    have none: capture tools write them where the frame before stays, they are
    declared, and neither FFmpeg nor a player counts them. `hidden` packets lie
    outside the edit list: they are decoded for the sake of others, and no player
    shows them. `shown` are filled and not hidden. `corrupt_at` is how many were
    shown before the first that the container marks as damaged. `is_even` says
    whether the shown ones are evenly spaced, to the tick: None where they carry
    no times.
    """

    declared: int
    filled: int
    empty: int
    hidden: int
    shown: int
    corrupt_at: int | None = None
    is_even: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """FFmpeg's `name` of how pixels are stored, and what follows from it; `bits` a channel."""

    name: str
    bits: int
    is_grey: bool
    has_palette: bool
    has_alpha: bool


@dataclass(frozen=True, slots=True)
class Colour:
    """The codes of ITU-T H.273 for primaries, transfer and matrix; 2 is unknown."""

    primaries: int
    transfer: int
    matrix: int
    is_full_range: bool

    @property
    def is_hdr(self) -> bool:
        """Whether the transfer is PQ or HLG."""
        return self.transfer in (16, 18)


@dataclass(frozen=True, slots=True)
class First:
    """The first frame, decoded: its size as stored, and how it is turned to be upright.

    `turn` is in degrees, counter-clockwise, from the display matrix or EXIF;
    mirrored pictures are mirrored first.
    """

    size: Size
    turn: int
    is_mirrored: bool
    is_interlaced: bool

    def turned(self, size: Size) -> Size:
        """Return a size as it is after turning."""
        return size[::-1] if self.turn % 180 else size


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """What a file holds that shows something.

    Two questions have two answers each. How long: `packets.filled` is what jobs
    compare inputs by and records keep, `packets.shown` what previews, metrics
    and pages read. How large: `stored` is compared and kept, `upright` is drawn.
    They differ where a clip is trimmed by its edit list, or turned.

    `rate` is 0 where nothing says it, and of one with uneven frames their mean.
    `first` is None unless the first frame was decoded; `decoded`, how many
    frames could be, and `damage` are known once all were tried.
    """

    container: str
    codec: str
    is_picture: bool
    packets: Packets
    stored: Size
    pixel_aspect: Fraction
    rate: Fraction
    pixels: PixelFormat
    colour: Colour
    is_interlaced: bool
    first: First | None = None
    decoded: int | None = None
    damage: str = ""

    @property
    def upright(self) -> Size:
        """The size after turning; pixels are taken as they are, square or not."""
        return self.first.turned(self.first.size) if self.first else self.stored

    @property
    def as_shown(self) -> Size:
        """The size at which a player shows it: upright, with square pixels."""
        width, height = self.first.size if self.first else self.stored
        square = round(width * self.pixel_aspect), height
        return self.first.turned(square) if self.first else square

    @property
    def is_constant(self) -> bool | None:
        """Whether frames are evenly spaced; None where nothing says so."""
        return True if self.packets.shown == 1 else self.packets.is_even


def look(path: Path) -> Media:
    """Return what a file says and stores; nothing is decoded.

    Raises UnreadableError and NoPictureError, and VideoError where no decoder is here.
    """
    with _opened(path) as (container, stream):
        return _described(container, stream)


def whole(path: Path) -> Media:
    """Return what a file holds whose packets are all there, with its first frame decoded.

    Raises VideoError for any other.
    """
    seen = look(path)
    found = seen.packets
    if not seen.rate:
        raise VideoError("has no frame rate")
    if found.corrupt_at is not None:
        raise VideoError(f"is damaged at frame {found.corrupt_at}")
    if found.shown + found.hidden < found.declared:
        raise VideoError(f"ends early: {found.shown} of {found.declared} frames are there")
    if not found.shown:
        raise VideoError("has no frames")
    return replace(seen, first=first(path))


def first(path: Path, *, strict: bool = True) -> First:
    """Return how the first frame lies; raises VideoError as `frames` does."""
    frame = next(frames(path, 1, strict=strict))
    turn = round(frame.rotation / 90) * 90 % 360
    size = frame.width, frame.height
    return First(size, turn, _is_mirrored(path, frame), frame.interlaced_frame)


def decoded(path: Path) -> Media:
    """Return what a file holds, with how far it can be decoded, and what only that shows.

    Raises VideoError where not even the first frame can be.
    """
    seen = replace(look(path), first=first(path))
    done, interlaced = 0, seen.is_interlaced
    try:
        for frame in frames(path, seen.packets.shown):
            done += 1
            interlaced = interlaced or frame.interlaced_frame
    except VideoError as error:
        return replace(seen, decoded=done, damage=str(error), is_interlaced=interlaced)
    return replace(seen, decoded=done, is_interlaced=interlaced)


def frames(path: Path, limit: int, *, strict: bool = True) -> Iterator[av.VideoFrame]:
    """Decode exactly the first `limit` frames of a file that are shown, one after the other.

    Raises VideoError where the file ends or breaks before that. Damage that
    reads as other valid video cannot be noticed: with bits flipped in 120 places
    of H.264 files, 110 were noticed, 3 harmless and 7 not noticed (CAVLC, one
    bit); of 12 places in HEVC, 9 were not. Unless `strict`, what decoders paint
    over is taken as it comes.
    """
    import av

    done = 0
    with _opened(path) as (container, stream):
        context = stream.codec_context
        if strict:
            stream.thread_type = "AUTO"
            context.thread_count = _DECODER_THREADS
        if strict and context.name not in _MARK_DAMAGE:
            context.options = {"err_detect": "explode"}
        try:
            for frame in islice(container.decode(stream), limit):
                if strict and frame.is_corrupt:
                    raise VideoError(f"is damaged at frame {done}")
                yield frame
                done += 1
        except av.FFmpegError as error:
            if not strict:
                raise
            # Decoders work ahead: the frame that breaks is a few after the last that came.
            raise VideoError(f"is damaged after frame {done}: {error.strerror}") from error
    if done < limit:
        raise VideoError(f"can be decoded only in part: {done} of {limit} frames")


def sampled(path: Path, count: int) -> Iterator[av.VideoFrame]:
    """Yield at most `count` frames of a video, evenly spaced, each found by seeking.

    Raises UnreadableError and NoPictureError. What decoders paint over is taken as it comes.
    """
    with _opened(path) as (container, stream):
        length, start = stream.duration or 0, stream.start_time or 0
        shown: set[int | None] = set()
        for number in range(count if length else 1):
            wanted = start + length * (2 * number + 1) // (2 * count)
            if length:
                container.seek(wanted, stream=stream)
            frame = _until(container.decode(stream), wanted)
            if frame and frame.pts not in shown:
                shown.add(frame.pts)
                yield frame
        if not shown:
            raise NoPictureError


def rgb(frame: av.VideoFrame) -> Pixels:
    """Return a frame as (height, width, 3), RGB, turned upright as players show it."""
    import numpy as np

    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)), np.uint8)


def grey(frame: av.VideoFrame) -> Pixels:
    """Return the (height, width) levels of a frame that was written as LOSSLESS_GREY."""
    import numpy as np

    return np.asarray(frame.to_ndarray(format="gray"), np.uint8)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    import av

    try:
        with _source(path) as source, av.open(source) as container:
            if not container.streams.video:
                raise NoPictureError
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise VideoError("has a codec that cannot be decoded here")
            yield container, stream
    except (av.FFmpegError, OSError) as error:
        # The text of these errors holds the path; the reader knows the video by its role.
        raise UnreadableError(error.strerror or type(error).__name__) from error
    except ValueError as error:
        raise UnreadableError("its data makes no sense") from error


@contextmanager
def _source(path: Path) -> Iterator[Any]:
    """Give what PyAV opens: of a picture its content alone, as FFmpeg takes `a%d.jpg` for many."""
    if not is_image(path):
        yield path
        return
    with path.open("rb") as file:
        yield SimpleNamespace(read=file.read, seek=file.seek, tell=file.tell)


def is_image(path: Path) -> bool:
    """Return whether a file is named as a picture."""
    return path.name.lower().endswith(IMAGE_SUFFIXES)


def _described(container: InputContainer, stream: VideoStream) -> Media:
    context = stream.codec_context
    rate = stream.average_rate or stream.guessed_rate
    return Media(
        container=container.format.name,
        # The decoder may have another name: libdav1d decodes av1.
        codec=context.codec.canonical_name,
        is_picture=container.format.name.endswith("_pipe") and container.duration is None,
        stored=(context.width, context.height),
        pixel_aspect=Fraction(stream.sample_aspect_ratio or 1),
        rate=Fraction(rate or 0),
        pixels=_pixels(context.format),
        colour=Colour(
            int(context.color_primaries),
            int(context.color_trc),
            int(context.colorspace),
            int(context.color_range) == 2,
        ),
        is_interlaced=int(context.field_order) in _INTERLACED,
        packets=_packets(
            container.demux(stream), stream.frames, are_numbered=container.format.name == "avi"
        ),
    )


def _pixels(format_: av.VideoFormat | None) -> PixelFormat:
    if format_ is None:
        return PixelFormat(name="", bits=0, is_grey=False, has_palette=False, has_alpha=False)
    parts = format_.components
    return PixelFormat(
        name=format_.name,
        bits=max(each.bits for each in parts),
        is_grey=sum(not each.is_alpha for each in parts) == 1 and not format_.has_palette,
        has_palette=format_.has_palette,
        has_alpha=any(each.is_alpha for each in parts),
    )


def _packets(every: Iterable[Packet[VideoStream]], declared: int, *, are_numbered: bool) -> Packets:
    """Count packets; where they `are_numbered`, their times are the numbers of their chunks."""
    filled = hidden = shown = 0
    corrupt_at: int | None = None
    times: list[int | None] = []
    for packet in every:
        if corrupt_at is None and packet.is_corrupt:
            corrupt_at = shown
        is_hidden = packet.is_discard
        hidden += is_hidden
        if packet.size:
            filled += 1
            if not is_hidden:
                shown += 1
                times.append(packet.pts)
    known = sorted(each for each in times if each is not None)
    missing = known[-1] - known[0] + 1 - len(known) if known else 0
    return Packets(
        declared=declared,
        filled=filled,
        empty=max(0, missing) if are_numbered else 0,
        hidden=hidden,
        shown=shown,
        corrupt_at=corrupt_at,
        is_even=_is_even(known) if 1 < len(known) == shown else None,
    )


def _is_even(times: Sequence[int]) -> bool:
    """Return whether times are where an even spacing puts them, but for the rounding to ticks."""
    first, steps = times[0], len(times) - 1
    length = times[-1] - first
    rounding = steps if length >= 4 * steps else 0
    return all(abs((t - first) * steps - n * length) <= rounding for n, t in enumerate(times))


def _is_mirrored(path: Path, frame: av.VideoFrame) -> bool:
    try:
        found: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV cannot list what lies beside a frame that has EXIF.
        return _exif(path) in _MIRRORED
    if found is None:
        return False
    a, b, _, c, d = memoryview(bytes(found)).cast("i")[:5]
    return a * d - b * c < 0


def _exif(path: Path) -> int:
    """Return EXIF's orientation of a picture, 1 where there is none."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return int(image.getexif().get(_ORIENTATION, 1))
    except (OSError, ValueError, SyntaxError):
        return 1


def _until(decoded: Iterator[av.VideoFrame], wanted: int) -> av.VideoFrame | None:
    """Return the last frame that is not after `wanted`, the first where all are."""
    found = None
    for frame in decoded:
        if found is not None and (frame.pts is None or frame.pts > wanted):
            break
        found = frame
    return found
