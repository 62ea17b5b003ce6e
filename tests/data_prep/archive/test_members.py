"""Sources that arXiv put in the place of a withdrawn paper."""

import gzip

import pytest

from common.settings.load import load_settings
from data_prep.archive.formats import read_archive
from data_prep.archive.members import refuse_stub
from data_prep.screening.reasons import Rejected

# None has a noun before "withdrawn" at the distance that the plain pattern looks at.
NOTICES = """\
Withdrawn.
This paper has been withdrwan by the author.
This paper has beeing withdrowned by the authors due to an error.
This note has been withdrawn by the author.
We withdraw this preprint because of an error in Lemma 2.
The author wishes to retract this article.
This submission has been removed by arXiv administrators.
""".splitlines()
PAPERS = """\
This entry is deleted because it is zero.
I retract the thesis.
A rational author would withdraw the manuscript.
Water is withdrawn from the well.
The space retracts onto its boundary.
""".splitlines()
SETTINGS = load_settings().data
BODY = "\\documentclass{article}\\begin{document}%s\\end{document}"


@pytest.mark.parametrize("text", NOTICES)
def test_a_notice_is_no_source(text):
    with pytest.raises(Rejected, match=f"withdrawn_source.*a notice of {len(text)} bytes"):
        refuse_stub(text.encode())
    with pytest.raises(Rejected) as refused:
        read_archive(gzip.compress(text.encode()), "x.gz", SETTINGS)
    assert refused.value.reason == "withdrawn_source"


@pytest.mark.parametrize("text", PAPERS)
def test_a_short_paper_is_a_source(text):
    refuse_stub(text.encode())
    assert read_archive(gzip.compress((BODY % text).encode()), "x.gz", SETTINGS).kind == "single_tex"


def test_a_paper_of_some_length_is_a_source_whatever_it_says():
    refuse_stub(b"Withdrawn. " + b"The proof is by induction. " * 40)
    refuse_stub(b"\\begin{document}\\section{One} Withdrawn.\\end{document}")
