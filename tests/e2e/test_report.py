"""The page of a report in a real browser: in step, from a file, without a network."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
import pytest
from axe_playwright_python.sync_playwright import Axe
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Dialog, Locator, Page, Request

from cosmos_jobs.artifacts import video_writer
from cosmos_jobs.core.record import State
from cosmos_jobs.errors import InvalidFiles, UsageError
from cosmos_jobs.operations import WorkflowOperations
from tests.support import browser, made_projects

FRAMES, FPS = 96, 24
SIZE = (320, 240)
BITS = 7
EVIL = "</script><img src=http://evil.invalid/x onerror=alert(1)> {{x}} ' \\\" &amp;"

JOB = (
    f"""\
version: 1
name: piers
description: Which control keeps the pier readable?
engine: transfer2.5
videos: {{{{pier: input}}}}
prompts:
  golden: A pier at golden hour
  evil: "{EVIL}"
weights:
  edges: {{{{edge: 1}}}}
  both: {{{{edge: 0.5, vis: 0.5}}}}
params: {{{{seed: [1, 2, 3]}}}}
""".replace("{{", "{")
    .replace("}}", "}")
    .replace("{x}", "{{x}}")
)
OTHERS = {
    "evil/both-seed1": (State.FAILED, f"CUDA out of memory {EVIL}"),
    "evil/both-seed2": (State.BLOCKED, "a guardrail refused the text"),
    "evil/both-seed3": (State.PENDING, ""),
}


def film(path: Path, colour: tuple[int, int, int], frames: int = FRAMES, fps: int = FPS) -> Path:
    """Write a video that shows the number of its frame as white bars, over a colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with video_writer.Writer(path, SIZE, Fraction(fps), video_writer.VIEWING) as writer:
        for number in range(frames):
            picture = np.full((SIZE[1], SIZE[0], 3), colour, np.uint8)
            for bit in range(BITS):
                left = SIZE[0] * bit // BITS
                picture[:120, left : left + SIZE[0] // BITS + 1] = 255 * (number >> bit & 1)
            writer.write(np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), np.uint8))
    return path


def pixels(picture: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), np.uint8)


MADE = ".tile[data-state=succeeded] .media"
MAPS = ["input", "vis map", "edge map", "depth map"]
"""Vis and edge are computed; segmentation would take a model."""


def frames_on(page: Page, shown: str = MADE) -> list[int]:
    """Return the numbers that the bars show of every video that is whole on the screen, at once."""
    boxes = page.eval_on_selector_all(
        shown,
        """all => all.map(each => each.getBoundingClientRect())
            .filter(box => box.top >= 120 && box.bottom < innerHeight - 80 && box.width)
            .map(({x, y, width, height}) => [x, y, width, height])""",
    )
    screen = pixels(page.screenshot())
    return [number(screen, *box) for box in boxes]


def number(screen: NDArray[np.uint8], x: float, y: float, width: float, height: float) -> int:
    row = round(y + height / 4)
    centres = [round(x + width * (bit + 0.5) / BITS) for bit in range(BITS)]
    return sum((int(screen[row, each].mean()) > 127) << bit for bit, each in enumerate(centres))


@pytest.fixture(scope="module")
def ops(tmp_path_factory: pytest.TempPathFactory) -> WorkflowOperations:
    """Return a project of twelve runs, nine of them made, one rated, all measured."""
    root = tmp_path_factory.mktemp("report")
    film(root / "project" / "input" / "color.mp4", (90, 90, 90), fps=30)
    film(root / "project" / "input" / "depth.mp4", (60, 60, 60))
    places = (
        f"{prompt}/{weights}-seed{seed}"
        for prompt in ("golden", "evil")
        for weights in ("edges", "both")
        for seed in (1, 2, 3)
    )
    colours = ((40 * n % 256, 200 - 20 * n, 60 + 15 * n) for n in count())
    videos = {
        place: OTHERS.get(place) or film(root / f"{place.replace('/', '-')}.mp4", colour)
        for place, colour in zip(places, colours, strict=False)
    }
    ops = made_projects.project(root / "project", JOB, videos)
    first = ops.list_runs()[0].run.id
    ops.rate(first, 2, EVIL)
    ops.evaluate()
    return ops


@pytest.fixture(scope="module")
def index(ops: WorkflowOperations) -> Path:
    return ops.report("piers")


