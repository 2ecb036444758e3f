"""A short BPE vocabulary: the part of CLIP's own merges that some captions use, so that a small model stays small.

Guarantee: every word of the captions is split exactly as CLIP splits it; other words fall into known pieces or single
letters, never into an unknown token. Price: CLIP's own table at width 128 would be 12.6 MB in float16, this one 0.4.
"""

from __future__ import annotations

import gzip
import itertools
import re
from collections.abc import Iterable, Sequence


def short_merges(captions: Iterable[str], merges: Sequence[str], num_merges: int = 1200) -> list[str]:
    """The merges that the captions' words use, filled up with the most frequent others, in their own order.

    Args:
        captions: what will be said.
        merges: all merges, the most frequent first, as "left right".
        num_merges: how many to keep; more where the captions alone use more.
    """
    ranks = {tuple(merge.split()): rank for rank, merge in enumerate(merges)}
    words = {word for caption in captions for word in words_of(caption)}
    used = {rank for word in words for rank in _merges_of(word, ranks)}
    for rank in range(len(merges)):
        if len(used) >= num_merges:
            break
        used.add(rank)
    return [merges[rank] for rank in sorted(used)]


def words_of(caption: str) -> list[str]:
    """What merges never cross: words, single digits and runs of other signs, in lower case."""
    return re.findall(r"[a-z]+|[0-9]|[^a-z0-9\s]+", caption.lower())


def packed(merges: Sequence[str]) -> bytes:
    """The gzipped file that open_clip's tokenizer reads: a heading, then one merge per line; no time stamp in it."""
    return gzip.compress("\n".join(["#version: short", *merges]).encode(), mtime=0)


def _merges_of(word: str, ranks: dict[tuple[str, ...], int]) -> list[int]:
    """Ranks of the merges that byte pair encoding applies to a word (Sennrich et al. 2016, arXiv 1508.07909)."""
    pieces = [*word[:-1], word[-1] + "</w>"]
    applied = []
    while len(pieces) > 1:
        best = min(itertools.pairwise(pieces), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        applied.append(ranks[best])
        pieces = _joined(pieces, best)
    return applied


def _joined(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    result: list[str] = []
    index = 0
    while index < len(pieces):
        if tuple(pieces[index : index + 2]) == pair:
            result.append(pieces[index] + pieces[index + 1])
            index += 2
        else:
            result.append(pieces[index])
            index += 1
    return result
