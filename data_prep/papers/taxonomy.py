"""arXiv's categories and licences, as its metadata writes them: a knob that names another one is a slip of the pen.

Lists: https://arxiv.org/category_taxonomy and https://info.arxiv.org/help/license/index.html. Imported, not run.
"""

from __future__ import annotations

import difflib

from common.errors import UserError
from common.settings.data import DataSettings
from data_prep.papers.ids import ARCHIVES

# Subject classes by archive; an archive without any is a category itself, and so are the retired ones of ARCHIVES.
CLASSES = {
    "astro-ph": "CO EP GA HE IM SR",
    "cond-mat": "dis-nn mes-hall mtrl-sci other quant-gas soft stat-mech str-el supr-con",
    "cs": "AI AR CC CE CG CL CR CV CY DB DC DL DM DS ET FL GL GR GT HC IR IT LG LO MA MM MS NA NE NI OH OS PF PL RO SC "
    "SD SE SI SY",
    "econ": "EM GN TH",
    "eess": "AS IV SP SY",
    "math": "AC AG AP AT CA CO CT CV DG DS FA GM GN GR GT HO IT KT LO MG MP NA NT OA OC PR QA RA RT SG SP ST",
    "nlin": "AO CD CG PS SI",
    "physics": "acc-ph ao-ph app-ph atm-clus atom-ph bio-ph chem-ph class-ph comp-ph data-an ed-ph flu-dyn gen-ph "
    "geo-ph hist-ph ins-det med-ph optics plasm-ph pop-ph soc-ph space-ph",
    "q-bio": "BM CB GN MN NC OT PE QM SC TO",
    "q-fin": "CP EC GN MF PM PR RM ST TR",
    "stat": "AP CO ME ML OT TH",
}
CATEGORIES = frozenset(
    [*ARCHIVES, *CLASSES, *(f"{archive}.{name}" for archive, names in CLASSES.items() for name in names.split())]
)
LICENSES = (
    "http://arxiv.org/licenses/nonexclusive-distrib/1.0/",
    "http://arxiv.org/licenses/assumed-1991-2003/",
    "http://creativecommons.org/licenses/by/3.0/",
    "http://creativecommons.org/licenses/by/4.0/",
    "http://creativecommons.org/licenses/by-sa/4.0/",
    "http://creativecommons.org/licenses/by-nc-sa/3.0/",
    "http://creativecommons.org/licenses/by-nc-sa/4.0/",
    "http://creativecommons.org/licenses/by-nc-nd/4.0/",
    "http://creativecommons.org/licenses/publicdomain/",
    "http://creativecommons.org/publicdomain/zero/1.0/",
)


def license_key(url: str | None) -> str | None:
    """A licence's URL without what people write in two ways: the scheme, `www.`, and the slash at the end."""
    if url is None:
        return None
    return url.strip().lower().partition("://")[2].removeprefix("www.").rstrip("/")


def check_scope(settings: DataSettings) -> None:
    """Raises UserError where `data.categories` or `data.licenses` names what arXiv does not have."""
    for category in settings.categories or ():
        if category not in CATEGORIES:
            raise UserError(
                f"data.categories has '{category}', which is no category of arXiv's; {_nearest(category, CATEGORIES)}"
                " (a new one goes into data_prep/papers/taxonomy.py)"
            )
    known = {license_key(url) for url in LICENSES}
    for url in settings.licenses or ():
        if license_key(url) not in known:
            raise UserError(
                f"data.licenses has '{url}', which is no licence of arXiv's; {_nearest(url, LICENSES)} (a new one goes "
                "into data_prep/papers/taxonomy.py)"
            )


def _nearest(name: str, valid: frozenset[str] | tuple[str, ...]) -> str:
    by_lower = {known.lower(): known for known in sorted(valid)}
    close = difflib.get_close_matches(name.lower(), by_lower, 1)
    return f"did you mean '{by_lower[close[0]]}'?" if close else f"there are: {', '.join(sorted(valid))}"