@pytest.fixture
def page(chromium: Browser, index: Path) -> Iterator[Page]:
    """Return the page; whatever it says on the console or asks of a network fails the test."""
    yield from opened(chromium, index)


def opened(chromium: Browser, index: Path, **options: Any) -> Iterator[Page]:
    size = {"width": 1280, "height": 900}
    context = chromium.new_context(**{"viewport": size, "color_scheme": "light", **options})
    tab = context.new_page()
    wrong: list[str] = []

    def asked(request: Request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            wrong.append(request.url)

    def stopped(dialog: Dialog) -> None:
        wrong.append(dialog.message)
        dialog.dismiss()

    tab.on("console", lambda said: wrong.append(f"{said.type}: {said.text}"))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("dialog", stopped)
    tab.on("request", asked)
    tab.goto(index.as_uri())
    yield tab
    context.close()
    assert wrong == []


def playing(page: Page, wanted: int) -> None:
    """Press play, and wait until so many videos run."""
    page.keyboard.press("k")
    page.wait_for_function(
        """wanted => [...document.querySelectorAll("video.ready")]
            .filter(each => each.currentTime > 0.2).length >= wanted""",
        arg=wanted,
    )


def tile(page: Page, label: str) -> Locator:
    return page.locator(f'.tile[aria-label^="{label}"]')


def test_all_videos_play_within_one_frame_of_each_other(page: Page) -> None:
    page.set_viewport_size({"width": 2400, "height": 1200})
    playing(page, 9)
    page.wait_for_timeout(1000)

    seen = [frames_on(page) for _ in range(5)]

    for numbers in seen:
        assert len(numbers) == 9
        assert max(numbers) - min(numbers) <= 1, seen
    assert len({max(numbers) for numbers in seen}) > 1


def test_scrubbing_and_single_frames_are_exact(page: Page) -> None:
    def stands_at(wanted: int) -> None:
        page.wait_for_function(
            """wanted => { const all = [...document.querySelectorAll("video")];
               return all.length && all.every(each => each.classList.contains("ready") &&
                 !each.seeking && Math.floor(each.currentTime * 24) === wanted) }""",
            arg=wanted,
        )
        page.wait_for_timeout(100)
        assert set(frames_on(page)) == {wanted}
        assert page.locator("#frame").inner_text() == f"{wanted + 1} / {FRAMES}"

    page.locator("#scrub").fill("17")
    stands_at(17)
    page.locator("#scrub").blur()
    page.keyboard.press(".")
    stands_at(18)
    page.keyboard.press("j")
    stands_at(8)
    page.locator("#back").click()
    stands_at(7)
    page.keyboard.press("End")
    stands_at(FRAMES - 1)
    page.keyboard.press(".")
    stands_at(0)


def test_an_input_of_another_frame_rate_shows_the_same_frame(page: Page) -> None:
    page.locator(".tile").first.focus()
    page.keyboard.press("Enter")
    playing(page, 2)
    page.wait_for_timeout(800)
    page.set_viewport_size({"width": 1280, "height": 1600})
    page.wait_for_timeout(700)

    for _ in range(3):
        # An edge map has the outlines of the bars only.
        numbers = frames_on(page, '#compare .media:not(figure:has-text("edge map") .media)')
        assert len(numbers) >= 4
        assert max(numbers) - min(numbers) <= 1, numbers


def test_speed_and_loop_are_kept_to(page: Page) -> None:
    page.keyboard.press("[")
    playing(page, 6)
    page.wait_for_function(
        """() => [...document.querySelectorAll("video.ready")]
            .every(each => Math.abs(each.playbackRate - 0.5) < 0.1)"""
    )

    assert page.locator("#speed").input_value() == "0.5"
    page.keyboard.press("k")
    page.keyboard.press("o")
    page.keyboard.press("End")
    page.keyboard.press(".")
    assert not page.locator("#loop").is_checked()
    assert page.locator("#frame").inner_text() == f"{FRAMES} / {FRAMES}"


def test_any_two_axes_span_the_grid_and_the_others_filter_it(page: Page) -> None:
    def heads() -> list[str]:
        return page.locator("#cells thead th").all_inner_texts()

    assert heads() == ["edges: edge 1", "both: vis 0.5, edge 0.5"]
    page.get_by_label("Columns", exact=True).select_option(label="seed")
    assert heads() == ["1", "2", "3"]
    page.get_by_label("Rows", exact=True).select_option(label="Weights")
    assert page.locator("#cells .head").all_inner_texts() == [
        "edges: edge 1",
        "both: vis 0.5, edge 0.5",
    ]
    page.get_by_label("Prompt", exact=True).select_option(label="golden")
    assert page.locator("#cells .tile").count() == 6
    page.get_by_label("Columns", exact=True).select_option(label="Weights")
    assert page.get_by_label("Rows", exact=True).input_value() == "seed"
    page.get_by_label("Rows", exact=True).select_option("")
    page.get_by_label("Columns", exact=True).select_option("")
    assert page.locator("#cells .tile").count() == 6
    page.get_by_label("Prompt", exact=True).select_option("")
    page.get_by_label("State", exact=True).select_option("blocked")
    assert page.locator("#cells .tile").count() == 1


def test_runs_without_a_video_say_why(page: Page) -> None:
    texts = [each.lower() for each in page.locator(".card").all_inner_texts()]

    assert len(texts) == 3
    assert "failed" in texts[0] and "cuda out of memory </script>" in texts[0]
    assert "blocked" in texts[1] and "guardrail" in texts[1]
    assert "pending" in texts[2]
    assert "9 succeeded" in page.locator("#summary").inner_text()


def test_what_users_wrote_is_only_ever_text(page: Page) -> None:
    page.locator(".tile").first.focus()
    page.keyboard.press("Enter")

    note = page.locator(".pane textarea").input_value()
    page.keyboard.press("g")
    assert note.startswith("</script><img")
    assert EVIL.split("{{")[0] in page.locator("#cells").inner_text()
    assert page.locator("img[src*=evil]").count() == 0


def test_two_runs_are_wiped_above_each_other(page: Page) -> None:
    for label in ("golden · edges: edge 1 · seed 1", "golden · edges: edge 1 · seed 2"):
        tile(page, label).get_by_label("compare").check()
    page.keyboard.press("v")
    page.keyboard.press("w")
    page.locator("#scrub").fill("5")
    page.locator(".wipe input").fill("25")
    page.wait_for_function("() => document.querySelectorAll('.wipe video.ready').length === 2")
    page.wait_for_timeout(200)

    box = page.locator(".wipe .media").first.bounding_box()
    assert box
    screen = pixels(page.screenshot())
    row = round(box["y"] + box["height"] * 0.75)
    left, right = (
        screen[row, round(box["x"] + box["width"] * each)].astype(int) for each in (0.15, 0.6)
    )
    assert abs(left - (0, 200, 60)).max() < 14
    assert abs(right - (40, 180, 75)).max() < 14
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 30)
    page.mouse.up()
    assert float(page.locator(".wipe input").input_value()) == pytest.approx(80, abs=1)


