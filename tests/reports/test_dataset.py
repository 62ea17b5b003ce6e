"""The funnel's figure, page and JSON: complete, self-contained, the same for the same data."""

import json
from typing import Any

import pytest

from common.errors import UserError
from data_prep import report
from data_prep.screening.reasons import REASONS
from reports import dataset, numbers

DATA: dict[str, Any] = {
    "input": {"total": 1000, "metadata_records": 990, "unclaimed_archives": 10},
    "reasons": {"subject": 300, "no_metadata": 10, "broken_archive": 1, "language": 50, "exact_duplicate": 9},
    "written": 630,
    "splits": {
        "train": {"documents": 620, "bytes": 70_000, "text_bytes": 62_000, "sha256": "a" * 64},
        "val": {"documents": 10, "bytes": 1100, "text_bytes": 1000, "sha256": "b" * 64},
    },
    "vocabulary": {"supported": 1152, "configured": 102_400, "needed_bytes": 200_000_000},
    "lengths": {"histogram": [{"from": 64, "to": 128, "documents": 630}], "quantiles": {"50%": 100}},
    "years": {"2023": {"records": 990, "in_scope": 690, "written": 630, "text_bytes": 63_000}},
    "subjects": {
        f"math.{i:02d}": {"records": 22, "in_scope": 15, "written": 14, "text_bytes": 1400 - i} for i in range(45)
    },
    "counters": {"undecodable_members": 3},
    "problems": ["bulk.tar: damaged <here>"],
    "samples": {"language": [{"id": "2301.00001", "title": "<b>Über</b>"}]},
}


def test_files_are_complete_and_the_same_every_time(tmp_path):
    for name in ("one", "two"):
        dataset.write(tmp_path / name, DATA, REASONS)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["funnel.png", "overview.png", "report.html", "report.json"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert json.loads((tmp_path / "one" / "report.json").read_text()) == DATA
    assert (tmp_path / "one" / "funnel.png").read_bytes().startswith(b"\x89PNG")


def test_page_tells_reasons_and_meanings_and_escapes_what_papers_say():
    page = dataset.report_html(DATA, REASONS, b"png")
    for reason in DATA["reasons"]:
        assert reason in page
    assert "prose in another language" in page and "data:image/png;base64," in page
    assert "&lt;b&gt;Über" in page and "<b>Über" not in page and "damaged &lt;here&gt;" in page
    assert "5 others" in page  # beyond the forty largest categories
    assert "http" not in page  # self-contained


def test_steps_end_at_what_was_written():
    steps = dataset.funnel_steps(DATA, REASONS)
    assert [reason for reason, *_ in steps] == [reason for reason in REASONS if reason in DATA["reasons"]]
    assert steps[-1][2] == DATA["written"]


def test_an_empty_dataset_has_a_report_too(tmp_path):
    nothing = {"documents": 0, "bytes": 0, "text_bytes": 0, "sha256": ""}
    data = {
        **DATA,
        "input": {"total": 0, "metadata_records": 0, "unclaimed_archives": 0},
        "reasons": {},
        "written": 0,
        "splits": {"train": nothing, "val": nothing},
        "lengths": {"histogram": [], "quantiles": {}},
        "years": {},
        "subjects": {},
        "samples": {},
    }
    dataset.write(tmp_path, data, REASONS)
    assert "No text was written" in (tmp_path / "report.html").read_text()


def test_each_reason_has_a_stage():
    assert [
        dataset.stage_of(reason, REASONS)[0] for reason in ("bad_metadata", "pdf_only", "language", "exact_duplicate")
    ] == [
        "metadata",
        "archive",
        "text",
        "collection",
    ]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (27_000_000, "27.0 MB"), (1_400_000_000, "1.4 GB"), (3e12, "3.00 TB")],
)
def test_sizes_for_people(size, text):
    assert numbers.size_text(int(size)) == text


def test_the_page_tells_time_and_what_all_of_arxiv_would_take():
    timing = {
        "papers": 1000,
        "archive_bytes": 10**8,
        "worker_seconds": {"clean": 30.0, "language": 10.0},
        "wall_seconds": {"papers": 20.0},
    }
    page = dataset.report_html(DATA, REASONS, b"png", b"png", timing)
    assert "40 core-seconds, 25.0 papers/s a core" in page
    assert "(3,000,000 papers like these, 16 cores): 2.1 hours" in page  # 40 s / 1000 * 3e6 / 16 / 3600


def test_compare_tells_what_a_knob_changed(tmp_path, capsys):
    knobs: dict[str, dict[str, Any]] = {"papers": {"min_chars": 500, "tables": "keep"}}
    other = {**DATA, "knobs": {"papers": {**knobs["papers"], "min_chars": 9000}}, "written": 600}
    other["reasons"] = {**DATA["reasons"], "too_short": 30}
    dataset.write(tmp_path / "a" / "report", {**DATA, "knobs": knobs}, REASONS)
    dataset.write(tmp_path / "b" / "report", other, REASONS)
    assert report.main(["--compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    shown = capsys.readouterr().out
    assert "papers.min_chars: 500 -> 9000" in shown and "tables" not in shown
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if len(line.split()) == 4}
    assert rows["too_short"] == ["0", "30", "+30"] and rows["written"] == ["630", "600", "-30"]
    assert "subject" in rows and "withdrawn" not in rows
    with pytest.raises(UserError, match="no report to compare"):
        report.main(["--compare", str(tmp_path / "a"), str(tmp_path / "c")])


def test_languages_are_listed_with_their_evidence():
    counters = {"language_by_langdetect": 30, "language_by_english_words": 70, "language_en": 90, "language_fr": 10}
    page = dataset.report_html(DATA | {"counters": counters}, REASONS, b"png")
    assert "<h2>Languages</h2>" in page and "english words 70, langdetect 30" in page
    assert page.index(">en<") < page.index(">fr<")
    assert "Languages" not in dataset.report_html(DATA, REASONS, b"png")
