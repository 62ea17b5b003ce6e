"""Files of a checkpoint written from a copy in memory, so that training goes on meanwhile, with their checksums.

DeepSpeed decides what is in a checkpoint and hands each file to its checkpoint engine: `SnapshotEngine` copies the
tensors to the host's memory there, and `write` puts the copies on disk later, in a thread or at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

from deepspeed.runtime.checkpoint_engine.checkpoint_engine import CheckpointEngine


class SnapshotEngine(CheckpointEngine):
    """Takes DeepSpeed's files: `taken` holds (path, content), copied if training goes on before they are written."""

    def __init__(self, copy: bool) -> None:
        super().__init__()
        self.name = "SnapshotEngine"
        self.copy = copy
        self.taken: list[tuple[Path, Any]] = []

    def create(self, info: Any) -> None:
        self.taken = []

    def save(self, state_dict: Any, path: str) -> None:
        self.taken.append((Path(path), on_host(state_dict, {}) if self.copy else state_dict))

    def load(self, path: str, map_location: Any = None) -> Any:
        import torch

        return torch.load(path, map_location=map_location, weights_only=False)

    def commit(self, info: Any) -> bool:
        return True


def on_host(value: Any, seen: dict[Any, Any]) -> Any:
    """A copy of nested containers whose tensors lie in the host's memory; a tensor met twice is copied once."""
    import torch

    if isinstance(value, torch.Tensor):
        key = (value.data_ptr(), value.dtype, value.shape, value.stride(), value.device)
        if key not in seen or value.numel() == 0:
            # `value` is kept too: while it lives, no other tensor has its address.
            seen[key] = (value.detach().to("cpu", copy=True), value)
        return seen[key][0]
    if isinstance(value, dict):
        copied = [(key, on_host(item, seen)) for key, item in value.items()]
        return type(value)(copied) if type(value) is not dict else dict(copied)
    if type(value) in (list, tuple):
        return type(value)(on_host(item, seen) for item in value)
    return value


class Writer:
    """Writes the files of one process, and `files-<rank>.json` with their sizes and sha256, in a thread."""

    def __init__(self, files: list[tuple[Path, Any]], folder: Path, rank: int):
        self.files, self.folder, self.rank = files, folder, rank
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run, name="checkpoint writer", daemon=True)
        self.thread.start()

    @property
    def writing(self) -> bool:
        return self.thread.is_alive()

    def wait(self) -> None:
        self.thread.join()

    def _run(self) -> None:
        try:
            notes = {}
            for path, content in self.files:
                notes[path.name] = write_hashed(path, content)
            _write_synced(self.folder / f"files-{self.rank:05d}.json", json.dumps(notes, indent=2).encode())
        except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as a RuntimeError
            self.error = error
        finally:
            self.files = []  # gives the memory back


class _Hashed:
    """A file that hashes what goes into it."""

    def __init__(self, file: Any):
        self.file, self.sha, self.bytes = file, hashlib.sha256(), 0
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        self.sha.update(data)
        self.bytes += memoryview(data).nbytes
        try:
            return self.file.write(data)
        except OSError as error:  # torch's writer tells another one, without the reason
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def write_hashed(path: Path, content: Any) -> dict[str, Any]:
    """torch.save to `path`, on disk when this returns; its {"bytes", "sha256"}."""
    import torch

    with path.open("wb") as file:
        hashed = _Hashed(file)
        try:
            torch.save(content, hashed)  # type: ignore[arg-type]
        except RuntimeError as error:
            raise hashed.error or error from None
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": hashed.bytes, "sha256": hashed.sha.hexdigest()}


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def size(files: list[tuple[Path, Any]]) -> int:
    """Bytes of the tensors in `files`, about what they take on disk."""
    seen: dict[int, int] = {}

    def walk(value: Any) -> None:
        import torch

        if isinstance(value, torch.Tensor):
            seen[id(value)] = value.numel() * value.element_size()
        elif isinstance(value, dict):
            for item in value.values():
                walk(item)
        elif type(value) in (list, tuple):
            for item in value:
                walk(item)

    for _, content in files:
        walk(content)
    return sum(seen.values())