def test_compared_runs_stand_beside_input_and_maps_with_differences_marked(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for label in ("golden · edges: edge 1 · seed 1", "golden · both: vis 0.5, edge 0.5 · seed 1"):
        tile(page, label).focus()
        page.keyboard.press("c")
    page.get_by_role("button", name="Compare (2)").click()

    assert page.locator(".beside figcaption").all_inner_texts() == MAPS
    marked = page.locator(".facts .differs th").all_inner_texts()
    assert "weight of vis" in marked and "weight of edge" in marked and "seed" not in marked
    page.get_by_label("Only differences").uncheck()
    assert "seed" in page.locator(".facts tbody th").all_inner_texts()
    page.locator("summary").first.click()
    page.locator(".command button").first.click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(r"cosmos-jobs apply jobs/job\.yaml --only rs_[0-9a-f]{16} --force", copied)
    assert "cosmos-jobs reproduce rs_" in page.locator(".command code").nth(1).inner_text()


def test_no_more_than_four_are_compared(page: Page) -> None:
    for box in page.get_by_label("compare").all()[:5]:
        box.click()

    assert page.locator(".tile.chosen").count() == 4
    assert "At most 4" in page.locator("#said").inner_text()


def test_what_is_judged_on_the_page_comes_into_the_store(
    page: Page, ops: WorkflowOperations, tmp_path: Path
) -> None:
    first, second, *_ = (each.run.id for each in ops.list_runs())
    page.locator(f"[data-run={second}]").focus()
    page.keyboard.press("5")
    page.keyboard.press("n")
    page.keyboard.type("straight planks, 5 stars")
    page.keyboard.press("Escape")
    page.locator(f".tile[data-run={first}]").focus()
    page.keyboard.press("0")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export ratings (2)").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)

    assert file.name == "piers-ratings.json"
    assert "rate --import piers-ratings.json" in page.locator("#exported").inner_text()
    taken = {each["run"]: each for each in orjson.loads(file.read_bytes())["ratings"]}
    assert set(taken) == {first, second}
    before = {each.run.id: each for each in ops.list_runs()}
    assert ops.import_ratings(file) == (2, ())
    rated = ops.get_run(second)
    assert (rated.rating, rated.note) == (5, "straight planks, 5 stars")
    assert ops.get_run(first).rating is None
    for run_id in (first, second):
        ops.rate(run_id, before[run_id].rating, before[run_id].note)


def test_stars_sort_and_filter_and_outlive_the_tab(page: Page) -> None:
    last = page.locator('.tile[data-state="succeeded"]').last
    run_id = last.get_attribute("data-run")
    last.focus()
    page.keyboard.press("4")
    page.reload()
    page.get_by_label("Stars", exact=True).select_option("3")
    only = page.locator("#cells .tile")

    assert only.count() == 1
    assert only.get_attribute("data-run") == run_id
    assert only.locator(".stars").inner_text().startswith("★★★★☆")
    for label in ("Rows", "Columns", "Stars"):
        page.get_by_label(label, exact=True).select_option("")
    page.get_by_label("Sort", exact=True).select_option("stars")
    assert page.locator("#cells .tile").first.get_attribute("data-run") == run_id


def test_the_best_number_comes_first(page: Page, ops: WorkflowOperations) -> None:
    for label in ("Rows", "Columns"):
        page.get_by_label(label, exact=True).select_option("")
    page.get_by_label("Sort", exact=True).select_option("flicker")

    shown = page.locator("#cells .tile").evaluate_all("all => all.map(each => each.dataset.run)")
    ranked = [each.run.id for each in ops.ranked(ops.list_runs(), "flicker")]
    values = {key: each.values for key, each in ops.measured(ops.list_runs()).items()}
    flickers = [round(values[each]["flicker"], 5) for each in shown[:9]]
    assert flickers == sorted(flickers)
    assert set(shown[9:]) == set(ranked[9:])


def test_plots_show_points_medians_the_front_and_the_video(page: Page) -> None:
    page.keyboard.press("p")
    points = page.locator(".plot").first.locator("circle[data-run]")
    points.first.wait_for()

    assert points.count() == 9
    assert page.locator(".plot").nth(1).locator("circle[data-run]").count() == 9
    page.get_by_label("Across", exact=True).first.select_option("edge")
    lines = page.locator(".plot").first.locator('g[aria-label="line"] path')
    assert lines.count() == 1
    assert lines.get_attribute("d").count("L") == 1  # type: ignore[union-attr] # two weights
    points.first.hover()
    page.wait_for_function("() => document.querySelector('#hover video.ready')?.currentTime > 0")
    assert "golden" in page.locator("#hover").inner_text()
    points.first.click()
    assert page.locator(".pane").count() == 1


def test_the_keyboard_reaches_everything(page: Page) -> None:
    page.keyboard.press("?")
    assert "play or pause" in page.get_by_role("dialog").inner_text()
    page.keyboard.press("Escape")
    first = page.locator(".tile").first
    first.focus()
    page.keyboard.press("ArrowRight")
    moved = page.evaluate("document.activeElement.dataset.run")
    page.keyboard.press("ArrowLeft")
    back = page.evaluate("document.activeElement.dataset.run")
    page.keyboard.press("Enter")

    assert moved and moved != back == first.get_attribute("data-run")
    assert page.locator(".pane").get_attribute("data-run") == back
    page.keyboard.press("Escape")
    assert page.locator("#grid").is_visible()
    page.keyboard.press("d")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.id || document.activeElement.classList[0]")
        )
    assert {"export", "theme", "help", "tile", "play", "scrub", "speed", "loop"} <= reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(chromium: Browser, index: Path, scheme: str) -> None:
    for page in opened(chromium, index, color_scheme=scheme):
        page.locator(".tile").first.focus()
        for key in ("g", "Enter", "p", "?"):
            page.keyboard.press(key)
            page.wait_for_timeout(400)
            # Its own requests for style sheets are refused, as all are.
            found = Axe().run(page, options={"preload": False})
            wrong = [
                (each["id"], each["nodes"][0]["html"]) for each in found.response["violations"]
            ]
            assert wrong == [], key


