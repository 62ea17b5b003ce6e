"""The splits as tokens, which training reads: one token file a shard, made by parallel workers.

    python tokenizer/token_cache.py                                  # both splits, with no GPU
    python tokenizer/token_cache.py --input dataset_train_val/val.jsonl.zst --verify

`train.py` makes what is missing by itself. A cache lies in `token_cache/<split>-<id>/` beside the split; the id stands
for all that the tokens depend on: the text, the tokenizer, the format. Shards are ranges of the split's text, so the
files depend neither on its layout (plain, compressed, numbered) nor on the number of workers; a build that was stopped
in whatever way goes on with the shards that it has not finished.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python tokenizer/token_cache.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, repeated_flags, run_command, settings_from_args
from common.paths import project_path
from tokenizer.cache.ensure import ensure_token_cache
from tokenizer.cache.plan import Split, dataset_split, file_split, size_text
from tokenizer.cache.token_file import TokenCache, verify


def describe(split: Split, cache: TokenCache) -> str:
    answers = f" ({cache.num_tokens - cache.num_read_only:,} of them answers)" if cache.num_read_only else ""
    return (
        f"{split.name}: {cache.num_tokens:,} tokens{answers} of {cache.num_documents:,} documents, "
        f"{cache.text_bytes / max(1, cache.num_tokens - cache.num_documents):.3f} bytes a token; "
        f"{len(cache.paths):,} shard(s), {size_text(cache.file_bytes)} in {cache.folder}"
    )


def describe_document(cache: TokenCache, position: int) -> str:
    """Which document the token at `position` belongs to."""
    document = cache.document_at(position)
    return (
        f"token {position:,} is token {position - document.start:,} of {document.stop - document.start:,} of document "
        f"{document.index:,}, id {cache.record(document).get('id')!r}: {document.file.path}, byte {document.place:,}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Make the token caches of the splits, or check and show those that are there. Needs no GPU.",
        epilog="example: python tokenizer/token_cache.py --workers 16",
    )
    parser.add_argument("--input", type=Path, help="one JSONL file, plain or .zst (default: train and val of data.out)")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer folder (default: tokenizer.out)")
    parser.add_argument("--workers", type=int, help="worker processes (default: data.workers; 0: one per core)")
    parser.add_argument("--verify", action="store_true", help="read the token files and compare their checksums")
    parser.add_argument("--show", type=int, metavar="N", help="tell which document the token at place N belongs to")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args, tokenizer__out=args.tokenizer, data__workers=args.workers)
    if args.input:
        splits = [file_split(args.input)]
    else:
        names = ("train",) if args.show is not None else ("train", "val")
        splits = [dataset_split(settings, name, repeated_flags(args)) for name in names]
    for split in splits:
        cache = ensure_token_cache(split, project_path(settings.tokenizer.out), settings)
        print(describe(split, cache))
        if args.verify:
            from tqdm import tqdm

            for path in tqdm(cache.paths, desc="verify", unit=" shards"):
                verify(path)
            print(f"{split.name}: all {len(cache.paths):,} checksums are right")
        if args.show is not None:
            print(describe_document(cache, args.show))
    return 0


if __name__ == "__main__":
    run_command(main)
