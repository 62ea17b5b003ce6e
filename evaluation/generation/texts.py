"""The texts that are judged: what a model writes after the beginnings of documents, and what people wrote there."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.engines import available_cores
from common.errors import UserError
from common.jsonl import read_jsonl
from common.paths import project_path
from common.settings.load import Settings
from evaluation.models.load import LoadedModel
from evaluation.scoring.breakdown import read_documents

CONTINUED, FREE, HUMAN, GIVEN = "continued", "from nothing", "human", "given"
# Texts written at once.
BATCH = 16
# Runs of so many tokens in common with training are told: 50 is the usual line (Carlini et al., Quantifying
# Memorization Across Neural Language Models, 2023).
COPIED = (16, 32, 50)
# Of a text for each token wanted of it: no tokenizer here has longer ones on average.
CHARACTERS = 64


@dataclass
class Text:
    """A text and what was found of it. `ended`: at its own end, not cut off."""

    group: str
    name: str
    prompt: str
    text: str
    ended: bool
    found: dict[str, Any] = field(default_factory=dict)


def beginnings(loaded: LoadedModel, paths: Sequence[Path], count: int, prompt: int, length: int) -> Iterator[Text]:
    """The human group: `count` documents that are long enough, chosen by the hash of their ids; `prompt` tokens of
    each, and the `length` tokens after them."""
    chosen: list[tuple[int, str, list[int]]] = []
    wanted = prompt + length + 1
    for document in read_documents(paths, None):
        value = int.from_bytes(hashlib.blake2b(document.id.encode(), digest_size=8).digest(), "big")
        if len(chosen) == count and (-value, document.id) <= chosen[0][:2]:
            continue
        ids = loaded.encode(document.text[: wanted * CHARACTERS])[:wanted]
        if len(ids) <= prompt:
            continue
        if len(chosen) == count:
            heapq.heappop(chosen)
        heapq.heappush(chosen, (-value, document.id, ids))
    for _, name, ids in sorted(chosen, reverse=True):
        decode = loaded.tokenizer.decode
        start, whole = decode(ids[:prompt]), decode(ids[: prompt + length])
        yield Text(HUMAN, name, start, whole[len(start) :], len(ids) <= prompt + length)


def write_texts(loaded: LoadedModel, texts: Sequence[Text], length: int, temperature: float, top_p: float) -> None:
    """Let the model write what comes after each text's prompt."""
    from tqdm import tqdm

    from evaluation.generation.sampling import END, Sampling, generate_batch

    with tqdm(total=len(texts), desc="writing", unit=" texts") as bar:
        for start in range(0, len(texts), BATCH):
            batch = texts[start : start + BATCH]
            prompts = [loaded.encode(text.prompt) for text in batch]
            samplings = [Sampling(length, temperature, top_p, start + number) for number in range(len(batch))]
            for text, ids, (made, why) in zip(batch, prompts, generate_batch(loaded, prompts, samplings), strict=True):
                # Decoded together: a space at the border belongs to the text.
                text.text = loaded.tokenizer.decode([*ids, *made])[len(loaded.tokenizer.decode(ids)) :]
                text.ended = why == END
            bar.update(len(batch))


def look_at(texts: Sequence[Text], engine: str | None) -> None:
    """Balance, repetition and, where there is an engine, compilation of each text."""
    from tqdm import tqdm

    from evaluation.generation.compiler import compile_text
    from evaluation.generation.latex_quality import compression, fault_after

    for text in texts:
        fault, position = fault_after(text.prompt, text.text, text.ended)
        text.found |= {"fault": fault, "fault_at": position, "compression": compression(text.text)}
    if engine is None:
        return
    with ThreadPoolExecutor(available_cores()) as pool:
        results = pool.map(lambda text: compile_text(text.prompt + text.text, engine), texts)
        for text, result in zip(texts, tqdm(results, desc="compiling", total=len(texts)), strict=True):
            text.found |= {"compiles": result.ok, "error": result.error}


def look_for_copies(texts: Sequence[Text], settings: Settings, flags: str, trained_on: str | None) -> None:
    """The longest run of each text in the training split, in the tokens of this project's tokenizer.

    Args:
        trained_on: sha256 of the split that the model was trained on, where that is known.
    """
    from evaluation.generation.latex_quality import repetition
    from evaluation.generation.memorization import longest_matches
    from tokenizer.cache.encoding import load_encoder
    from tokenizer.cache.ensure import ensure_token_cache
    from tokenizer.cache.plan import dataset_split
    from tokenizer.learn.fingerprint import tokenizer_fingerprint

    folder = project_path(settings.tokenizer.out)
    cache = ensure_token_cache(dataset_split(settings, "train", flags), folder, settings)
    encoder = load_encoder(folder, tokenizer_fingerprint(folder))
    encoded = encoder.encode([text.text.encode("utf-8", "replace").decode() for text in texts])
    if trained_on not in (None, cache.source_sha256):
        print("note: the training split of data.out is not the one that this model was trained on")
    found = longest_matches(encoded, cache, settings.data.workers or available_cores())
    for text, ids, match in zip(texts, encoded, found, strict=True):
        text.found |= {
            "tokens": len(ids),
            "repetition": repetition(ids.tolist()),
            "longest_copy": match.tokens,
            "copied": {str(least): int((match.covered >= least).sum()) for least in COPIED},
        }
        if match.tokens:
            passage = encoder.tokenizer.decode(ids[match.start : match.start + match.tokens].tolist())
            place = cache.document_at(match.place)
            text.found |= {"copy": passage, "copied_from": str(cache.record(place).get("id"))}


def given_texts(path: Path) -> list[Text]:
    """Texts of a JSONL file: `text`, and perhaps the `prompt` that it continues.

    Raises:
        UserError: it cannot be read, or a record has no text.
    """
    texts = []
    for number, record in enumerate(read_jsonl(path), 1):
        text, prompt = record.get("text"), record.get("prompt", "")
        if not isinstance(text, str) or not isinstance(prompt, str):
            raise UserError(f"{path}: record {number} has no 'text', or a 'prompt' that is no text")
        ended = bool(record.get("ended", False))
        texts.append(Text(GIVEN, str(record.get("id", number)), prompt, text.removeprefix(prompt), ended))
    if not texts:
        raise UserError(f"{path}: no texts in it")
    return texts
