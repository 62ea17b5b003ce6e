"""The ids of papers: read from the names of files, ordered by month of submission.

The id is read from the file's name alone (for `hep-th/9901001.gz`, from its folder too), and is written as arXiv's
metadata writes it:

    YYMM.NNNN, YYMM.NNNNN        0704.0001.gz, 2301.00001v2.tar.gz    -> 0704.0001, 2301.00001 (version 2)
    old archive + YYMMNNN        math0001001.gz, hep-th9901001v3.gz   -> math/0001001, hep-th/9901001 (version 3)
    archive.CLASS + YYMMNNN      math.AG0301002.gz                    -> math/0301002 (the class is no part of it)
    archive, `/` `_` or `-`, id  hep-th/9901001.gz, math.AG_0301002   -> hep-th/9901001, math/0301002

The month must be 01..12; `vN` may follow the number; then comes nothing, or one or two extensions that arXiv or a
person may have given (EXTENSIONS below). The old archives are a closed list (ARCHIVES). Every other name is no paper.

**Order.** By month of the id (07 is 2007, 91..99 are 19xx), then id: the order of submission, near enough.
"""

from __future__ import annotations

import re

from common.errors import UserError

# The archives that old identifiers name (those founded after March 2007 have new identifiers alone).
ARCHIVES = (
    "acc-phys adap-org alg-geom ao-sci astro-ph atom-ph bayes-an chao-dyn chem-ph cmp-lg comp-gas cond-mat cs dg-ga "
    "funct-an gr-qc hep-ex hep-lat hep-ph hep-th math-ph math mtrl-th nlin nucl-ex nucl-th patt-sol physics plasm-ph "
    "q-alg q-bio quant-ph solv-int supr-con"
).split()
EXTENSIONS = r"(?:\.(?:gz|tar|tgz|tex|pdf|ps|eps|dvi|html?|zip|docx|bz2|xz|Z)){0,2}"
NEW_ID = re.compile(rf"(\d\d(?:0[1-9]|1[0-2])\.\d{{4,5}})(?:v(\d+))?{EXTENSIONS}", re.IGNORECASE)
OLD_ID = re.compile(
    rf"({'|'.join(ARCHIVES)})(?:\.[a-z]{{2}}|\.[a-z]+-[a-z]+)?[/_-]?"
    rf"(\d\d(?:0[1-9]|1[0-2])\d{{3}})(?:v(\d+))?{EXTENSIONS}",
    re.IGNORECASE,
)
FIRST_YEAR = 1991


def paper_id_of(name: str) -> tuple[str, int | None] | None:
    """Id and version that a file's or tar member's name stands for, by the rule above; None for any other name."""
    *folders, base = name.split("/")
    match = NEW_ID.fullmatch(base)
    if match:
        return match[1], int(match[2]) if match[2] else None
    match = OLD_ID.fullmatch(base) or (OLD_ID.fullmatch(f"{folders[-1]}/{base}") if folders else None)
    if match:
        return f"{match[1].lower()}/{match[2]}", int(match[3]) if match[3] else None
    return None


def month_of(paper_id: str) -> str:
    """Month of submission "YYYYMM" that an id names: "0704.0001" -> "200704", "hep-th/9901001" -> "199901"."""
    return full_month(paper_id.rpartition("/")[2][:4])


def full_month(yymm: str) -> str:
    """ "YYMM" as "YYYYMM": arXiv began in 1991, so 91..99 are of the last century and 00..90 of this one."""
    century = "19" if int(yymm[:2]) >= FIRST_YEAR % 100 else "20"
    return century + yymm


def order_key(paper_id: str) -> str:
    """Sorts ids by month, then by id; the paper's key wherever order matters."""
    return f"{month_of(paper_id)} {paper_id}"


def parse_months(months: str | None) -> tuple[str, str] | None:
    """ "9107:0704" as ("199107", "200704"), both ends included; None stays None.

    Raises:
        UserError: another shape, a month outside 01..12, or an end before the beginning.
    """
    if months is None:
        return None
    match = re.fullmatch(r"(\d\d(?:0[1-9]|1[0-2])):(\d\d(?:0[1-9]|1[0-2]))", months)
    if not match:
        raise UserError(f"months is '{months}', expected YYMM:YYMM, e.g. --months 2301:2303")
    first, last = full_month(match[1]), full_month(match[2])
    if first > last:
        raise UserError(f"months is '{months}', but {first} comes after {last}; write the earlier month first")
    return first, last
