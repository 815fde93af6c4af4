"""Asks a language model behind the chat completions of the OpenAI API: vLLM, Ollama, NIM and so on.

The package `openai` speaks the protocol and tries again, with growing pauses or
as long as the server says (Retry-After); what an answer means is decided here.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cosmos_jobs.artifacts import media
from cosmos_jobs.artifacts.media import Pixels, VideoError
from cosmos_jobs.config.project import EnhancerSettings
from cosmos_jobs.core.redaction import masked
from cosmos_jobs.core.run import Scalar
from cosmos_jobs.enhancers.base import Answer, Request
from cosmos_jobs.errors import EngineError

VERSION = 1
"""The version of the instructions below: another one makes other texts."""

INSTRUCTIONS = """\
You write prompts for a model that restyles a given video. Rewrite the user's prompt as one \
paragraph of at most 120 English words that describes one scene: the subject, the setting, the \
light, the materials, the camera and the motion. Keep every fact of the prompt, contradict none, \
and do not add people, objects or events that it does not imply. Describe only what is seen; say \
nothing of what is absent. Answer with the paragraph alone."""

LARGEST_PX = 768
"""The longer side of the pictures that are sent."""

TIMEOUT_S = 60.0
LONGEST_REASON = 300
_KEY = re.compile(r"[!-~]([ -~]*[!-~])?")
"""What HTTP can send as a key."""

_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)
_QUOTES = {'"': '"', "“": "”", "'": "'"}


class _HopelessError(Exception):
    """What is wrong is so for every request: no key, no such model, no server."""


