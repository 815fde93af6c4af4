"""Plans as comments on pull requests; the golden files are renewed by `pytest --update-golden`."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from hypothesis import given
from hypothesis import strategies as st

from cosmos_jobs.cli.views import markdown
from cosmos_jobs.cli.views.diagnostics import visible
from cosmos_jobs.core.diagnostics import Diagnostic, Severity, Span
from cosmos_jobs.plan.model import Action, Change, Estimate, Planned
from cosmos_jobs.plan.reasons import Cause, Reason
from tests.conftest import Golden
from tests.support.examples import parsed, planned
from tests.unit.cli.views.test_plans import EXAMPLES, ONE_VIDEO

GOLDEN = Path(__file__).parents[2] / "golden" / "markdown"
PLAIN = planned([parsed(ONE_VIDEO.replace("500", "1"))])
HOSTILE = "@octocat <script>alert(1)</script> `x` | a\r\n| b </code></details> #1 **b** $x$ [l](u)"


class Page(HTMLParser):
    """What a browser makes of a comment: its text, its tags, and what the items of lists say."""

    def __init__(self, written: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: Counter[str] = Counter()
        self.codes: list[str] = []
        self._within: list[str] = []
        # GitHub's own program, with all HTML let through.
        self.feed(cmarkgfm.github_flavored_markdown_to_html(written, Options.CMARK_OPT_UNSAFE))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if tag != "wbr":
            self._within.append(tag)
        if tag == "code":
            self.codes.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._within.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "code" in self._within:
            self.codes[-1] += data


def changed(change: Change, planned_: Planned, count: int = 1) -> Planned:
    return replace(planned_, plan=replace(planned_.plan, changes=(change,) * count))


def hostile(written: str, count: int = 1) -> Planned:
    """Return a plan that has a text wherever a user's text can come in."""
    (job,) = PLAIN.jobs
    assert job.spec
    job = replace(job, spec=replace(job.spec, path=written), target=written)
    made = replace(PLAIN, jobs=(job,), refusals=(written,))
    change = Change(Action.RETRY, "rs_1", "x", written, Reason(Cause.TOLD, written))
    warning = Diagnostic("w", written, written, Span(3, 1, 2), severity=Severity.WARNING)
    return replace(changed(change, made, count), warnings=(warning,) * count)


@pytest.mark.parametrize("name", EXAMPLES)
def test_comments_read_as_agreed(name: str, golden: Golden) -> None:
    golden(GOLDEN / f"{name}.md", markdown.text(EXAMPLES[name]()))


def test_a_hostile_plan_reads_as_agreed(golden: Golden) -> None:
    golden(GOLDEN / "hostile.md", markdown.text(hostile(HOSTILE)))


def test_the_marker_is_the_first_line_and_the_same_for_any_plan() -> None:
    first = {markdown.text(EXAMPLES[name]()).splitlines()[0] for name in EXAMPLES}

    assert first == {markdown.marker(".")}
    assert re.fullmatch(r"<!-- cosmos-jobs plan [0-9a-f]{12} -->", markdown.marker("."))
    assert markdown.marker("films") != markdown.marker(".")


def test_a_job_is_a_row_that_counts_its_runs() -> None:
    rows = [line for line in markdown.text(EXAMPLES["several"]()).splitlines() if line[0:1] == "|"]

    assert [row.split("|")[4:9] for row in rows[2:]] == [
        [" 8 ", " 0 ", " 0 ", " 0 ", " 0 "],
        [" 1,000 ", " 0 ", " 0 ", " 0 ", " 0 "],
    ]


def test_the_first_runs_are_open_and_the_others_are_folded() -> None:
    made = planned([parsed(ONE_VIDEO.replace("500", "200"))])

    opened, folded = markdown.text(made).split("<details>")

    assert opened.count("\n- `+`") == markdown.SHOWN
    assert "not shown" not in folded
    assert folded.count("\n- `+`") == 200 - markdown.SHOWN
    assert "<summary>180 more</summary>" in folded


@given(st.text() | st.text("@#`|<>&;*_~[]()!\\\r\n\t w.:/$-+=1x", max_size=40))
def test_whatever_users_write_is_read_as_they_wrote_it(written: str) -> None:

    written = f"x{written}"
    wanted = visible(" ".join(written.split()))
    harmless = Page(markdown.text(hostile("x"))).tags

    page = Page(markdown.text(hostile(written)))

    page.tags["wbr"] = 0
    assert page.tags - harmless == Counter()
    assert page.codes[0] == page.codes[1] == wanted
    assert page.codes[-2:] == [f"x/{wanted}", f"retry: {wanted}"]


def test_no_mention_and_no_number_of_an_issue_can_become_a_link() -> None:
    said = markdown.escaped("@octocat fixes #1, o/r#2; a@b.org, www.example.org, https://x.org")

    assert not re.search(r"[@#](?!\d\d;)\w|://|www\.", re.sub(r"&#(35|64);<wbr>", "", said))
    html = cmarkgfm.github_flavored_markdown_to_html(said, Options.CMARK_OPT_UNSAFE)
    assert "href" not in html


@pytest.mark.parametrize("count", [1, 2000])
@pytest.mark.parametrize("written", ["\U000e0001" * 400, "@" * 400, "é" * 400, "x/y"])
def test_no_comment_is_longer_than_github_takes_and_what_is_cut_is_counted(
    written: str, count: int
) -> None:
    made = hostile(written, count)
    jobs = tuple(made.jobs[0] for _ in range(count))

    text = markdown.text(replace(made, jobs=jobs, refusals=made.refusals * count))

    assert len(text.encode()) <= markdown.MAX_BYTES
    cut = {int(found.replace(",", "")) for found in re.findall(r"([\d,]+) more, not shown", text)}
    hidden = re.search(r"\*\*([\d,]+) runs? (?:is|are) not shown", text)
    runs = text.count("\n- `~`") + (int(hidden[1].replace(",", "")) if hidden else 0)
    assert runs == count
    assert all(number < count for number in cut)
    assert text.count("<details>") == text.count("</details>")


def test_what_it_takes_is_told() -> None:
    made = replace(EXAMPLES["new"](), estimate=Estimate(8, 0, 12_000.0, 2.8, 9.8))

    said = markdown.text(made)

    assert "2.8 GPU hours; 9.80 at the target's price" in said
