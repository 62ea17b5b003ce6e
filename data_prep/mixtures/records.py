"""From a source's records to texts with their answers marked, and how many of them there are. Imported, not run."""

from __future__ import annotations

import glob
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import COMPRESSED
from common.jsonl import dump_line, open_lines, parse_line
from common.paths import project_path
from data_prep.dedup.minhash import DIGEST_BYTES, signature, word_hashes
from data_prep.latex.passes.unicode_text import changes_in, unicode_text
from data_prep.mixtures.config import SPEAKERS, SourceSettings, template_parts
from data_prep.pipeline.record import MixtureRecord

# Why a record is not in the mixture, each in one line; every record read is written, or has one of these.
MIX_REASONS = {
    "bad_record": "not a JSON object",
    "missing_field": "a field that the text is made of is missing, or is no text",
    "not_finite": "a number that the text is made of is NaN, infinite, or beyond a double's range (1e400)",
    "bad_messages": "the messages are no list of roles and contents, or of a role without a template",
    "empty": "no text, or no answer where one is marked",
    "exact_duplicate": "the same text as an earlier document, but for case and white space",
    "near_duplicate": "much the same text as an earlier document",
    "in_pretraining": "text that was trained on before",
    "in_pretraining_validation": "text that pretraining was validated with",
    "benchmark_overlap": "holds a benchmark question",
    "not_wanted": "left out by the source's weight or repeats",
}
PARQUET_ROWS = 1000


