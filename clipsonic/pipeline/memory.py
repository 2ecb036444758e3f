"""What a pipeline has embedded before, so that a repeated prompt costs nothing.

Guarantee: the answer is the very tensor that was made the first time, and what is stored for a key never depends on
what else was asked with it: so a remembered result equals a new one bit for bit. Price: the last `SIZE` answers stay in
memory (a few kB each), and the bytes of a picture are hashed, about 1 ms per megabyte.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np

SIZE = 256

V = TypeVar("V")


class Memory:
    """The last `size` answers, the least recently used one forgotten first; may be asked by several threads."""

    def __init__(self, size: int = SIZE) -> None:
        self._size, self._lock = size, threading.Lock()
        self._answers: OrderedDict[Hashable, Any] = OrderedDict()

    def __reduce__(self) -> tuple[type[Memory], tuple[int]]:
        """A copy of a pipeline begins with an empty one."""
        return Memory, (self._size,)

    def __len__(self) -> int:
        return len(self._answers)

    def recall(self, key: Hashable, make: Callable[[], V]) -> V:
        """The answer to this key, made now if it is not known; callers must not write to it."""
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
                known: V = self._answers[key]
                return known
        answer = make()
        with self._lock:
            self._answers[key] = answer
            self._answers.move_to_end(key)
            while len(self._answers) > self._size:
                self._answers.popitem(last=False)
        return answer


def content_of(pictures: Sequence[Any]) -> bytes:
    """A digest of some pictures, arrays or PIL, in order: their shapes, types and bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for picture in pictures:
        values = np.ascontiguousarray(picture)
        mode = getattr(picture, "mode", "")  # of PIL: the same bytes mean other colours in another mode
        digest.update(f"{mode} {values.dtype} {values.shape}".encode())
        digest.update(values.data)
    return digest.digest()
