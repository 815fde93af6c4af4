from __future__ import annotations

import orjson
import pytest

from cosmos_jobs.errors import InvalidFiles
from cosmos_jobs.report import ratings
from cosmos_jobs.report.ratings import Rating

RUN = "rs_0123456789abcdef"


def written(*each: object) -> bytes:
    return orjson.dumps({"cosmos_jobs_ratings": 1, "ratings": each})


def test_the_last_rating_of_a_run_counts() -> None:
    data = written({"run": RUN, "stars": 2, "note": ""}, {"run": RUN, "stars": 4, "note": " ok\n"})

    assert ratings.parse(data, "r.json") == (Rating(RUN, 4, "ok"),)
    assert ratings.parse(written({"run": RUN, "stars": None}), "") == (Rating(RUN, None, ""),)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"ratings": []}', written()[:-1], b"null"])
def test_what_is_no_file_of_ratings_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidFiles, match="no file of ratings"):
        ratings.parse(data, "r.json")


def test_every_problem_of_a_file_is_told() -> None:
    data = written(
        {"run": "rs_1", "stars": 6},
        {"run": RUN, "stars": True, "note": 3},
        "x",
        {"run": RUN, "stars": 1.0, "note": "x" * 2001},
    )

    with pytest.raises(InvalidFiles) as caught:
        ratings.parse(data, "r.json")

    assert [each.message.split(":")[0] for each in caught.value.diagnostics] == [
        *(2 * ["ratings[0]"]),
        *(2 * ["ratings[1]"]),
        "ratings[2]",
        *(2 * ["ratings[3]"]),
    ]
