"""The records of corpora: the endless stream of training batches, held-out batches, and the statistics of the mels.

Guarantee: all of it is a function of corpus, config and seed; how few records there are is said, never hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipsonic.audio.mel import LogMel
from clipsonic.errors import UsageError
from clipsonic.prior.bank import EmbedBank
from clipsonic.seeding import numpy_rng
from clipsonic.shards.corpus import Corpus, Place, open_corpora
from clipsonic.shards.crops import as_float
from clipsonic.shards.endless import Batch
from clipsonic.shards.expressions import keep_where
from clipsonic.shards.loader import SegmentLoader
from clipsonic.specs import SegmentSpec
from clipsonic.train.config import DataConfig, Sources, TrainConfig

STATISTICS_RECORDS = 512
VALIDATION_RECORDS = 256
SMALLEST_STD_NEPERS = 0.1
"""Of a mel bin, 0.9 dB: a bin that never moves must not be divided by nothing."""


@dataclass(frozen=True)
class TrainData:
    """The data of a run.

    Args:
        loader: the training stream.
        val_batches: batches that are never trained on (unless `notes` says so), the same at every validation.
        notes: what the user should know about a corpus as small as this one.
        clip_name: as the corpora name their CLIP.
    """

    loader: SegmentLoader
    val_batches: list[Batch]
    notes: list[str] = field(default_factory=list)
    clip_name: str = ""

    @property
    def segment(self) -> SegmentSpec:
        """What is cropped from the records."""
        return self.loader.segment

    def bank(self, size: int) -> EmbedBank:
        """As `frame_bank`."""
        return frame_bank(self.loader, size)

    def summary(self) -> dict[str, Any]:
        """Counts for the report."""
        num_val = sum(len(batch["keys"]) for batch in self.val_batches)
        return {**self.loader.report, "validation": num_val, "notes": self.notes}


def opened(corpora: Place | Sequence[Place], config: DataConfig) -> list[Corpus]:
    """The corpora that these folders and addresses name.

    Raises:
        CorpusError: one is not there, or damaged.
        UsageError: an address that is not read.
    """
    return open_corpora(corpora, config.cache_dir, config.cache_gb)


def data_of(config: TrainConfig, sources: Sources) -> TrainData:
    """The records of a run's corpora, in segments of its config.

    Raises:
        UsageError: no corpus is named; or as `open_data`.
        CorpusError, FingerprintError, SpecError: as `open_data`.
    """
    if not sources.corpora:
        raise UsageError(f"the lesson {config.lesson} learns from a corpus: name it with --corpus")
    corpora = opened(sources.corpora, config.data)
    index = corpora[0].index
    return replace(
        open_data(corpora, config.segment.spec(index.width, index.fingerprint), config), clip_name=index.clip
    )


def open_data(corpora: Place | Sequence[Place | Corpus], segment: SegmentSpec, config: TrainConfig) -> TrainData:
    """Open corpora for training.

    Raises:
        CorpusError, FingerprintError, SpecError: they cannot feed this segment, or do not go together.
        UsageError: the filter cannot be applied to their facts, or the weights to them.
    """
    wanted, how = config.optim.batch_size, config.data
    loading = partial(
        SegmentLoader, open_corpora(corpora, how.cache_dir, how.cache_gb), segment, wanted, config.run.seed,
        val_share=how.val_share, weights=how.weights, drop_silent=how.drop_silent, drop_duplicates=how.drop_duplicates,
        keep=keep_where(how.filter) if how.filter else None, half=how.half,
    )  # fmt: skip
    loader = loading(split="train", num_workers=how.num_workers, cache_mb=how.cache_mb)
    notes = _notes(loader, wanted, segment)
    if loader.report["other_split"]:
        held_out = loading(split="val", random_crop=False, cache_mb=0, few_shards=True)
        batches = list(islice(held_out.one_pass(), max(1, VALIDATION_RECORDS // held_out.batch_size)))
    else:
        batches = list(islice(loader.one_pass(), 1))
        notes.append("no video is held out (too few of them): the validation loss is measured on training records")
    return TrainData(loader, batches, notes)


def _notes(loader: SegmentLoader, wanted: int, segment: SegmentSpec) -> list[str]:
    report, notes = loader.report, []
    words = {
        "too_short": f"shorter than {segment.seconds:g} s", "silent": "silent",
        "filtered": "filtered out", "duplicate": "near-duplicates",
        "other_half": "of the other half of the videos",
    }  # fmt: skip
    if left_out := [f"{report[name]} {word}" for name, word in words.items() if report.get(name)]:
        notes.append(f"left out records: {', '.join(left_out)}")
    if mixed := [f"{part['share']:.1%} from {part['corpus']} ({part['used']})" for part in report.get("corpora", ())]:
        notes.append(f"of the records drawn come {', '.join(mixed)}")
    if loader.batch_size < wanted:
        few = f"the corpus has {report['used']} records to train on"
        notes.append(f"batch size is {loader.batch_size} instead of {wanted}: {few}")
    return notes


def mel_statistics(loader: SegmentLoader, max_records: int = STATISTICS_RECORDS) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (M,) of each log-mel bin over the stream's first records."""
    log_mel = LogMel(loader.segment.mel)
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for batch in islice(loader.one_pass(), max(1, max_records // loader.batch_size)):
        mel_BMF = log_mel(as_float(batch["wave"])).double()
        count += mel_BMF.shape[0] * mel_BMF.shape[2]
        total = total + mel_BMF.sum(dim=(0, 2))
        squares = squares + mel_BMF.square().sum(dim=(0, 2))
    mean = total / count
    least = log_mel.spec.from_nepers(SMALLEST_STD_NEPERS)
    std = (squares / count - mean.square()).clamp_min(0.0).sqrt().clamp_min(least)
    return mean.float(), std.float()


def frame_bank(loader: SegmentLoader, size: int) -> EmbedBank:
    """Frames of the training records, evenly from as many records as there are, at most `size` in all.

    What does not lie in the loader's memory is read again: about 2 ms per record; of corpora larger than their cache
    the records of 32 shards are taken.
    """
    records = loader.handy_records()
    order = numpy_rng(loader.seed, "train.bank").permutation(len(records))[:size]
    each = max(1, size // len(order))
    chosen = []
    for place in order:
        frames = loader.frames_of(records[place])
        chosen.append(frames[np.unique(np.linspace(0, len(frames) - 1, each).round().astype(int))])
    return EmbedBank.of(np.concatenate(chosen), loader.segment.fingerprint)
