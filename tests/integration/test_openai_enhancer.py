"""The enhancer openai against a real HTTP server that speaks the protocol."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cosmos_jobs.config.project import EnhancerSettings
from cosmos_jobs.enhancers.base import Answer, Request
from cosmos_jobs.enhancers.openai import OpenAIEnhancer, pictures
from cosmos_jobs.errors import EngineError
from tests.support.chat_server import Completions, Reply, serving
from tests.support.project import damage, film

KEY = "sk-test-0123456789abcdef"


def ask(
    server: Completions, *texts: str, video: Path | None = None, **settings: Any
) -> dict[str, Answer]:
    """Return the answers to prompts, by their texts."""
    given = {"model": "m", "base_url": server.url, "key": KEY, "retries": 0, **settings}
    requests: Sequence[Request] = [Request(id=each, text=each, video=video) for each in texts]
    return dict(OpenAIEnhancer(EnhancerSettings("llm", "openai", **given)).enhance(requests))


def test_every_prompt_is_asked_for_and_answered_by_its_own_text() -> None:
    with serving(Reply("more of {prompt}")) as server:
        answers = ask(server, "a car", "a pier", "a robot", temperature=0.2, max_tokens=99)

    assert answers == {each: Answer(f"more of {each}") for each in ("a car", "a pier", "a robot")}
    assert sorted(server.prompts) == ["a car", "a pier", "a robot"]
    assert set(server.keys) == {f"Bearer {KEY}"}
    first = server.asked[0]
    assert (first["model"], first["temperature"], first["max_tokens"]) == ("m", 0.2, 99)
    assert first["messages"][0]["role"] == "system"


def test_an_answer_that_comes_in_pieces_is_put_together() -> None:
    with serving(Reply("a long description of {prompt}")) as server:
        answers = ask(server, "a car", stream=True)

    assert answers == {"a car": Answer("a long description of a car")}
    assert server.asked[0]["stream"] is True


def test_thoughts_quotes_and_line_ends_are_no_part_of_the_text() -> None:
    with serving(Reply('<think>hm,\n"so"</think>\n"A car\nat  night."\n')) as server:
        answers = ask(server, "a car")

    assert answers == {"a car": Answer("A car at night.")}


def test_a_server_that_fails_is_asked_again() -> None:
    with serving(Reply(status=500, error="oops"), Reply(status=503), Reply("fine")) as server:
        answers = ask(server, "a car", retries=2)

    assert answers == {"a car": Answer("fine")}
    assert len(server.asked) == 3


def test_a_rate_limit_is_waited_for_as_long_as_the_server_says() -> None:
    limit = Reply(status=429, headers={"Retry-After": "1.2"}, error="slow down")
    with serving(limit, Reply("fine")) as server:
        answers = ask(server, "a car", retries=1)

    assert answers == {"a car": Answer("fine")}
    assert server.times[1] - server.times[0] >= 1.2


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(status=500, error="the GPU is on fire"), "says 500.*the GPU is on fire"),
        (Reply(status=429, error="quota"), "rate limit is reached.*quota"),
        (Reply(status=400, error="prompt too rude"), "says 400.*prompt too rude"),
        (Reply(None, refusal="I cannot help with that"), "refused: I cannot help with that"),
        (Reply("", finish="content_filter"), "content filter refused"),
        (Reply("half a sent", finish="length"), "cut off at 600 tokens"),
        (Reply(""), "was empty"),
        (Reply(None), "was empty"),
        (Reply("<think>all of it</think>"), "was empty"),
        (Reply(raw=b'{"choices": []}'), "was empty"),
        (Reply(raw=b"<html>It works!</html>", headers={"Content-Type": "text/html"}), "no sense"),
        (Reply(raw=b'{"choices": 3}'), "no sense"),
        (Reply(raw=b"{"), "no sense"),
    ],
)
def test_what_goes_wrong_with_one_prompt_is_its_own(reply: Reply, reason: str) -> None:
    with serving(Reply("fine"), reply, Reply("fine")) as server:
        answers = ask(server, "a", "b", "c", parallel=1)

    (failed,) = [each for each in answers.values() if not each.text]
    assert [answers["a"].text, answers["c"].text] == ["fine", "fine"]
    assert answers["b"] == failed
    assert re.search(reason, failed.reason), failed.reason


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_told_whole_or_in_pieces(stream: bool) -> None:
    with serving(Reply(None, refusal="no")) as server:
        answers = ask(server, "a car", stream=stream)

    assert answers["a car"].reason == "the model refused: no"


def test_a_slow_answer_is_given_up_and_costs_one_prompt_only() -> None:
    with serving(Reply("late", delay_s=1.5), Reply("fine")) as server:
        answers = ask(server, "a", "b", parallel=1, timeout_s=0.5)

    assert answers["a"].reason == "no answer within 0.5 s"
    assert answers["b"].text == "fine"


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(status=401, error=f"wrong key {KEY}"), "refuses the key"),
        (Reply(status=403, error="not for you"), "refuses the key"),
        (Reply(status=404, error="model `m` not found"), "has no model `m`"),
    ],
)
def test_what_is_wrong_for_all_is_asked_once_and_raised(reply: Reply, message: str) -> None:
    with serving(reply) as server, pytest.raises(EngineError, match=message) as caught:
        ask(server, "a", "b", "c", parallel=1)

    assert len(server.asked) == 1
    assert KEY not in caught.value.message
    assert "enhancers" in caught.value.hint


def test_a_server_that_is_not_there_is_said_not_to_answer() -> None:
    with serving(Reply("fine")) as server:
        pass
    with pytest.raises(EngineError, match="the server does not answer"):
        ask(server, "a", "b")


def test_what_was_answered_before_the_key_was_refused_is_not_lost() -> None:
    with serving(Reply("fine"), Reply(status=401, error="revoked")) as server:
        answers = ask(server, "a", "b", "c", parallel=1)

    assert answers["a"].text == "fine"
    assert "refuses the key" in answers["b"].reason
    assert answers["c"].reason == answers["b"].reason


def test_the_model_sees_frames_of_the_video_evenly_spaced(tmp_path: Path) -> None:
    film(tmp_path / "clip.mp4", 1, frames=24)
    with serving(Reply("fine")) as server:
        ask(server, "a car", video=tmp_path / "clip.mp4", images=3)

    content = server.asked[0]["messages"][1]["content"]
    urls = [each["image_url"]["url"] for each in content if each["type"] == "image_url"]
    data = [base64.b64decode(url.removeprefix("data:image/jpeg;base64,")) for url in urls]
    assert content[0] == {"type": "text", "text": "a car"}
    assert len(set(data)) == 3
    assert {Image.open(io.BytesIO(each)).size for each in data} == {(64, 48)}


def test_a_video_shorter_than_the_frames_wanted_is_shown_as_it_is(tmp_path: Path) -> None:
    film(tmp_path / "clip.mp4", 1, frames=2)
    Image.new("RGB", (2000, 1000), "red").save(tmp_path / "picture.png")

    short = pictures(tmp_path / "clip.mp4", 8)
    (picture,) = pictures(tmp_path / "picture.png", 4)

    assert 1 <= len(short) <= 2
    assert Image.open(io.BytesIO(picture)).size == (768, 384)


def test_a_video_that_cannot_be_read_fails_its_prompt_only(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    with serving(Reply("fine")) as server:
        answers = ask(server, "a car", video=tmp_path / "clip.mp4", images=2)
        gone = ask(server, "a car", video=tmp_path / "gone.mp4", images=2)

    assert "its video cannot be read" in answers["a car"].reason
    assert "its video cannot be read" in gone["a car"].reason
    assert server.asked == []


def test_a_damaged_video_never_ends_in_a_traceback(tmp_path: Path) -> None:
    film(tmp_path / "clip.mp4", 1)
    damage(tmp_path / "clip.mp4")
    with serving(Reply("fine")) as server:
        (answer,) = ask(server, "a car", video=tmp_path / "clip.mp4", images=2).values()

    assert answer.text == "fine" or "cannot be read" in answer.reason


def test_without_a_key_nothing_is_asked_of_openai() -> None:
    settings = EnhancerSettings("openai", "openai", model="m", key_name="OPENAI_API_KEY")
    enhancer = OpenAIEnhancer(settings)

    with pytest.raises(EngineError, match="OPENAI_API_KEY is not set"):
        list(enhancer.enhance([Request(id="a", text="a")]))


@pytest.mark.parametrize("key", ["sk-tést", "sk-test\n", "sk-\r\ntest", " sk-test", "sk-“test”"])
@pytest.mark.parametrize(("variable", "named"), [("LLM_KEY", "LLM_KEY"), ("", "OPENAI_API_KEY")])
def test_a_key_that_cannot_be_sent_is_refused_before_anything_is_asked(
    key: str, variable: str, named: str
) -> None:
    with serving(Reply("fine")) as server, pytest.raises(EngineError) as caught:
        ask(server, "a", key=key, key_name=variable)

    assert f"the key in {named} cannot be one" in caught.value.message
    assert key.strip() not in caught.value.message + caught.value.hint
    assert server.asked == []


def test_a_server_of_ones_own_needs_no_key() -> None:
    with serving(Reply("fine")) as server:
        answers = ask(server, "a", key="")

    assert answers["a"].text == "fine"


def test_without_a_model_it_says_how_to_name_one() -> None:
    with pytest.raises(EngineError, match="which model") as caught:
        OpenAIEnhancer(EnhancerSettings("openai", "openai"))

    assert "openai:MODEL" in caught.value.hint


def test_without_the_package_it_says_how_to_install_it() -> None:
    code = (
        "import sys; sys.modules['openai'] = None\n"
        "from cosmos_jobs.enhancers.openai import OpenAIEnhancer\n"
        "from cosmos_jobs.config.project import EnhancerSettings\n"
        "from cosmos_jobs.enhancers.base import Request\n"
        "one = OpenAIEnhancer(EnhancerSettings('o', 'openai', model='m', base_url='http://x/v1'))\n"
        "try: list(one.enhance([Request(id='a', text='a')]))\n"
        "except Exception as error: print(type(error).__name__, error.hint)\n"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout == "EngineError install it: pip install 'cosmos-jobs[openai]'\n"


def test_settings_that_make_other_texts_count_and_where_the_server_is_does_not() -> None:
    def settings(**given: Any) -> object:
        return OpenAIEnhancer(EnhancerSettings("o", "openai", model="m", **given)).settings

    same = settings()

    assert settings(base_url="http://a/v1", key="k", timeout_s=9.0, retries=1) == same
    assert settings(temperature=0.1) != same
    assert settings(images=2) != same
    assert settings(instructions="Be terse.") != same
