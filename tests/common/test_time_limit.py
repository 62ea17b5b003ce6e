"""The limit on one paper's processor time."""

import threading

import pytest

from common.settings.load import load_settings
from common.time_limit import TimeLimit, time_limit
from data_prep.pipeline import process_paper


def spin(seconds: float = 30) -> None:
    import time

    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_block_that_takes_too_long_is_left():
    with pytest.raises(TimeLimit), time_limit(0.05):
        spin()


def test_a_block_in_time_is_not_disturbed_later():
    with time_limit(0.05):
        pass
    spin(0.1)


def test_other_threads_run_without_a_limit():
    done = []

    def run() -> None:
        with time_limit(0.01):
            spin(0.1)
        done.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done


def test_a_paper_over_the_limit_is_rejected_with_the_knob(monkeypatch):
    monkeypatch.setattr(process_paper, "clean", lambda *_: spin())
    settings = load_settings(overrides=["data.max_seconds_per_paper=0.1"]).data
    outcome = process_paper.process_paper(
        b"\\documentclass{a}\\begin{document}x\\end{document}", "a.tex", None, settings
    )
    assert outcome.reason == "time_limit" and "data.max_seconds_per_paper 0.1" in outcome.detail
