"""What is not a paper is told from what is, by a wide margin."""

import pytest

from common.errors import UserError
from common.settings.load import load_settings
from data_prep import quality as command
from data_prep.screening import quality
from data_prep.screening.quality import measure, quality_reason
from data_prep.screening.reasons import REASONS
from tests.helpers.foreign_papers import SENTENCES, foreign_paper
from tests.helpers.not_papers import BAD
from tests.helpers.tiny_corpus import prose

SETTINGS = load_settings().data


def judged(text):
    return quality_reason(measure(text), SETTINGS)


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_paper(name):
    expected, text = BAD[name]
    found = judged(text)
    assert found is not None and found[0] == expected and expected in REASONS and "data." in found[1]


@pytest.mark.parametrize("language", sorted(SENTENCES))
def test_papers_of_any_language_with_much_mathematics_are_kept(language):
    # Generated from twelve sentences they repeat more than any paper does; each line once is what a paper has.
    lines = dict.fromkeys(foreign_paper(language, 1, 200, 0).split("\n\n"))
    assert judged("\n\n".join(lines)) is None
    formulas = "\n\n".join(
        f"{line}\n\\[ x_{{{i}}}^2 + \\alpha_{{{i * 7}}} \\leq {i * i} \\]" for i, line in enumerate(lines)
    )
    assert judged(formulas) is None


def test_prose_is_kept_and_limits_are_knobs():
    import dataclasses

    text = "\n".join(dict.fromkeys(prose(1, 30).splitlines()))
    assert judged(text) is None
    strict = dataclasses.replace(SETTINGS, min_word_share=0.99)
    assert quality_reason(measure(text), strict) is not None
    assert measure("").repeated == 0 and measure("").words == 0


def test_the_sample_is_bounded(monkeypatch):
    seen = []

    def compress(data, level):
        seen.append(len(data))
        return b"x" * 5000

    monkeypatch.setattr(quality.zlib, "compress", compress)
    measure("some words of text " * 100_000)
    assert seen == [quality.WINDOWS * quality.WINDOW_CHARS]


def test_command(tmp_path, capsys):
    path = tmp_path / "a.tex"
    path.write_text(BAD["table"][1])
    assert command.main([str(path)]) == 0
    assert "gibberish: 0.00 of it in words < data.min_word_share" in capsys.readouterr().out
    with pytest.raises(UserError, match="no such file"):
        command.main([str(tmp_path / "b.tex")])