class Rejected(Exception):
    """Why a record makes no text: one of MIX_REASONS, and what it is about."""

    def __init__(self, reason: str, detail: str):
        super().__init__(reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Made:
    """What became of a record: a line for the mixture with what it is compared by, or a reason."""

    number: int
    line: bytes = b""
    text_bytes: int = 0
    characters: int = 0
    digest: bytes = b""
    signature: Any = None
    # What was changed in its characters, as `changes_in` names it.
    changed: tuple[str, ...] = ()
    reason: str = ""
    detail: str = ""


def source_files(source: SourceSettings) -> list[Path]:
    """The files of a source, in the order of the mixture file, those of a pattern by name.

    Raises:
        UserError: a path or pattern that nothing lies under.
    """
    found: list[Path] = []
    for pattern in source.files or ():
        paths = sorted(Path(path) for path in glob.glob(str(project_path(pattern)), recursive=True))
        if not paths:
            raise UserError(f"source {source.name}: {project_path(pattern)}: no such file")
        found += [path for path in paths if path.is_file()]
    return found


def read_records(source: SourceSettings) -> Iterator[tuple[str, bytes | dict[str, Any]]]:
    """(where it is from, a line of JSON or a record) of each record, in order, one at a time.

    Raises:
        UserError: a file that cannot be read, or of a kind that is not known; a hub that cannot be reached.
    """
    if source.dataset is not None:
        yield from _hub_records(source)
        return
    for path in source_files(source):
        ending = path.name.removesuffix(COMPRESSED).rpartition(".")[2]
        if ending == "jsonl":
            yield from _lines(path)
        elif ending == "parquet":
            yield from _parquet(path)
        elif ending == "json":
            yield from _json(path)
        else:
            raise UserError(f"source {source.name}: {path}: expected .jsonl, .jsonl.zst, .json or .parquet")


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with open_lines(path) as file:
            for number, line in enumerate(file, 1):
                if not line.isspace():
                    yield f"{path}:{number}", line
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _json(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        records = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except RecursionError:
        raise UserError(f"{path}: cannot be read: JSON nested too deeply") from None
    if not isinstance(records, list):
        raise UserError(f"{path}: expected a list of records; one record a line is .jsonl")
    for number, record in enumerate(records, 1):
        yield f"{path}, record {number}", record


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        number = 0
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=PARQUET_ROWS):
                for record in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", record
    except (OSError, ValueError, OverflowError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _hub_records(source: SourceSettings) -> Iterator[tuple[str, dict[str, Any]]]:
    """A dataset of the hub as a stream: nothing of it is stored."""
    import datasets

    name = f"{source.dataset}{f' ({source.config})' if source.config else ''}, split {source.split}"
    try:
        records = datasets.load_dataset(
            source.dataset, source.config, split=source.split, revision=source.revision, streaming=True
        )
        for number, record in enumerate(records, 1):
            yield f"{name}, record {number}", record
    except Exception as error:  # of the hub, the network, its file formats: as many types as there are causes
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(
            f"source {source.name}: {name}: cannot be read from the hub ({reason}); check name, config and split, or "
            "download its files and give them as 'files'"
        ) from None


def make(source: SourceSettings, number: int, where: str, raw: Any) -> Made:
    """A record's line in the mixture, or why it has none; `number` counts the source's records from 1."""
    changed = set[str]()
    try:
        text, answers = to_text(source, where, raw, changed)
    except Rejected as rejected:
        return Made(number, reason=rejected.reason, detail=f"{where}: {rejected.detail}")
    record: MixtureRecord = {
        "id": f"{source.name}/{number}",
        "text": text,
        "title": "",
        "categories": [source.name],
        "year": None,
        "license": source.license,
        "cluster": None,
        "source": source.name,
    }
    if answers is not None:
        record["answers"] = answers
    digest, hashes = digest_of(text), word_hashes(text)
    sizes = (len(text.encode()), len(text))
    return Made(number, dump_line(record), *sizes, digest, signature(hashes), tuple(sorted(changed)))


def to_text(
    source: SourceSettings, where: str, raw: Any, changed: set[str] | None = None
) -> tuple[str, list[list[int]] | None]:
    """Text of a record, and where its answers are: [start, end) in characters; None where all of it is to be learnt.

    Args:
        changed: gets the names of what was changed in the characters.

    Raises:
        Rejected: it makes no text.
    """
    if isinstance(raw, bytes):
        try:
            raw = parse_line(raw, where)
        except UserError as error:
            raise Rejected("bad_record", str(error).removeprefix(f"{where}:").strip()) from None
    if not isinstance(raw, dict):
        raise Rejected("bad_record", f"found {type(raw).__name__}, expected an object")
    changed = set() if changed is None else changed
    if source.text is not None:
        text, answers = _field(raw, source.text, changed), None
    elif source.template is not None:
        text, answers = _filled(source, raw, changed)
    else:
        text, answers = _conversation(source, raw, changed)
    if not text or answers == []:
        raise Rejected("empty", "no text" if not text else "no answer")
    return text, answers


def _field(record: dict[str, Any], name: str, changed: set[str]) -> str:
    value = record.get(name)
    if isinstance(value, float) and not math.isfinite(value):  # of JSON, too: Python reads NaN, Infinity and 1e400
        raise Rejected("not_finite", f"{name} is {value}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Rejected("missing_field", f"{name} is {type(value).__name__ if name in record else 'missing'}")
    return _noted(value, changed)


def _noted(text: str, changed: set[str]) -> str:
    """`normalized`, and a note of what that changes."""
    changed.update(changes_in(text))
    return normalized(text)


def normalized(text: str) -> str:
    """The characters that papers are made of, and no others (the pass `unicode_text`), with nothing blank around."""
    return unicode_text(text).strip()


def digest_of(text: str) -> bytes:
    """What texts are the same by: case and white space do not count. A sign does: two problems may differ in it."""
    folded = " ".join(normalized(text).casefold().split())
    return hashlib.blake2b(folded.encode(), digest_size=DIGEST_BYTES).digest()


def _filled(source: SourceSettings, record: dict[str, Any], changed: set[str]) -> tuple[str, list[list[int]] | None]:
    """The template with its fields; values are never read as templates."""
    assert source.template is not None
    wanted = set(source.answers or ())
    text, answers = "", list[list[int]]()
    for literal, name in template_parts(source.template, source.name):
        text += unicode_text(literal)
        if not name:
            continue
        value = _field(record, name, changed)
        if name in wanted and value:
            answers.append([len(text), len(text) + len(value)])
        text += value
    # The template's own blanks around it belong to no document.
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    answers = [[a - start, min(b, end) - start] for a, b in answers]
    return text[start:end], answers if source.answers is not None else None


def _conversation(source: SourceSettings, record: dict[str, Any], changed: set[str]) -> tuple[str, list[list[int]]]:
    """Messages one after the other; what the assistant says is an answer, with what ends it."""
    assert source.messages is not None
    messages = record.get(source.messages)
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise Rejected("bad_messages", f"{source.messages} is no list of messages")
    text, answers = "", list[list[int]]()
    for message in messages:
        role, content = message.get("role", message.get("from")), message.get("content", message.get("value"))
        role = SPEAKERS.get(role, role) if isinstance(role, str) else role
        if not isinstance(role, str) or role not in source.roles or not isinstance(content, str):
            raise Rejected("bad_messages", f"role {role!r} with {type(content).__name__}")
        before, after = _around_content(source, role)
        text += before
        start = len(text)
        text += _noted(content, changed) + after
        if role == "assistant":
            answers.append([start, len(text)])
    whole = text.rstrip()
    lead = len(whole) - len(whole.lstrip())
    spans = [[max(0, start - lead), min(end, len(whole)) - lead] for start, end in answers]
    return whole.lstrip(), [span for span in spans if span[0] < span[1]]


def _around_content(source: SourceSettings, role: str) -> tuple[str, str]:
    """The template's own text before and after a message."""
    parts = template_parts(source.roles[role], source.name)
    # A brace of the text itself makes parts without a field, before the field as well.
    place = [name for _, name in parts].index("content") + 1
    literals = [unicode_text(literal) for literal, _ in parts]
    return "".join(literals[:place]), "".join(literals[place:])


def make_batch(source: SourceSettings, batch: Sequence[tuple[int, str, Any]]) -> list[Made]:
    """What workers run: `make` of some records."""
    return [make(source, number, where, raw) for number, where, raw in batch]
