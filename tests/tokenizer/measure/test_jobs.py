"""The measures are the same for any number of workers."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.tokenizer.known_tokenizers import PAPER, lower_case, peer
from tokenizer.measure.jobs import measure_all


def test_results_do_not_depend_on_workers(tmp_path: Path) -> None:
    paths = [peer(tmp_path / "one"), peer(tmp_path / "two", lower_case)]
    sets = [[PAPER * 700, "x", PAPER], [PAPER[::-1]]]
    one, two = (measure_all(paths, sets, 2500, 3, workers) for workers in (1, 2))
    assert one.documents == two.documents and one.chunks == two.chunks and one.not_compared == two.not_compared
    for ours, theirs in zip(one.tallies, two.tallies, strict=True):
        assert [tally.results(300) for tally in ours] == [tally.results(300) for tally in theirs]
        assert [tally.per_document for tally in ours] == [tally.per_document for tally in theirs]
    assert [len(tally.per_document) for tally in one.tallies[0]] == [3, 1]
    assert one.chunks[0].lossy == 0 and one.chunks[0].texts == 2500 and 1500 < one.chunks[1].lossy < 2500
    assert [trips.lossy for trips in one.documents] == [0, 3] and one.documents[0].texts == 4
