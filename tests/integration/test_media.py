"""The reader of media against files of every kind, and against ffprobe and ffmpeg."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorTrc
from av.video.stream import VideoStream
from PIL import Image

from cosmos_jobs.artifacts import media
from cosmos_jobs.artifacts.media import Media, NoPictureError, UnreadableError, VideoError
from tests.support.needs import need

FRAMES = 12
WIDTH, HEIGHT = 96, 64
PQ, BT2020 = 16, 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a clip of the family is made; `gaps` are the frames that are left out of its times."""

    name: str
    codec: str = "libx264"
    rate: Fraction = Fraction(24)
    pixels: str = "yuv420p"
    turn: int = 0
    aspect: Fraction = Fraction(1)
    gaps: Sequence[int] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    is_hdr: bool = False


_CODECS = {
    "libx264": ("mp4", "mov", "mkv", "avi", "ts"),
    "libx265": ("mp4", "mov", "mkv", "ts"),
    "libvpx-vp9": ("mp4", "mkv", "webm"),
    "libsvtav1": ("mp4", "mkv", "webm"),
    "mjpeg": ("mov", "mkv", "avi"),
    "prores_ks": ("mov", "mkv"),
}
_PIXELS = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}
_SPEED = {
    "libx265": {"x265-params": "log-level=none"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
}

FAMILY = (
    *(
        Kind(
            name=f"{codec}.{ending}",
            codec=codec,
            pixels=_PIXELS.get(codec, "yuv420p"),
            options=_SPEED.get(codec, {}),
        )
        for codec, endings in _CODECS.items()
        for ending in endings
    ),
    *(Kind(name=f"turned{turn}.mp4", turn=turn) for turn in (90, 180, 270)),
    *(
        Kind(name=f"{name}.{ending}", rate=rate)
        for name, rate in {"ntsc": Fraction(30000, 1001), "slow": Fraction(1, 2)}.items()
        for ending in ("mp4", "mkv")
    ),
    Kind(name="wide-pixels.mp4", aspect=Fraction(4, 3)),
    Kind(name="wide-and-turned.mp4", aspect=Fraction(4, 3), turn=90),
    Kind(name="uneven.mp4", gaps=(3, 7)),
    Kind(name="empty-chunk.avi", codec="mjpeg", pixels="yuvj420p", gaps=(5,)),
    Kind(name="ten-bits.mp4", pixels="yuv420p10le"),
    Kind(name="hdr.mkv", codec="libx265", pixels="yuv420p10le", is_hdr=True),
    Kind(name="interlaced.mp4", options={"x264-params": "tff=1"}),
)


def write(folder: Path, kind: Kind) -> Path:
    """Make a clip of the family."""
    path = folder / kind.name
    with av.open(path, "w") as container:
        added = container.add_stream(kind.codec, rate=kind.rate, options=dict(kind.options))
        stream = cast(VideoStream, added)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, kind.pixels
        context = stream.codec_context
        context.time_base = 1 / kind.rate
        context.sample_aspect_ratio = kind.aspect
        if kind.turn:
            stream.set_display_rotation(kind.turn)
        if kind.is_hdr:
            context.color_primaries, context.color_trc = ColorPrimaries(BT2020), ColorTrc(PQ)
        if "tff=1" in kind.options.values():
            context.flags |= 1 << 29  # the field order enters the container
        for number in (each for each in range(FRAMES + len(kind.gaps)) if each not in kind.gaps):
            picture = av.VideoFrame.from_ndarray(_picture(number), format="rgb24")
            picture.pts, picture.time_base = number, 1 / kind.rate
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def _picture(number: int) -> Any:
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[: HEIGHT // 2, : WIDTH // 2] = (250, 20 * number % 256, 0)
    return picture


def trimmed(source: Path, target: Path, hidden: int) -> Path:
    """Copy a video so that its first frames lie before its start, as cutters do that copy."""
    with av.open(source) as old, av.open(target, "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        tick = old.streams.video[0].time_base
        assert tick
        step = int(1 / Kind(name="").rate / tick)
        for packet in old.demux(video=0):
            if packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts = packet.pts - hidden * step, packet.dts - hidden * step
                packet.stream = stream
                new.mux(packet)
    return target


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Path]:
    """Make clips of the family, each once."""
    folder = tmp_path_factory.mktemp("family")

    def find(kind: Kind) -> Path:
        path = folder / kind.name
        return path if path.exists() else write(folder, kind)

    return find


def _ids(kind: Kind) -> str:
    return kind.name


@pytest.mark.parametrize("kind", FAMILY, ids=_ids)
def test_a_clip_is_what_it_was_made_as(kind: Kind, family: Callable[[Kind], Path]) -> None:
    seen = media.decoded(family(kind))

    assert (seen.packets.shown, seen.decoded, seen.damage) == (FRAMES, FRAMES, "")
    assert seen.packets.hidden == 0
    assert not seen.is_picture
    assert seen.stored == (WIDTH, HEIGHT)
    assert seen.upright == ((HEIGHT, WIDTH) if kind.turn % 180 else (WIDTH, HEIGHT))
    assert seen.first
    assert (seen.first.turn, seen.first.is_mirrored) == (kind.turn, False)
    assert seen.pixel_aspect == kind.aspect
    assert seen.is_constant in ((None, False) if kind.gaps else (True, None))
    assert abs(seen.rate / kind.rate - 1) < Fraction(1, 5 if kind.gaps else 1000)
    assert seen.pixels.bits == (10 if "10" in kind.pixels else 8)
    assert not (seen.pixels.is_grey or seen.pixels.has_palette or seen.pixels.has_alpha)
    assert (seen.colour.is_hdr, seen.colour.primaries == BT2020) == (kind.is_hdr, kind.is_hdr)
    assert seen.is_interlaced == ("tff=1" in kind.options.values())


@pytest.mark.parametrize("kind", FAMILY, ids=_ids)
def test_ffprobe_says_the_same(kind: Kind, family: Callable[[Kind], Path]) -> None:
    path = family(kind)

    seen, told = media.decoded(path), _ffprobe(path)

    assert seen.decoded == int(told["nb_read_frames"])
    assert seen.packets.filled == int(told["nb_read_packets"])
    assert (*seen.stored, seen.codec) == (told["width"], told["height"], told["codec_name"])
    assert seen.pixels.name == told["pix_fmt"]
    assert seen.rate == Fraction(told["avg_frame_rate"]) or seen.rate == Fraction(
        told["r_frame_rate"]
    )
    aspect = told.get("sample_aspect_ratio", "1:1").replace(":", "/").replace("0/1", "1/1")
    assert seen.pixel_aspect == Fraction(aspect)
    assert seen.is_interlaced == (told.get("field_order", "unknown") in ("tt", "bb", "tb", "bt"))
    assert seen.colour.is_hdr == (told.get("color_transfer") in ("smpte2084", "arib-std-b67"))
    turns = [each["rotation"] for each in told.get("side_data_list", ()) if "rotation" in each]
    assert seen.first
    assert seen.first.turn == (turns[0] % 360 if turns else 0)


@pytest.mark.parametrize(
    "kind", [each for each in FAMILY if each.turn or each.aspect != 1], ids=_ids
)
def test_ffmpeg_shows_the_same_frames_upright(kind: Kind, family: Callable[[Kind], Path]) -> None:
    path = family(kind)
    seen = media.decoded(path)

    shown = _ffmpeg(path, seen.upright)
    ours = [media.rgb(each) for each in media.frames(path, seen.packets.shown)]

    assert len(shown) == len(ours)
    # Two FFmpegs round colours differently.
    assert np.abs(shown.astype(int) - np.array(ours).astype(int)).max() <= 4


def test_frames_before_the_edit_list_are_counted_apart(
    tmp_path: Path, family: Callable[[Kind], Path]
) -> None:
    whole = family(Kind(name="libx264.mp4"))
    path = trimmed(whole, tmp_path / "trimmed.mp4", hidden=4)

    seen = media.decoded(path)

    counts = seen.packets
    assert (counts.filled, counts.hidden, counts.shown, seen.decoded) == (FRAMES, 4, 8, 8)
    last = [media.rgb(each) for each in media.frames(whole, FRAMES)][4:]
    assert np.array_equal([media.rgb(each) for each in media.frames(path, 8)], last)


def test_ffprobe_shows_what_the_edit_list_leaves(
    tmp_path: Path, family: Callable[[Kind], Path]
) -> None:
    path = trimmed(family(Kind(name="libx264.mp4")), tmp_path / "trimmed.mp4", hidden=4)

    assert int(_ffprobe(path)["nb_read_frames"]) == media.look(path).packets.shown


def test_empty_chunks_are_no_frames(family: Callable[[Kind], Path]) -> None:
    seen = media.look(family(Kind(name="empty-chunk.avi", codec="mjpeg")))

    assert (seen.packets.empty, seen.packets.filled, seen.packets.declared) == (1, 12, 13)


def test_wide_pixels_are_shown_wider_whichever_way_they_lie(
    family: Callable[[Kind], Path],
) -> None:
    shown = {kind.name: media.whole(family(kind)).as_shown for kind in FAMILY if kind.aspect != 1}

    assert shown == {"wide-pixels.mp4": (128, 64), "wide-and-turned.mp4": (64, 128)}


@pytest.mark.parametrize(
    ("mode", "is_grey", "palette", "alpha", "bits"),
    [
        ("RGB", False, False, False, 8),
        ("RGBA", False, False, True, 8),
        ("L", True, False, False, 8),
        ("LA", True, False, True, 8),
        ("P", False, True, False, 8),
        ("I;16", True, False, False, 16),
    ],
)
def test_a_png_is_told_by_its_pixels(
    tmp_path: Path, mode: str, is_grey: bool, palette: bool, alpha: bool, bits: int
) -> None:
    Image.new(mode, (40, 20)).save(tmp_path / "100%d.png")

    seen = media.whole(tmp_path / "100%d.png")

    found = seen.pixels
    assert (seen.is_picture, seen.upright, seen.is_constant) == (True, (40, 20), True)
    assert (found.is_grey, found.has_palette, found.has_alpha) == (is_grey, palette, alpha)
    assert found.bits == bits


@pytest.mark.parametrize(
    ("orientation", "turn", "mirrored"),
    [(1, 0, False), (3, 180, False), (6, 270, False), (8, 90, False), (2, None, True)],
)
def test_exif_says_how_a_picture_lies(
    tmp_path: Path, orientation: int, turn: int | None, mirrored: bool
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(_picture(1)).save(tmp_path / "a.jpg", exif=exif)

    first = media.first(tmp_path / "a.jpg")

    assert first.size == (WIDTH, HEIGHT)
    assert first.is_mirrored == mirrored
    assert turn is None or first.turn == turn


def test_what_is_spread_over_a_clip_is_upright(family: Callable[[Kind], Path]) -> None:
    path = family(Kind(name="turned90.mp4", turn=90))

    found = [media.rgb(each) for each in media.sampled(path, 3)]

    assert [each.shape for each in found] == [(WIDTH, HEIGHT, 3)] * 3


def test_damage_is_noted_where_it_is(tmp_path: Path, family: Callable[[Kind], Path]) -> None:
    whole = family(Kind(name="prores_ks.mov", codec="prores_ks", pixels="yuv422p10le"))
    path = tmp_path / "damaged.mov"
    content = bytearray(whole.read_bytes())
    middle = len(content) * 5 // 8
    content[middle : middle + 60] = bytes(60)
    path.write_bytes(content)

    seen = media.decoded(path)

    assert (seen.packets.shown, seen.decoded, seen.damage) == (FRAMES, 8, "is damaged at frame 8")


def test_what_shows_nothing_is_told_apart_from_what_cannot_be_read(tmp_path: Path) -> None:
    sound, junk = tmp_path / "sound.mp4", tmp_path / "junk.mp4"
    with av.open(sound, "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    junk.write_bytes(b"junk" * 100)

    with pytest.raises(NoPictureError):
        media.look(sound)
    with pytest.raises(UnreadableError) as told:
        media.look(junk)
    with pytest.raises(VideoError):
        media.look(tmp_path / "missing.mp4")
    assert told.value.reason == "Invalid data found when processing input"


def test_a_first_look_decodes_nothing(family: Callable[[Kind], Path]) -> None:
    seen: Media = media.look(family(Kind(name="turned90.mp4", turn=90)))

    assert (seen.first, seen.decoded) == (None, None)
    assert seen.upright == seen.stored


def _ffprobe(path: Path) -> Any:
    need("" if shutil.which("ffprobe") else "no ffprobe: run `invoke provision`")
    options = ["-count_frames", "-count_packets", "-select_streams", "v:0", "-show_streams"]
    done = subprocess.run(
        ["ffprobe", "-v", "error", *options, "-of", "json", path], stdout=-1, check=True
    )
    return json.loads(done.stdout)["streams"][0]


def _ffmpeg(path: Path, size: tuple[int, int]) -> Any:
    need("" if shutil.which("ffmpeg") else "no ffmpeg: run `invoke provision`")
    options = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", path, *options], capture_output=True, check=True
    )
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, size[1], size[0], 3)
