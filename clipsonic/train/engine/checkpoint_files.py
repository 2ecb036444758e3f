"""How a checkpoint gets onto the disk, through Lightning's door for that.

Guarantee: written whole, under its name or not at all; a disk that is full is no crash in the middle but a refusal that
all processes hear of. Price: none; unlike Lightning's own it makes no copy in memory first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from clipsonic.files import whole_file


class CheckpointFiles(TorchCheckpointIO):
    """Writes checkpoints; `refusal` says why the last one could not be, and is None where it could."""

    def __init__(self) -> None:
        self.refusal: str | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint whole. Does not raise where the system refuses: other ranks wait for this one."""
        self.refusal = None
        try:
            with whole_file(Path(path)) as temporary:
                _write(checkpoint, temporary)
        except OSError as error:
            self.refusal = error.strerror or str(error)


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    """`torch.save` turns what the system says into a RuntimeError of its archive writer: give back the first cause."""
    with path.open("wb", buffering=0) as raw:
        file = _Remembering(raw)
        try:
            torch.save(checkpoint, file)
        except Exception:
            if file.refused is not None:
                raise file.refused from None
            raise


class _Remembering:
    """A file that keeps the first refusal to write."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.refused: OSError | None = None

    def write(self, data: Any) -> int:
        view, written = memoryview(data).cast("B"), 0
        try:
            while written < len(view):
                written += self._file.write(view[written:])
        except OSError as error:
            self.refused = self.refused or error
            raise
        return written

    def flush(self) -> None:
        self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