class OpenAIEnhancer:
    """Asks the model of one server."""

    is_free = False

    def __init__(self, settings: EnhancerSettings) -> None:
        if not settings.model:
            raise EngineError(
                f"which model is the enhancer `{settings.name}` to ask?",
                hint=f"say it: --model {settings.name}:MODEL, or in cosmos-jobs.yaml:"
                f" enhancers: {{{settings.name}: {{model: …}}}}",
            )
        self._given = settings
        self.name = f"{settings.name}:{settings.model}"

    @property
    def settings(self) -> Mapping[str, Scalar]:
        """The model, how it is asked, and how many pictures it sees; not where it is."""
        given = self._given
        return {
            "model": given.model,
            "images": given.images,
            "temperature": given.temperature,
            "max_tokens": given.max_tokens,
            "instructions": given.instructions or VERSION,
        }

    def enhance(self, requests: Sequence[Request]) -> Iterator[tuple[str, Answer]]:
        """Yield an answer to each; what cannot be answered says why, by itself.

        Raises EngineError when the package or the key is missing, when the key
        cannot be sent, or when nothing was answered, for a reason that is the same for all.
        """
        client = self._client()
        hopeless: list[str] = []
        answered = False

        def ask(request: Request) -> Answer:
            if hopeless:
                return Answer(reason=hopeless[0])
            try:
                return self._ask(client, request)
            except _HopelessError as error:
                hopeless.append(str(error))
                return Answer(reason=str(error))

        threads = ThreadPoolExecutor(self._given.parallel)
        try:
            for request, answer in zip(requests, threads.map(ask, requests), strict=True):
                answered = answered or bool(answer.text)
                yield request.id, answer
        finally:
            # Whoever stops early waits for what is being asked now, and no more is asked.
            threads.shutdown(cancel_futures=True)
            client.close()
        if hopeless and not answered:
            raise EngineError(
                f"{self.name}: {hopeless[0]}",
                hint=f"see `enhancers: {{{self._given.name}: …}}` in cosmos-jobs.yaml",
            )

    def _client(self) -> Any:
        try:
            # Half a second: only what asks a model pays for it.
            import openai
        except ImportError as error:
            raise EngineError(
                f"the enhancer `{self._given.name}` needs the package openai",
                hint="install it: pip install 'cosmos-jobs[openai]'",
            ) from error
        given = self._given
        if given.key_name and not given.key:
            raise EngineError(
                f"the enhancer `{given.name}` has no key: {given.key_name} is not set",
                hint="set it in the environment, or name a server of your own in"
                f" cosmos-jobs.yaml: enhancers: {{{given.name}: {{base_url: …}}}}",
            )
        if given.key and not _KEY.fullmatch(given.key):
            # OpenAI's own variable goes with the server that the environment names.
            raise EngineError(
                f"the key in {given.key_name or 'OPENAI_API_KEY'} cannot be one: it has line"
                " breaks, spaces around it, or letters that are not ASCII",
                hint="copy it again: the key alone, on one line",
            )
        return openai.OpenAI(
            # Servers of one's own often want none, but the package does.
            api_key=given.key or "none",
            base_url=given.base_url or "https://api.openai.com/v1",
            timeout=given.timeout_s or TIMEOUT_S,
            max_retries=given.retries,
        )

    def _ask(self, client: Any, request: Request) -> Answer:
        import openai

        try:
            content = list(self._content(request))
        except VideoError as error:
            return Answer(reason=f"its video cannot be read: {error.__cause__ or f'it {error}'}")
        try:
            return self._read(client.chat.completions.create(**self._question(content)))
        except openai.APITimeoutError:
            return Answer(reason=f"no answer within {self._given.timeout_s or TIMEOUT_S:g} s")
        except openai.APIConnectionError as error:
            raise _HopelessError(
                self._said("the server does not answer", error.__cause__)
            ) from error
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise _HopelessError(self._said("the server refuses the key", error)) from error
        except openai.NotFoundError as error:
            model = f"the server has no model `{self._given.model}`"
            raise _HopelessError(self._said(model, error)) from error
        except openai.RateLimitError as error:
            return Answer(reason=self._said("the server's rate limit is reached", error))
        except openai.APIStatusError as error:
            return Answer(reason=self._said(f"the server says {error.status_code}", error))
        except (openai.OpenAIError, ValueError, AttributeError, TypeError) as error:
            # A server that does not speak the protocol is one of the things that happen.
            return Answer(reason=self._said("the server's answer makes no sense", error))

    def _question(self, content: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        given = self._given
        # OpenAI's newer models know one name of the limit, most servers of others the other.
        limit = "max_tokens" if given.base_url else "max_completion_tokens"
        only_text = len(content) == 1
        return {
            "model": given.model,
            "messages": [
                {"role": "system", "content": given.instructions or INSTRUCTIONS},
                {"role": "user", "content": content[0]["text"] if only_text else content},
            ],
            limit: given.max_tokens,
            **({} if given.temperature is None else {"temperature": given.temperature}),
            **({"stream": True} if given.stream else {}),
        }

    def _content(self, request: Request) -> Iterator[dict[str, Any]]:
        yield {"type": "text", "text": request.text}
        if self._given.images and request.video:
            for picture in pictures(request.video, self._given.images):
                data = base64.b64encode(picture).decode()
                yield {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}

    def _read(self, response: Any) -> Answer:
        said, refusal, finish = _streamed(response) if self._given.stream else _whole(response)
        text = _plain(said)
        if refusal:
            return Answer(reason=f"the model refused: {self._short(refusal)}")
        if finish == "content_filter":
            return Answer(reason="the server's content filter refused it")
        if finish == "length":
            tokens = self._given.max_tokens
            return Answer(reason=f"the answer was cut off at {tokens} tokens: raise max_tokens")
        return Answer(text) if text else Answer(reason="the answer was empty")

    def _said(self, what: str, error: BaseException | None) -> str:
        return f"{what}: {said}" if (said := self._short(str(error or ""))) else what

    def _short(self, text: str) -> str:
        # Some servers repeat the key that they refuse.
        line = " ".join(masked(text, [self._given.key]).split())
        return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]}…"


def _whole(response: Any) -> tuple[str, str, str]:
    """Return what a completion says, its refusal, and why it ends."""
    if not response.choices:
        return "", "", ""
    choice = response.choices[0]
    refusal = getattr(choice.message, "refusal", None)
    return choice.message.content or "", refusal or "", choice.finish_reason or ""


def _streamed(chunks: Any) -> tuple[str, str, str]:
    """Return the same of one that comes in pieces."""
    said, refusal, finish = "", "", ""
    for chunk in chunks:
        # The last piece may tell of tokens only.
        for choice in chunk.choices[:1]:
            said += choice.delta.content or ""
            refusal += getattr(choice.delta, "refusal", None) or ""
            finish = choice.finish_reason or finish
    return said, refusal, finish


def _plain(said: str) -> str:
    """Return an answer without the thoughts before it, quotation marks around it and line ends."""
    text = " ".join(_THOUGHTS.sub(" ", said).split())
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text.count(text[0]) <= 2:
        text = text[1:-1].strip()
    return text


def pictures(video: Path, count: int) -> list[bytes]:
    """Return at most `count` frames of a video as JPEG, evenly spaced, LARGEST_PX or smaller.

    They are upright. Raises VideoError when there is none to be had.
    """
    return [_jpeg(media.rgb(frame)) for frame in media.sampled(video, count)]


def _jpeg(picture: Pixels) -> bytes:
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((LARGEST_PX, LARGEST_PX))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=85)
    return data.getvalue()
