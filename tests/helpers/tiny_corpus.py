"""A few dozen papers in arXiv's own layout: a snapshot and two bulk tars, with one of each thing that happens."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

NOUNS = "group space map ring module manifold bundle operator measure graph category sheaf".split()
ADJECTIVES = "compact finite smooth simple connected regular bounded normal abelian complete".split()


def prose(seed: int, sentences: int = 30) -> str:
    """English of a mathematical kind, deterministic in `seed`."""
    choose = random.Random(seed)
    lines = []
    for _ in range(sentences):
        noun, other = choose.sample(NOUNS, 2)
        lines.append(
            f"We show that every {choose.choice(ADJECTIVES)} {noun} which acts on the "
            f"{choose.choice(ADJECTIVES)} {other} has at most ${choose.randint(2, 99)}$ of these, and that the "
            "converse is also true."
        )
    return "\n".join(lines)


def paper(seed: int, sentences: int = 30) -> bytes:
    """A gzip'd TeX file."""
    body = f"\\section{{Results}}\n{prose(seed, sentences)}\n"
    document = f"\\documentclass{{article}}\n\\begin{{document}}\n{body}\\end{{document}}\n"
    return gzip.compress(document.encode(), mtime=0)


def record(paper_id: str, **changes: Any) -> dict[str, Any]:
    """A record of the snapshot; its date is that of the id."""
    yymm = paper_id.rpartition("/")[2][:4]
    year = ("19" if yymm >= "9107" else "20") + yymm[:2]
    return {
        "id": paper_id,
        "submitter": None,
        "authors": "A. Nobody",
        "title": "On a\n  result",
        "comments": None,
        "journal-ref": None,
        "doi": None,
        "report-no": None,
        "categories": "math.AG",
        "license": None,
        "abstract": "  We prove a result on some of the spaces that are known to us.\n",
        "versions": [{"version": "v1", "created": f"Mon, 15 Jan {year} 12:00:00 GMT"}],
        "update_date": "2024-01-01",
        "authors_parsed": [],
    } | changes


def bulk_tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def write_snapshot(path: Path, records: list[Any]) -> None:
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


# What `make_corpus` plants: reasons and how often each occurs with the shipped filters.
PLANTED = {
    "bad_metadata": 2,
    "duplicate_metadata": 1,
    "subject": 1,
    "withdrawn": 1,
    "no_source": 1,
    "no_metadata": 1,
    "duplicate_source": 1,
    "broken_archive": 1,
    "pdf_only": 1,
    "too_short": 1,
    "exact_duplicate": 1,
}


def make_corpus(folder: Path, plain: int = 30) -> tuple[Path, Path]:
    """Write a snapshot and `src/`; returns both paths. `plain` papers have nothing wrong with them."""
    source = folder / "src"
    source.mkdir(parents=True)
    old = [(f"math/99{i % 3 + 1:02d}{i:03d}", i) for i in range(1, plain // 3 + 1)]
    new = [(f"23{i % 3 + 1:02d}.{i:05d}", i) for i in range(plain // 3 + 1, plain + 1)]
    records: list[Any] = [record(paper_id) for paper_id, _ in new + old]
    records += [
        "{not json",
        record("no arXiv id"),
        record(new[0][0], title="again"),
        record("2401.00001", categories="econ.EM physics.cs"),
        record("2401.00002", comments="This paper has been withdrawn by the author"),
        record("2401.00003"),  # without a source
        record("2401.00004"),
        record("2401.00005"),
        record("2401.00006", abstract=""),
        record("2401.00007"),
    ]
    write_snapshot(folder / "snapshot.json", records)
    first = [(f"{i[5:9]}/{i.replace('/', '')}.gz", paper(seed)) for i, seed in old]
    bulk_tar(source / "arXiv_src_9912_001.tar", first)
    second = [(f"{i[:4]}/{i}.gz", paper(seed)) for i, seed in new]
    second += [
        ("2401/2401.00001.gz", paper(1001)),
        ("2401/2401.00002.gz", paper(1002)),
        ("2401/2401.00004.gz", paper(1004)[:-40]),
        ("2401/2401.00005.pdf", b"%PDF-1.5\n..."),
        ("2401/2401.00006.gz", paper(1006, sentences=1)),
        ("2401/2401.00007.gz", paper(new[0][1])),  # the text of another paper
        ("2401/2401.00099.gz", paper(1099)),  # without metadata
        (f"{new[1][0][:4]}/{new[1][0]}v1.gz", paper(1100)),  # an older version
    ]
    bulk_tar(source / "arXiv_src_2401_001.tar", second)
    return folder / "snapshot.json", source
