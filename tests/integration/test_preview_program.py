"""The preview program on real files: what it writes, keeps and refuses."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import av
import cv2
import numpy as np
import pytest

from cosmos_jobs.artifacts import media, video_writer
from cosmos_jobs.artifacts.media import Pixels
from cosmos_jobs.engines import filters
from cosmos_jobs.engines.preview import program, upscale

Run: TypeAlias = dict[str, Any]
FPS = Fraction(30000, 1001)
RECORDING = Path(__file__).parents[3] / "shared" / "data" / "robot_handover"
COMMAND = [sys.executable, "-m", "cosmos_jobs.engines.preview"]


def film(path: Path, frames: int = 6, size: tuple[int, int] = (192, 108), seed: int = 1) -> Path:
    """Write a clip of moving blocks."""
    width, height = size
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 255, (8, 32, 3), np.uint8)
    scene = cv2.resize(blocks, (2 * width, height), interpolation=cv2.INTER_NEAREST)
    with video_writer.Writer(path, size, FPS, video_writer.LOSSLESS_RGB) as writer:
        for number in range(frames):
            left = 3 * number
            writer.write(np.ascontiguousarray(scene[:, left : left + width], np.uint8))
    return path


def source(path: Path) -> dict[str, str]:
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def run(
    number: int, color: Path, weights: Mapping[str, float] | None = None, **params: object
) -> Run:
    return {
        "id": f"rs_{number:016x}",
        "prompt": f"A pier, take {number}",
        "inputs": {"color": source(color)},
        "weights": dict(weights or {"vis": 0.25, "edge": 0.25, "depth": 0.25, "seg": 0.25}),
        "params": {"resolution": "256", **params},
    }


@dataclass(frozen=True, slots=True)
class Finished:
    """How the program ended, and what it said."""

    returncode: int
    stdout: str


def preview(out: Path, runs: list[Run], *options: str) -> Finished:
    """Run the program to its end, here, where OpenCV is loaded already."""
    lines = out.with_suffix(".jsonl")
    lines.write_text("".join(json.dumps(line) + "\n" for line in runs))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            code = program.main(["-i", str(lines), "-o", str(out), *options])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Finished(code, said.getvalue())


def manifest(out: Path, number: int) -> Any:
    return json.loads((out / f"rs_{number:016x}" / "manifest.json").read_bytes())


def reason(out: Path, number: int) -> str:
    error = json.loads((out / f"rs_{number:016x}" / "error.json").read_bytes())
    assert not (out / f"rs_{number:016x}" / "manifest.json").exists()
    assert error["status"] == "failed"
    return str(error["reason"])


def pictures(path: Path, read: Callable[[av.VideoFrame], Pixels] = media.rgb) -> list[Pixels]:
    return [read(frame) for frame in media.frames(path, media.whole(path).packets.shown)]


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_run_leaves_a_playable_video_its_maps_and_a_manifest(tmp_path: Path) -> None:
    color = film(tmp_path / "color.mp4")

    finished = preview(tmp_path / "out", [run(1, color)])

    assert finished.returncode == 0
    assert finished.stdout.splitlines()[-1] == "made rs_0000000000000001 6 frames"
    folder = tmp_path / "out" / "rs_0000000000000001"
    with av.open(folder / "output.mp4") as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == FPS
        assert sum(1 for _ in container.decode(stream)) == 6
    head = (folder / "output.mp4").read_bytes()
    assert head.index(b"moov") < head.index(b"mdat")
    written = manifest(tmp_path / "out", 1)
    assert (written["run"], written["status"]) == ("rs_0000000000000001", "succeeded")
    assert (written["frames"], written["source_frames"], written["fps"]) == (6, 6, "30000/1001")
    assert written["picture"] == {"width": 320, "height": 192}
    assert media.whole(folder / "output.mp4").upright == (written["width"], written["height"])
    named = [written["output"], *written["controls"].values()]
    for file in named:
        digest = hashlib.sha256((folder / file["path"]).read_bytes()).hexdigest()
        assert digest == file["sha256"]
    assert str(tmp_path) not in json.dumps(written)
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {
        *("output.mp4", "manifest.json", "vis.mp4", "edge.mp4", "depth.mp4", "seg.mp4")
    }


def test_maps_are_shipped_bit_for_bit(tmp_path: Path) -> None:
    color = film(tmp_path / "color.mp4")
    frames = [filters.resize(frame, (320, 192)) for frame in pictures(color)]

    preview(tmp_path / "out", [run(1, color, edge_threshold="low", blur_strength="high")])

    controls = tmp_path / "out" / "rs_0000000000000001" / "controls"
    edges, blurred = pictures(controls / "edge.mp4"), pictures(controls / "vis.mp4")
    depth = pictures(controls / "depth.mp4")
    for number, frame in enumerate(frames):
        assert np.array_equal(edges[number][..., 1], cv2.Canny(frame, 50, 100))
        assert np.array_equal(blurred[number], filters.vis(frame, 1, 16))
        assert np.array_equal(depth[number][..., 0], cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
    opened, image = cv2.VideoCapture(str(controls / "edge.mp4")).read()
    assert opened
    assert np.array_equal(image[..., 0], cv2.Canny(frames[0], 50, 100))


def test_supplied_maps_are_used_resized_and_named(tmp_path: Path) -> None:
    color = film(tmp_path / "color.mp4")
    wanted = run(1, color)
    for seed, role in enumerate(("vis", "edge", "depth", "segmentation")):
        wanted["inputs"][role] = source(film(tmp_path / f"{role}.mp4", size=(64, 48), seed=seed))

    finished = preview(tmp_path / "out", [wanted])

    assert finished.returncode == 0
    controls = manifest(tmp_path / "out", 1)["controls"]
    assert {control["source"] for control in controls.values()} == {"file"}
    shipped = tmp_path / "out" / "rs_0000000000000001" / "controls"
    given = pictures(tmp_path / "segmentation.mp4")[3]
    expected = cv2.resize(given, (320, 192), interpolation=cv2.INTER_NEAREST)
    assert np.array_equal(pictures(shipped / "seg.mp4")[3], expected)


def test_stand_ins_are_stated(tmp_path: Path) -> None:
    preview(tmp_path / "out", [run(1, film(tmp_path / "color.mp4"), max_frames=2)])

    controls = manifest(tmp_path / "out", 1)["controls"]
    assert controls["depth"]["source"] == "luminance"
    assert controls["seg"]["source"] == "k-means"
    assert controls["edge"]["thresholds"] == [100, 200]
    assert controls["vis"]["preset"] == "medium"


def test_the_same_runs_give_the_same_bytes_whatever_the_threads(tmp_path: Path) -> None:
    color = film(tmp_path / "color.mp4")
    runs = [run(number, color, {"edge": 0.1 * number, "vis": 0.3}) for number in (1, 2, 3)]

    preview(tmp_path / "one", runs, "--jobs", "1")
    preview(tmp_path / "four", runs[::-1], "--jobs", "4")

    assert everything(tmp_path / "one") == everything(tmp_path / "four")


def test_max_frames_cuts_and_the_whole_length_is_told(tmp_path: Path) -> None:
    color = film(tmp_path / "color.mp4")

    preview(tmp_path / "out", [run(1, color, max_frames=2), run(2, color, max_frames=99)])

    assert manifest(tmp_path / "out", 1)["frames"] == 2
    assert manifest(tmp_path / "out", 1)["source_frames"] == 6
    assert manifest(tmp_path / "out", 2)["frames"] == 6


def test_maps_are_computed_once_for_all_runs_and_invocations(tmp_path: Path) -> None:
    color = film(tmp_path / "color.mp4")
    cache = tmp_path / "cache"
    many = [run(number, color, {"edge": 1}) for number in range(10)]

    preview(tmp_path / "first", many, "--cache", str(cache))
    before = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    again = preview(tmp_path / "second", [run(99, color)], "--cache", str(cache))

    assert len(list(cache.glob("*.mp4"))) == 4
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == before
    assert "maps" not in again.stdout
    shipped = tmp_path / "second" / "rs_0000000000000063" / "controls" / "edge.mp4"
    assert shipped.samefile(next(cache.glob("edge-*.mp4")))


@pytest.mark.parametrize("damage", ["truncated", "changed", "unlabelled"])
def test_a_damaged_map_in_the_cache_is_computed_again(tmp_path: Path, damage: str) -> None:
    color = film(tmp_path / "color.mp4", frames=2)
    cache = tmp_path / "cache"
    preview(tmp_path / "first", [run(1, color, {"edge": 1})], "--cache", str(cache))
    whole = everything(tmp_path / "first")
    edge = next(cache.glob("edge-*.mp4"))
    match damage:
        case "truncated":
            os.truncate(edge, 100)
        case "changed":
            edge.write_bytes(edge.read_bytes()[:-1] + b"!")
        case _:
            edge.with_suffix(".json").write_text("{")

    finished = preview(tmp_path / "second", [run(1, color, {"edge": 1})], "--cache", str(cache))

    assert finished.returncode == 0
    assert everything(tmp_path / "second") == whole


def test_two_programs_at_once_share_a_cache(tmp_path: Path) -> None:
    color = film(tmp_path / "color.mp4")
    lines = tmp_path / "runs.jsonl"
    lines.write_text(json.dumps(run(1, color)))
    command = [*COMMAND, "-i", str(lines), "--cache", str(tmp_path / "cache"), "-o"]

    both = [
        subprocess.Popen([*command, str(tmp_path / name)], stdout=subprocess.DEVNULL)
        for name in ("a", "b")
    ]
    codes = [one.wait(timeout=60) for one in both]

    assert codes == [0, 0]
    assert everything(tmp_path / "a") == everything(tmp_path / "b")


def test_a_run_that_is_made_is_left_alone(tmp_path: Path) -> None:
    wanted = [run(1, film(tmp_path / "color.mp4", frames=2), {"edge": 1})]
    preview(tmp_path / "out", wanted)
    output = tmp_path / "out" / "rs_0000000000000001" / "output.mp4"
    before = output.stat().st_mtime_ns

    again = preview(tmp_path / "out", wanted)

    assert again.returncode == 0
    assert "made" not in again.stdout
    assert output.stat().st_mtime_ns == before


def test_bad_inputs_fail_their_run_with_a_reason_and_no_other(tmp_path: Path) -> None:
    color = film(tmp_path / "color.mp4")
    bad = {name: tmp_path / f"{name}.mp4" for name in ("text", "cut", "gone", "empty", "broken")}
    bad["text"].write_text("version https://git-lfs.github.com/spec/v1")
    bad["empty"].write_bytes(b"")
    bad["cut"].write_bytes(color.read_bytes()[: -color.stat().st_size // 3])
    content = bytearray(color.read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 400] = bytes(400)
    bad["broken"].write_bytes(content)
    runs = [run(1, color)]
    for number, path in enumerate(bad.values(), start=2):
        runs.append(run(number, color))
        digest = source(path)["sha256"] if path.exists() else "f" * 64
        runs[-1]["inputs"]["color"] = {"path": str(path), "sha256": digest}

    finished = preview(tmp_path / "out", runs)

    assert finished.returncode == 1
    assert manifest(tmp_path / "out", 1)["status"] == "succeeded"
    reasons = {name: reason(tmp_path / "out", n) for n, name in enumerate(bad, start=2)}
    assert "cannot be read" in reasons["text"]
    assert "No such file" in reasons["gone"]
    assert "cannot be read" in reasons["empty"]
    assert reasons["cut"]
    assert reasons["broken"]
    assert all(text.startswith("the color video ") for text in reasons.values())
    assert f"failed rs_{2:016x} {reasons['text']}" in finished.stdout.splitlines()
    assert not list((tmp_path / "out").rglob(".*.mp4"))


def recorded(path: Path) -> Path:
    """Write a clip as cameras do: lossy H.264 with B-frames."""
    camera = replace(video_writer.VIEWING, options=(("preset", "medium"), ("crf", "18")))
    random = np.random.default_rng(1)
    scene = cv2.resize(random.integers(0, 255, (30, 60, 3), np.uint8), (400, 240))
    with video_writer.Writer(path, (320, 240), FPS, camera) as writer:
        for number in range(30):
            view = np.ascontiguousarray(scene[:, number : number + 320])
            writer.write(np.asarray(cv2.cvtColor(view, cv2.COLOR_RGB2YUV_I420), np.uint8))
    return path


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_flipped_bits_in_the_middle_of_a_video_are_not_painted_over(
    tmp_path: Path, place: float
) -> None:
    color = recorded(tmp_path / "color.mp4")
    content = bytearray(color.read_bytes())
    start = content.index(b"mdat")
    middle = start + int((len(content) - start) * place)
    content[middle : middle + 64] = bytes(byte ^ 0x24 for byte in content[middle : middle + 64])
    color.write_bytes(content)

    finished = preview(tmp_path / "out", [run(1, color, {"edge": 1})])

    assert finished.returncode == 1
    assert reason(tmp_path / "out", 1).startswith("the color video is damaged ")


def test_an_odd_message_between_the_pictures_is_no_damage(tmp_path: Path) -> None:
    color = recorded(tmp_path / "color.mp4")
    odd = tmp_path / "odd.mp4"
    timing = bytes.fromhex("000000050601281180")  # a picture timing that ends too soon
    with av.open(color) as source_file, av.open(odd, "w") as copy:
        stream = copy.add_stream_from_template(source_file.streams.video[0])
        for packet in source_file.demux():
            if packet.dts is not None:
                changed = av.Packet(timing + bytes(packet))
                changed.pts, changed.dts, changed.stream = packet.pts, packet.dts, stream
                changed.time_base, changed.is_keyframe = packet.time_base, packet.is_keyframe
                copy.mux(changed)

    finished = preview(tmp_path / "out", [run(1, odd, {"edge": 1})])

    assert finished.returncode == 0, finished.stdout


def test_an_output_folder_that_cannot_be_is_told_in_one_line(tmp_path: Path) -> None:
    color = film(tmp_path / "color.mp4", frames=2)
    (tmp_path / "file").touch()
    lines = tmp_path / "runs.jsonl"
    lines.write_text(json.dumps(run(1, color)))
    out = tmp_path / "file" / "out"

    ended = subprocess.run(
        [*COMMAND, "-i", str(lines), "-o", str(out)], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert ended.stderr == f"{out} cannot be written: Not a directory\n"


@pytest.mark.parametrize(("blocks", "told"), [(16, "its files cannot be written"), (0, None)])
def test_a_disk_without_room_fails_runs_without_a_traceback(
    tmp_path: Path, blocks: int, told: str | None
) -> None:
    color = film(tmp_path / "color.mp4", frames=20)
    lines = tmp_path / "runs.jsonl"
    lines.write_text(json.dumps(run(1, color)))
    out = tmp_path / "out"
    limited = ["sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh", *COMMAND]

    ended = subprocess.run(
        [*limited, "-i", str(lines), "-o", str(out)], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    if told is None:
        assert ended.stderr == f"{out} cannot be written: File too large\n"
    else:
        assert reason(out, 1) == f"{told}: File too large"
    assert not [path for path in out.rglob("*.mp4") if path.is_file()]


def test_what_killed_programs_left_in_the_cache_goes_after_a_day(tmp_path: Path) -> None:
    color = film(tmp_path / "color.mp4", frames=2)
    cache = tmp_path / "cache"
    cache.mkdir()
    left = f".0123456789ab.edge-{0:032x}.mp4"
    others = [f".0123456789ab.edge-{1:032x}.mp4", ".notes.mp4", f"vis-{0:032x}.mp4", "old.txt"]
    for name in (left, *others):
        (cache / name).write_bytes(b"old")
        os.utime(cache / name, (0, 0))
    os.utime(cache / others[0])

    preview(tmp_path / "out", [run(1, color)], "--cache", str(cache))

    assert not (cache / left).exists()
    assert all((cache / name).exists() for name in others)


def test_a_control_video_that_is_too_short_fails_its_run_alone(tmp_path: Path) -> None:
    color = film(tmp_path / "color.mp4")
    short = run(1, color)
    short["inputs"]["depth"] = source(film(tmp_path / "depth.mp4", frames=3))
    enough = run(2, color, max_frames=3)
    enough["inputs"]["depth"] = short["inputs"]["depth"]

    finished = preview(tmp_path / "out", [short, enough])

    assert finished.returncode == 1
    told = "the depth video has 3 frames where the color video has 6"
    assert reason(tmp_path / "out", 1) == told
    assert manifest(tmp_path / "out", 2)["controls"]["depth"]["source"] == "file"


def test_a_failed_run_that_is_made_later_has_no_error_left(tmp_path: Path) -> None:
    color = tmp_path / "color.mp4"
    color.write_text("not yet")
    preview(tmp_path / "out", [run(1, color)])
    film(color, frames=2)

    finished = preview(tmp_path / "out", [run(1, color)])

    assert finished.returncode == 0
    assert not (tmp_path / "out" / "rs_0000000000000001" / "error.json").exists()


def test_one_frame_is_a_video_too(tmp_path: Path) -> None:
    finished = preview(tmp_path / "out", [run(1, film(tmp_path / "color.mp4", frames=1))])

    assert finished.returncode == 0, finished.stdout
    assert manifest(tmp_path / "out", 1)["frames"] == 1


def test_a_file_of_runs_that_is_wrong_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished = preview(tmp_path / "out", [{"id": "rs_1"}])

    assert finished.returncode == 2
    assert "line 1" in capsys.readouterr().err


def test_a_terminated_program_ends_at_once_and_the_next_one_finishes(tmp_path: Path) -> None:
    color = film(tmp_path / "color.mp4", frames=60)
    wanted = [run(1, color, resolution="720")]
    lines = tmp_path / "runs.jsonl"
    lines.write_text(json.dumps(wanted[0]))
    command = [*COMMAND, "-i", str(lines), "-o", str(tmp_path / "out")]

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        start = time.monotonic()
        child.send_signal(signal.SIGTERM)
        code = child.wait(timeout=30)
    took = time.monotonic() - start

    assert code == 128 + signal.SIGTERM
    assert took < 10
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    finished = preview(tmp_path / "out", [run(1, color, max_frames=2)])
    assert finished.returncode == 0


def test_a_turned_recording_is_shown_upright(tmp_path: Path) -> None:
    color = film(tmp_path / "color.mp4", size=(192, 108), frames=2)
    turned = bytearray(color.read_bytes())
    # The display matrix of the track header, from identity to a quarter turn.
    header = turned.index(b"tkhd") + 4 + 40
    one, minus = (1 << 16).to_bytes(4, "big"), (-1 << 16).to_bytes(4, "big", signed=True)
    turned[header : header + 20] = bytes(4) + one + bytes(4) + minus + bytes(4)
    color.write_bytes(turned)

    finished = preview(tmp_path / "out", [run(1, color, {"edge": 1})])

    assert finished.returncode == 0, finished.stdout
    assert manifest(tmp_path / "out", 1)["picture"] == {"width": 192, "height": 320}


def upscaling(number: int, color: Path, weight: float = 0.5, **params: object) -> Run:
    return run(number, color, None, **params, upscale=weight) | {"weights": {}}


def test_an_upscaled_video_is_its_source_larger_above_a_caption(tmp_path: Path) -> None:
    color = film(tmp_path / "color.mp4")

    finished = preview(tmp_path / "out", [upscaling(1, color)])

    assert finished.returncode == 0, finished.stdout
    folder = tmp_path / "out" / "rs_0000000000000001"
    written = manifest(tmp_path / "out", 1)
    assert (written["method"], written["factor"], written["weight"]) == ("lanczos", 3, 0.5)
    assert (written["controls"], written["weights"]) == ({}, {})
    assert written["picture"] == {"width": 576, "height": 324}
    assert (written["frames"], written["fps"]) == (6, "30000/1001")
    made = media.whole(folder / "output.mp4")
    assert (made.packets.shown, made.rate, made.upright) == (6, FPS, (576, written["height"]))
    for source_frame, frame in zip(pictures(color), pictures(folder / "output.mp4"), strict=True):
        expected = upscale.picture(source_frame, (576, 324))
        difference = np.abs(frame[:324].astype(int) - expected)
        assert difference.mean() < 4  # lossy, and colours at half the size
        assert (frame[324:].max(axis=2) > 128).mean() > 0.01  # letters
    assert {path.name for path in folder.rglob("*")} == {"output.mp4", "manifest.json"}
    assert not list((tmp_path / "out" / ".cache").glob("*"))


def test_the_caption_of_an_upscaled_video_tells_it_from_others(tmp_path: Path) -> None:
    color = film(tmp_path / "color.mp4", size=(320, 320), frames=1)
    plain = run(1, color, {"edge": 1}, resolution="720")

    preview(tmp_path / "out", [plain, upscaling(2, color), upscaling(3, color, weight=0.25)])

    videos = [tmp_path / "out" / f"rs_{number:016x}" / "output.mp4" for number in (1, 2, 3)]
    first, second, third = (pictures(path)[0].astype(int) for path in videos)
    assert first.shape == second.shape == third.shape
    assert np.abs(first[960:] - second[960:]).max() > 128
    assert np.abs(second[960:] - third[960:]).max() > 128
    assert np.abs(second[:960] - third[:960]).max() < 32


def test_the_output_of_a_run_can_be_upscaled_cut_and_never_beyond_4k(tmp_path: Path) -> None:
    preview(tmp_path / "out", [run(1, film(tmp_path / "color.mp4"), resolution="1080")])
    output = tmp_path / "out" / "rs_0000000000000001" / "output.mp4"
    width, height = media.whole(output).upright

    finished = preview(tmp_path / "out", [upscaling(2, output, max_frames=2)])

    assert finished.returncode == 0, finished.stdout
    written = manifest(tmp_path / "out", 2)
    assert (width, written["factor"], written["frames"], written["source_frames"]) == (
        1920,
        2,
        2,
        6,
    )
    assert written["picture"] == {"width": 3840, "height": 2 * height}


def test_upscaled_videos_have_the_same_bytes_whatever_the_threads(tmp_path: Path) -> None:
    color = film(tmp_path / "color.mp4")
    runs = [upscaling(1, color), upscaling(2, color, weight=1), run(3, color, {"edge": 1})]

    preview(tmp_path / "one", runs, "--jobs", "1")
    preview(tmp_path / "four", runs[::-1], "--jobs", "4")

    assert everything(tmp_path / "one") == everything(tmp_path / "four")


def test_the_command_upscales_too(tmp_path: Path) -> None:
    lines = tmp_path / "runs.jsonl"
    lines.write_text(json.dumps(upscaling(1, film(tmp_path / "color.mp4", frames=2))))

    ended = subprocess.run(
        [*COMMAND, "-i", str(lines), "-o", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[-1] == "made rs_0000000000000001 2 frames"
    assert manifest(tmp_path / "out", 1)["method"] == "lanczos"


def test_a_video_that_breaks_fails_its_upscaling_and_no_other_run(tmp_path: Path) -> None:
    broken = recorded(tmp_path / "broken.mp4")
    content = bytearray(broken.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(byte ^ 0x24 for byte in content[middle : middle + 64])
    broken.write_bytes(content)
    good = film(tmp_path / "good.mp4", frames=2)

    finished = preview(tmp_path / "out", [upscaling(1, broken), upscaling(2, good)])

    assert finished.returncode == 1
    assert reason(tmp_path / "out", 1).startswith("the color video is damaged ")
    assert not (tmp_path / "out" / "rs_0000000000000001" / "output.mp4").exists()
    assert manifest(tmp_path / "out", 2)["status"] == "succeeded"


@pytest.mark.parametrize("size", [(2, 2), (40, 400), (400, 40)])
def test_pictures_of_any_shape_are_upscaled(tmp_path: Path, size: tuple[int, int]) -> None:
    color = film(tmp_path / "color.mp4", frames=1, size=size)

    finished = preview(tmp_path / "out", [upscaling(1, color)])

    assert finished.returncode == 0, finished.stdout
    assert manifest(tmp_path / "out", 1)["picture"]["width"] == 3 * size[0]


def test_weights_beside_an_upscaling_are_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    color = film(tmp_path / "color.mp4", frames=1)

    finished = preview(tmp_path / "out", [upscaling(1, color), run(2, color, upscale=0.5)])

    assert finished.returncode == 2
    told = "line 2: weights must be empty beside upscale: no control is computed for it"
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not RECORDING.exists(), reason=f"no real recording in {RECORDING}")
def test_the_real_recording_has_a_believable_edge_map(tmp_path: Path) -> None:
    wanted = run(1, RECORDING / "color.mp4", max_frames=3)
    wanted["inputs"]["depth"] = source(RECORDING / "depth.mp4")
    wanted["inputs"]["segmentation"] = source(RECORDING / "segmentation.mp4")

    finished = preview(tmp_path / "out", [wanted])

    assert finished.returncode == 0, finished.stdout
    written = manifest(tmp_path / "out", 1)
    assert (written["frames"], written["source_frames"], written["fps"]) == (3, 121, "30/1")
    edges = pictures(tmp_path / "out" / "rs_0000000000000001" / "controls" / "edge.mp4")
    shares = [float((frame == 255).mean()) for frame in edges]
    assert all(0.01 < share < 0.3 for share in shares)
    assert {int(level) for frame in edges for level in np.unique(frame)} == {0, 255}
