"""Secrets are masked wherever they stand; everything else stays readable."""

from __future__ import annotations

import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_jobs.core.redaction import MIN_VALUE, looks_secret, masked

SECRET_NAMES = (
    "HF_TOKEN",
    "token",
    "access_token",
    "authToken",
    "GITHUB_TOKEN_1",
    "NGC_API_KEY",
    "apiKey",
    "x-api-key",
    "OPENAI_APIKEY",
    "AWS_SECRET_ACCESS_KEY",
    "private_key",
    "CLIENT_SECRET",
    "SECRET_KEY_BASE",
    "PASSWORD",
    "PGPASSWORD",
    "DB_PASSWORD_2",
    "MYSQL_PWD",
    "passphrase",
    "Authorization",
)
OTHER_NAMES = (
    "",
    "_",
    "1",
    "PWD",
    "OLDPWD",
    "PATH",
    "HF_HOME",
    "HF_TOKEN_PATH",
    "TOKENIZERS_PARALLELISM",
    "MAX_TOKENS",
    "tokenizer",
    "token_count",
    "sort_key",
    "key",
    "monkey",
    "keyboard",
    "AWS_ACCESS_KEY_ID",
    "CUDA_VISIBLE_DEVICES",
)


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_names_of_secrets_are_known(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_other_names_are_left_alone(name: str) -> None:
    assert not looks_secret(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("export HF_TOKEN=abc; go", "export HF_TOKEN=*** go"),
        ("HF_TOKEN='a b' go", "HF_TOKEN='***' go"),
        ('HF_TOKEN="a \\" b" go', 'HF_TOKEN="***" go'),
        ("env: HF_TOKEN=abc", "env: HF_TOKEN=***"),
        ("docker run -eHF_TOKEN=abc x", "docker run -eHF_TOKEN=*** x"),
        ('{"api_key": "abc d", "model": "x"}', '{"api_key": "***", "model": "x"}'),
        ("{'token': 'abc', 'n': 1}", "{'token': '***', 'n': 1}"),
        ('{\\"api_key\\": \\"abc\\"}', '{\\"api_key\\": ***'),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("authorization: Basic dXNlcg==", "authorization: Basic ***"),
        ("sent bearer abcdefghijklmnop1 once", "sent bearer *** once"),
        ("the bearer of news", "the bearer of news"),
        ("x --token xyz --next", "x --token *** --next"),
        ("x --token=xyz --next", "x --token=*** --next"),
        ("['--token', 'xyz', '-b']", "['--token', '***', '-b']"),
        ("x --token --next", "x --token --next"),
        ("git clone https://me:pw@host/x.git", "git clone https://me:***@host/x.git"),
        ("http://host:80/a@b", "http://host:80/a@b"),
        ("got hf_AbCdEfGhIjKlMnOp.", "got ***."),
        ("got nvapi-AbCdEfGh-IjKl_Mn", "got ***"),
        ("got sk-proj-1234567890abcdef", "got ***"),
        ("got ghp_AbCdEfGhIjKlMnOp1234", "got ***"),
        ("got AKIAIOSFODNN7EXAMPLE", "got ***"),
        ("task-with-a-long-name-1234", "task-with-a-long-name-1234"),
        ("hf_hub_download() failed", "hf_hub_download() failed"),
        ("HF_TOKEN: ${HF_TOKEN}", "HF_TOKEN: ${HF_TOKEN}"),
        ('{HF_TOKEN: "${HF_TOKEN}"}', '{HF_TOKEN: "${HF_TOKEN}"}'),
        ("PASSWORD=${a}b", "PASSWORD=***"),
        ('token="" x', 'token="" x'),
        ("token=", "token="),
        ("run rs_00 12/35 [00:10<00:20, 1.2it/s]", "run rs_00 12/35 [00:10<00:20, 1.2it/s]"),
    ],
)
def test_secrets_are_masked_where_they_stand(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_given_values_are_masked_the_longest_first() -> None:
    assert masked("abcdef abcd", ["abcd", "abcdef"]) == "*** ***"


def test_the_lines_of_a_given_value_are_masked_one_by_one() -> None:
    key = "-----BEGIN KEY-----\nMIIEpAIBAAK\n-----END KEY-----"

    assert masked(f"a\n{key}\nb", [key]) == "a\n***\n***\n***\nb"
    assert masked("only MIIEpAIBAAK", [key]) == "only ***"


def test_tiny_values_would_blank_the_log() -> None:
    assert masked("step 1 of 10", ["1", ""]) == "step 1 of 10"


# --- promises -------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *SECRET_NAMES,
        "=",
        ": ",
        " ",
        '"',
        "'",
        "\\",
        "\n",
        "\r",
        "\r\n",
        "--token ",
        "Bearer ",
        "hf_",
        "sk-",
        "://",
        "a:b@",
        "abcdefghijklmnop1234",
        "eyJ",
        ".",
        "-",
        "${",
        "}",
        "\ud800",
        "é",
        "\x85",
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=4), max_size=30).map("".join)
VALUES = st.lists(st.text(max_size=12), max_size=3)


@given(TEXTS, VALUES)
def test_any_text_keeps_its_lines(text: str, values: list[str]) -> None:
    shown = masked(text, values)

    assert [shown.count(each) for each in "\r\n"] == [text.count(each) for each in "\r\n"]


@given(TEXTS)
def test_masking_twice_is_masking_once(text: str) -> None:
    shown = masked(text)

    assert masked(shown) == shown


WORDS = st.text(string.ascii_letters + string.digits, min_size=MIN_VALUE, max_size=20)


@given(TEXTS, WORDS.map("Q{}Q".format), TEXTS)
def test_no_given_value_is_left(before: str, value: str, after: str) -> None:
    assert value not in masked(before + value + after, [value])


@given(
    st.sampled_from([name for name in SECRET_NAMES if name != "Authorization"]),
    st.sampled_from(["=", ": ", " = ", "='", '="', '": "', "': '"]),
    WORDS.map("Q{}Q".format),
)
def test_no_assigned_value_is_left(name: str, sign: str, value: str) -> None:
    assert value not in masked(f"x {name}{sign}{value}\ny")


@pytest.mark.parametrize(
    "piece",
    ["a-", "a", "token ", "token=", "\\", '"', "a.b ", "://", "://a:", "sk-", "--token ", "eyJ"],
)
def test_no_log_tail_takes_long(piece: str) -> None:
    text = piece * (8192 // len(piece))
    started = time.process_time()

    masked(text, ["abcd", "efgh"])

    assert time.process_time() - started < 0.1
