"""Secrets in text, made unreadable: what logs and messages show goes through here."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

MASK = "***"
MIN_VALUE = 4
"""Characters that a given value has at least to be masked: `1` would blank every digit of a log."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS = re.compile(r"[^a-z0-9]+")
_SECRET_WORDS = frozenset({"secret", "secrets", "passwd", "passphrase", "authorization", "apikey"})
_SECRET_ENDINGS = ("password", "passwd", "token", "apikey", "secretkey", "accesskey", "privatekey")
_KEYS = frozenset(
    {"access", "account", "api", "auth", "encryption", "private", "secret", "signing"}
)
_ABOUT = frozenset({"count", "dir", "file", "id", "ids", "length", "limit", "name", "path", "type"})
"""Last words of names that are about a secret and do not hold it: HF_TOKEN_PATH."""

_NAME = r"(?P<name>[A-Za-z_][\w.-]{0,99}+)"
_ASSIGNMENT = re.compile(
    rf"(?<![A-Za-z0-9_]){_NAME}\\{{0,4}}[\"']?[ \t]{{0,20}}(?:=>|:=|==?|:)[ \t]{{0,20}}"
)
_OPTION = re.compile(
    rf"(?<![\w-])--?{_NAME}(?:[ \t]{{1,20}}(?=[^\s-])|[\"'],[ \t]{{0,20}}(?=[\"']))"
)
_VALUE = re.compile(
    r"(?P<kept>\")(?:[^\"\\\r\n]|\\[^\r\n])++"
    r"|(?P<kept_too>')(?:[^'\\\r\n]|\\[^\r\n])++"
    r"|(?P<scheme>(?:bearer|basic|digest|token)[ \t]{1,20}(?=\S))?[^\s\"']\S*",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"[\"']?\$\{\w{1,200}\}[\"'\]},;]*")
_BEARER = re.compile(r"(?<![A-Za-z0-9])(bearer[ \t]+)[\w.~+/=-]{16,}", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"(://[^/\s:@]{0,100}:)[^/\s@]{1,500}(?=@)")
_SHAPES = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"hf_[A-Za-z0-9]{12,}"
    r"|nvapi-[\w-]{10,}"
    r"|sk-(?=[A-Za-z_-]{0,60}[0-9])[\w-]{16,}"
    r"|gh[oprsu]_[A-Za-z0-9]{16,}"
    r"|github_pat_\w{16,}"
    r"|glpat-[\w-]{16,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}"
    r"|AIza[\w-]{30,}"
    r"|xox[abeprs]-[\w-]{10,}"
    r"|eyJ[\w-]{10,}\.[\w-]{10,}(?:\.[\w-]+)?"
    r")"
)


def looks_secret(name: str) -> bool:
    """Say whether a variable, key or option of this name holds a secret, as HF_TOKEN does.

    TOKENIZERS_PARALLELISM, MAX_TOKENS, HF_TOKEN_PATH and PWD do not.
    """
    words = [word for word in _SEPARATORS.split(_CAMEL.sub("_", name).lower()) if word]
    if not words or words[-1] in _ABOUT:
        return False
    if any(word in _SECRET_WORDS or word.endswith("password") for word in words):
        return True
    stem = [word for word in words if not word.isdigit()]
    if not stem:
        return False
    last = stem[-1].rstrip("0123456789")
    before = stem[-2] if len(stem) > 1 else ""
    return (
        last.endswith(_SECRET_ENDINGS)
        or (last == "key" and before in _KEYS)
        or (last == "pwd" and bool(before))
    )


def masked(text: str, values: Collection[str] = ()) -> str:
    """Return `text` with `***` for the secrets in it; its lines stay as they are.

    Masked are the given values (those of at least MIN_VALUE characters, each
    line of one with several), what is assigned to a name that looks secret,
    and tokens whose shape is known. A reference, `${HF_TOKEN}`, stays.
    """
    text = _without(text, values)
    for heads in (_ASSIGNMENT, _OPTION):
        text = "".join(_unassigned(text, heads))
    text = _BEARER.sub(rf"\1{MASK}", text)
    text = _IN_ADDRESS.sub(rf"\1{MASK}", text)
    return _SHAPES.sub(MASK, text)


def _without(text: str, values: Collection[str]) -> str:
    lines = {line for value in values for line in value.splitlines() if len(line) >= MIN_VALUE}
    if not lines:
        return text
    longest_first = sorted(lines, key=lambda line: (-len(line), line))
    return re.sub("|".join(map(re.escape, longest_first)), MASK, text)


def _unassigned(text: str, heads: re.Pattern[str]) -> Iterator[str]:
    """Yield the parts of `text`, the values masked that follow `heads` with secret names."""
    done = 0
    # A head ends before its value: in `env: HF_TOKEN=x` there are two.
    for head in heads.finditer(text):
        if head.start() < done or not looks_secret(head["name"]):
            continue
        value = _VALUE.match(text, head.end())
        if value and not _REFERENCE.fullmatch(value[0]):
            kept = value["kept"] or value["kept_too"] or value["scheme"] or ""
            yield text[done : value.start()] + kept + MASK
            done = value.end()
    yield text[done:]