@pytest.mark.parametrize(("width", "height"), [(375, 800), (1280, 800), (3840, 2160)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_every_screen(
    chromium: Browser, index: Path, width: int, height: int, scheme: str
) -> None:
    size = {"width": width, "height": height}
    for page in opened(chromium, index, viewport=size, color_scheme=scheme):
        for name, keys in (("grid", "g"), ("compare", "cv"), ("plots", "p"), ("keys", "?")):
            if name == "compare":
                page.locator(".tile").first.focus()
            for key in keys:
                page.keyboard.press(key)
            page.wait_for_timeout(300)
            page.screenshot(path=browser.artifacts() / f"report-{name}-{width}-{scheme}.png")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("document.documentElement.scrollHeight") <= height


def test_one_file_alone_is_the_whole_page(
    chromium: Browser, ops: WorkflowOperations, tmp_path: Path
) -> None:
    index = ops.report("piers", tmp_path / "one", embed=True)
    alone = index.rename(tmp_path / "mailed.html")
    assert not any((tmp_path / "one").iterdir())

    for page in opened(chromium, alone):
        playing(page, 6)
        page.keyboard.press("k")
        page.keyboard.press("p")
        page.locator("circle[data-run]").first.wait_for()
    assert alone.stat().st_size < 2_000_000


def test_only_what_is_on_the_screen_of_500_is_decoded(chromium: Browser, tmp_path: Path) -> None:
    job = JOB.replace("seed: [1, 2, 3]", "seed: {start: 1, stop: 125, step: 1}")
    clip = film(tmp_path / "clip.mp4", (30, 90, 160))
    film(tmp_path / "many" / "input" / "color.mp4", (90, 90, 90))
    places = [
        f"{prompt}/{weights}-seed{seed}"
        for prompt in ("golden", "evil")
        for weights in ("edges", "both")
        for seed in range(1, 126)
    ]
    ops = made_projects.project(tmp_path / "many", job, dict.fromkeys(places, clip))
    index = ops.report("piers")

    for page in opened(chromium, index):
        assert page.locator(".tile").count() == 500
        assert page.locator("video").count() == 0
        playing(page, 4)
        top = page.locator("video").count()
        decoded = "all => all.map(each => each.closest('.tile').dataset.run)"
        first = page.locator("video").evaluate_all(decoded)
        page.locator("main").evaluate("main => main.scrollTo(0, main.scrollHeight)")
        page.wait_for_function(
            """first => { const now = [...document.querySelectorAll("video.ready")]
                 .map(each => each.closest(".tile").dataset.run);
               return now.length && !now.some(each => first.includes(each)) }""",
            arg=first,
        )
        assert 4 <= top <= 36
        assert page.locator("video").count() <= 36
    beside = sum(each.stat().st_size for each in (index, *(index.parent / "assets").iterdir()))
    assert beside < 1_000_000


def test_a_report_replaces_itself_and_nothing_else(ops: WorkflowOperations, tmp_path: Path) -> None:

    index = ops.report("piers", tmp_path / "r")
    (index.parent / "videos" / "rs_0000000000000000.mp4").write_bytes(b"of a run that is gone")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")

    again = ops.report(
        "jobs/job.yaml" if Path("jobs/job.yaml").exists() else "piers", tmp_path / "r"
    )

    assert len(list((again.parent / "videos").iterdir())) == 9
    with pytest.raises(UsageError, match="no report"):
        ops.report("piers", tmp_path / "other")
    with pytest.raises(UsageError, match="no job or job file `x`"):
        ops.report("x")


def test_a_job_that_was_never_applied_is_all_pending(
    chromium: Browser, ops: WorkflowOperations, tmp_path: Path
) -> None:
    fresh = ops.project.root / "jobs" / "fresh.yaml"
    fresh.write_text(JOB.replace("name: piers", "name: fresh").replace("golden hour", "dusk"))
    index = ops.report(str(fresh), tmp_path / "fresh")
    broken = tmp_path / "broken.yaml"
    broken.write_text("version: 1\nname: broken\n")

    for page in opened(chromium, index):
        states = page.locator("#cells .tile").evaluate_all("all => all.map(e => e.dataset.state)")
        assert states.count("pending") >= 6
        assert "A pier at dusk" in page.locator("#cells").inner_text()
        page.keyboard.press("p")
    with pytest.raises(InvalidFiles):
        ops.report(str(broken))
    fresh.unlink()
