"""Records by name: found in any plain tar, read the same as one by one, with what a record may have besides."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from clipsonic.errors import CorpusError
from clipsonic.shards.loader import SegmentLoader
from clipsonic.shards.record import encode_record
from clipsonic.shards.store import RecordStore
from clipsonic.shards.writer import read_shard
from clipsonic.specs import SegmentSpec

MakeCorpus = Callable[..., Path]
NAME = "shard-000000.tar"


def rewrite(folder: Path, suffixes: list[str], filler: bytes) -> None:
    """The first shard as another tool might write it: members in this order, something large among them."""
    records = [(record.key, {**encode_record(record), "mp4": filler}) for record in read_shard(folder / NAME)]
    with tarfile.open(folder / NAME, "w", format=tarfile.PAX_FORMAT) as tar:
        for suffix in suffixes:
            for key, files in records:
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size, member.pax_headers = len(files[suffix]), {"comment": "é" * 200}
                tar.addfile(member, io.BytesIO(files[suffix]))


@pytest.mark.parametrize("suffixes", [["json", "flac", "mp4", "frames.npy"], ["mp4", "frames.npy", "json", "flac"]])
@pytest.mark.parametrize("filler", [b"x", b"x" * 600_000])
def test_members_may_lie_anywhere_in_a_plain_tar(make_corpus: MakeCorpus, suffixes: list[str], filler: bytes) -> None:
    folder = make_corpus("corpus", ["a", "b", "c"])
    expected = {record.key: record for record in read_shard(folder / NAME)}
    store = RecordStore(folder, 0)
    rewrite(folder, suffixes, filler)
    for key, record in expected.items():
        stored = store.read(NAME, key)
        assert np.array_equal(stored.wave, (record.wave * 32768).astype(np.int16))
        assert np.array_equal(stored.frames, record.frames)
        assert stored.frame_times_s.tolist() == pytest.approx(record.facts["frame_times_s"])


def test_a_record_that_is_not_there_or_lacks_a_part_is_named(make_corpus: MakeCorpus) -> None:
    folder = make_corpus("corpus", ["a"])
    store = RecordStore(folder, 0)
    with pytest.raises(CorpusError, match=r"record b of .*corpus/shard-000000\.tar cannot be read"):
        store.read(NAME, "b")
    rewrite(folder, ["json", "flac"], b"")
    with pytest.raises(CorpusError, match=r"record a of .* cannot be read .*no frames\.npy"):
        RecordStore([store.corpora[0]], 0).read(NAME, "a")


def test_embeddings_of_sounds_are_handed_on_where_all_records_have_one(
    make_corpus: MakeCorpus, segment: SegmentSpec
) -> None:
    folder = make_corpus("with", ["a", "b", "c"], embeds=True)
    own = {record.key: record.audio_embed for record in read_shard(folder / NAME)}
    for batch in islice(iter(SegmentLoader(folder, segment, 2, 0, "all")), 3):
        expected = np.stack([own[key] for key in batch["keys"]]).astype(np.float32)  # type: ignore[misc]
        assert torch.equal(batch["audio_embeds"], torch.from_numpy(expected))
    assert "audio_embeds" not in next(iter(SegmentLoader(make_corpus("without", ["d"]), segment, 1, 0, "all")))
