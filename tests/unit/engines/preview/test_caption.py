"""The caption is honest, legible and never overflows."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from cosmos_jobs.engines.preview import caption
from cosmos_jobs.engines.preview.buckets import RESOLUTIONS, bucket
from cosmos_jobs.engines.preview.requests import Params, Request, Source

SOURCE = Source(Path("/color.mp4"), "0" * 64)


def request(prompt: str = "A pier", **changes: object) -> Request:
    params = Params(**changes)  # type: ignore[arg-type]
    return Request(f"rs_{0:016x}", prompt, "", {"color": SOURCE}, {"edge": 0.7}, params)


def widths() -> list[int]:
    """Return the widths of all pictures that there are."""
    shapes = ((16, 9), (4, 3), (1, 1), (3, 4), (9, 16))
    sizes = {
        bucket(resolution, *shape, model)
        for model, resolutions in RESOLUTIONS.items()
        for resolution in resolutions
        for shape in shapes
    }
    return sorted({width for width, _ in sizes})


NASTY = {
    "long word": "x" * 5000,
    "long text": "a pier at dusk " * 1000,
    "newlines": "a\npier\r\n\tat dusk\n\n",
    "nul": "before\0after",
    "emoji": "a pier 🎥🏳️‍🌈",
    "scripts": "пирс 桟橋 부두 รีสอร์ท עגן رصيف",
    "lone surrogate": "a \ud800 pier",
    "combining": "e\u0301" * 300,
    "bidi": "\u202eabc\u2066",
    "empty": "",
}


@pytest.mark.parametrize("prompt", NASTY.values(), ids=NASTY.keys())
@pytest.mark.parametrize("width", [192, 256, 480, 1280])
def test_no_prompt_breaks_or_leaves_the_strip(prompt: str, width: int) -> None:
    strip = caption.strip(request(prompt, note=prompt), width)

    assert strip.shape == (caption.height(width), width, 3)
    margin = strip[:, -3:]
    assert (margin == strip[-1, -1]).all()


def test_all_runs_of_a_sweep_have_strips_of_the_same_height() -> None:
    heights = {caption.strip(request(prompt), 640).shape[0] for prompt in NASTY.values()}

    assert heights == {caption.height(640)}


def test_a_cut_text_ends_with_an_ellipsis_and_a_whole_one_does_not() -> None:
    cut = caption.wrap("a pier at dusk " * 50, 12, 300, 2)
    whole = caption.wrap("a pier at dusk", 12, 300, 2)

    assert len(cut) == 2
    assert cut[-1].endswith("…")
    assert whole == ["a pier at dusk"]


def test_words_are_kept_whole_where_they_fit() -> None:
    lines = caption.wrap("golden hour over the harbour", 12, 110, 5)

    assert " ".join(lines) == "golden hour over the harbour"


def test_scripts_without_spaces_fill_their_lines() -> None:
    lines = caption.wrap("at 夕暮れの港で桟橋に雨が降る", 12, 100, 9)

    assert len(lines[0]) > 3
    assert "".join(lines) == "at 夕暮れの港で桟橋に雨が降る"


@pytest.mark.parametrize("width", widths())
def test_no_picture_is_too_narrow_for_title_and_weights(width: int) -> None:
    weights = {"vis": 0.25, "edge": 0.25, "depth": 0.25, "seg": 0.25}

    lines = caption.shown(replace(request(), weights=weights), width)

    text = " ".join(line for line, _, _ in lines)
    assert caption.TITLE in text
    assert "weights: vis 0.25, edge 0.25, depth 0.25, seg 0.25" in text


@pytest.mark.parametrize("width", [192, 480, 960, 3840])
def test_an_upscaled_video_says_that_no_model_made_it(width: int) -> None:
    wanted = replace(request(upscale=0.25, note="a note"), weights={})

    lines = caption.shown(wanted, width, Fraction(3840, 1300))

    text = " ".join(line for line, _, _ in lines)
    assert text.startswith("UPSCALED 2.95× by plain Lanczos, not model output A pier")
    assert "upscale weight: 0.25" in text
    assert text.endswith("a note")
    assert "edge" not in text
    assert caption.TITLE not in text


def test_the_letters_of_a_4k_picture_are_as_legible_as_those_of_its_source() -> None:
    assert 2.8 < caption.height(3840) / caption.height(1280) <= 3


def test_control_characters_become_spaces_and_accents_join_their_letters() -> None:
    assert caption.printable("a\nb\0c\te\u0301\u202e") == "a b c é"


def test_what_differs_between_runs_is_seen() -> None:
    plain = caption.strip(request(), 960)
    other = caption.strip(request(seed=2), 960)

    assert not np.array_equal(plain, other)
