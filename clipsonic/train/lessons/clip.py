"""The lesson `clip`: pictures and their captions to the same place in a space of unit vectors, others elsewhere.

Guarantee: several processes contrast all rows of a batch with each other, so they learn what one would; captions that
are equal are never called wrong. Every figure in the card is measured on the saved weights, over pairs that training
never saw. Price: about 4 ms per pair and step on two cores for the bundled architecture; at most 2,048 held-out pairs
lie in memory at the model's size.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from clipsonic.clip import open_clip as door
from clipsonic.clip.catalogue import Catalogue, read_catalogue
from clipsonic.clip.embedder import CARD_FILE, ClipEmbedder
from clipsonic.clip.pairs import PairTable
from clipsonic.clip.vocabulary import packed, short_merges
from clipsonic.errors import UsageError
from clipsonic.resources import bundled_path
from clipsonic.seeding import numpy_rng, seed_for
from clipsonic.train.config import Sources, TrainConfig
from clipsonic.train.engine.draws import Draws
from clipsonic.train.engine.lesson import Batch, Course, Held, Lesson, Losses, Shown
from clipsonic.train.engine.norm import over_processes
from clipsonic.train.lessons.clip_card import card_text, figures_of, nearest_captions, probes_of
from clipsonic.train.lessons.contrast import of_all
from clipsonic.train.streams.pictures import PictureStream, spoken

_MAX_LOGIT_SCALE = math.log(100.0)
_JUDGED_PAIRS, _PROBE_PAIRS, _SHOWN_PAIRS = 2048, 4000, 8


class ClipLesson(Lesson):
    """A CLIP that learns.

    Args:
        embedder: what is taught, with its preprocessing and vocabulary.
        stream: the pairs that are learned from.
        held: pairs that it is judged by.
        start: what the weights began with, in words.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, embedder: ClipEmbedder, stream: PictureStream, held: PairTable, start: str) -> None:
        super().__init__()
        self.embedder, self.stream, self.held, self.start = embedder, stream, held, start
        network = over_processes(embedder.model.requires_grad_(True).train())
        self.network: Any = network.to(memory_format=torch.channels_last)
        preprocess = embedder.config["preprocess_cfg"]
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(preprocess[name]).view(1, 3, 1, 1), persistent=False)

    @property
    def learner(self) -> nn.Module:
        """open_clip's model."""
        network: nn.Module = self.network
        return network

    def loss(self, batch: Batch, draws: Draws) -> Losses:
        """The contrastive loss of each row, among the rows of all processes."""
        pixels = batch["pictures"].permute(0, 3, 1, 2).float().div_(255.0).sub_(self.mean).div_(self.std)
        image_BE = self.network.encode_image(pixels, normalize=True).float()
        text_BE = encode_captions(self.network, batch["tokens"]).float()
        images_NE, texts_NE, spoken_N = (of_all(rows, draws) for rows in (image_BE, text_BE, batch["spoken"]))
        own_B = draws.rank * len(image_BE) + torch.arange(len(image_BE), device=image_BE.device)
        equal_BN = (batch["spoken"][:, None] == spoken_N).scatter(1, own_B[:, None], False)
        with torch.autocast(image_BE.device.type, enabled=False):
            scale = self.network.logit_scale.float().exp()
            to_texts_BN = (scale * image_BE @ texts_NE.T).masked_fill(equal_BN, -torch.inf)
            to_images_BN = (scale * text_BE @ images_NE.T).masked_fill(equal_BN, -torch.inf)
        loss_B = contrastive(to_texts_BN, to_images_BN, own_B)
        right_B = (to_texts_BN.argmax(1) == own_B).float()
        return Losses(loss_B, {"named_in_batch": (right_B, torch.ones_like(right_B))})

    def after_step(self) -> None:
        """The logits are scaled by 1 to 100, as in CLIP."""
        with torch.no_grad():
            self.network.logit_scale.clamp_(0.0, _MAX_LOGIT_SCALE)

    def weights(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """As in CLIP: no decay on gains, biases and the logit scale."""
        learning = [weight for weight in self.learner.parameters() if weight.requires_grad]
        return [weight for weight in learning if weight.ndim >= 2], [weight for weight in learning if weight.ndim < 2]

    def identity(self) -> dict[str, Any]:
        """Architecture, preprocessing, vocabulary."""
        merges = hashlib.blake2b(self.embedder.merges or b"", digest_size=8).hexdigest()
        return {**self.embedder.config, "vocabulary": merges, "start": self.start}

    def facts(self) -> dict[str, Any]:
        """How many pictures this process could not decode."""
        return {"damaged_pictures": len(self.stream.damaged)}

    def figures(self, held: Held) -> dict[str, float]:
        """Naming of held-out pictures by held-out captions."""
        named = figures_of(self.embedder, self.held)
        return {name: value for name, value in named.items() if isinstance(value, float)}

    def show(self, held: Held) -> Iterable[Shown]:
        """Held-out pictures, each with its caption and that of all held-out captions which the CLIP finds nearest."""
        places = np.unique(np.linspace(0, len(self.held) - 1, _SHOWN_PAIRS).round().astype(int))
        for number, (true, near, cosine) in enumerate(nearest_captions(self.embedder, self.held, places)):
            text = f"{near} ({cosine:.2f})\n\nIts own caption: {true}"
            yield Shown(f"captioned/{number}", picture=self.held.pictures[places[number]], text=text)

    def leave(self, weights: dict[str, Tensor], out: Path, told: dict[str, Any]) -> dict[str, Any]:
        """A CLIP folder with a card of figures measured on the weights in it."""
        taught = copy.copy(self.embedder)
        taught.model = copy.deepcopy(self.network)
        taught.model.load_state_dict({**taught.model.state_dict(), **weights})
        taught.weights_changed()
        taught.save(out)
        saved = door.load_clip(out, self.embedder.device)
        known = self.stream.catalogue.table(self.stream.rows[:_PROBE_PAIRS], saved.resized)
        figures = {**figures_of(saved, self.held), **probes_of(saved, known, self.held)}
        effort = f"{told['steps']} steps of {told['corpus']['batch_size']} pairs in {told['minutes']:.0f} minutes"
        saved.card = card_text(saved.fingerprint, figures, len(self.stream.rows), len(self.held), self.start, effort)
        saved.save(out)
        following = f"its figures are in {out / CARD_FILE}, clipsonic ingest VIDEOS --clip {out} uses it"
        if damaged := len(self.stream.damaged):
            following += f"; {damaged} pictures could not be decoded, others took their place"
        return {"fingerprint": saved.fingerprint, **figures, "next": following}


def contrastive(to_texts_BN: Tensor, to_images_BN: Tensor, own_B: Tensor) -> Tensor:
    """(CE(image -> texts) + CE(text -> images)) / 2 of each row, (B,) (Radford et al. 2021, arXiv 2103.00020, fig. 3).

    Args:
        to_texts_BN, to_images_BN: logits of B pictures to N texts, and of their texts to N pictures.
        own_B: which of the N is the row's own.
    """
    to_texts_B = cross_entropy(to_texts_BN, own_B, reduction="none")
    return 0.5 * (to_texts_B + cross_entropy(to_images_BN, own_B, reduction="none"))


def course(config: TrainConfig, sources: Sources, init: str | None, saved: dict[str, Tensor] | None) -> Course:
    """What a run of this lesson needs.

    Raises:
        UsageError: no or too few pairs, a batch of one, no readable architecture, or `init` is not one of ours.
        CorpusError: a tar that cannot be read, or no usable pair.
        CheckpointError: `init` is damaged.
    """
    _check(config, sources, init)
    recipe = door.recipe_of(init) if init else read_recipe(config.clip.arch)
    catalogue = read_catalogue(sources.pairs)
    embedder = door.load_clip(init) if init else _untrained(recipe, catalogue.words, config.run.seed)
    start = f"the weights of `{embedder.fingerprint}`" if init else "random weights"
    rows, held = _split(catalogue, sources.val_pairs, embedder, config)
    how, size = config.data, config.optim.batch_size
    stream = PictureStream(
        catalogue, rows, embedder, size, config.run.seed, config.clip.kinds_together, how.num_workers, how.cache_mb
    )
    lesson = ClipLesson(embedder, stream, held, start)
    if config.model.checkpoint_blocks:
        lesson.network.set_grad_checkpointing(True)
    notes = [f"{len(rows)} pairs to learn from, {len(held)} to judge by, {catalogue.refused + held.refused} unusable"]
    if config.optim.accumulate > 1:
        notes.append(f"optim.accumulate {config.optim.accumulate}: each batch of {size} is contrasted by itself alone")
    if stream.batch_size < size:
        notes.append(f"batch size is {stream.batch_size} instead of {size}: there are no more pairs")
    summary = {**stream.report, "validation": len(held), "notes": notes}
    return Course(lesson, stream, list(_batches(held, embedder, size)), notes, summary, start)


def _check(config: TrainConfig, sources: Sources, init: str | None) -> None:
    if not sources.pairs:
        raise UsageError("the lesson clip has no --pairs: give tars of pictures with captions, or folders of them")
    if init and config.clip.arch:
        raise UsageError(f"--init {init} has its own architecture: leave out --clip.arch {config.clip.arch}")
    if config.optim.batch_size < 2:
        raise UsageError(f"optim.batch_size {config.optim.batch_size} must be at least 2: pairs are told from others")


def _untrained(recipe: dict[str, Any], words: Iterable[str], seed: int) -> ClipEmbedder:
    """A new CLIP whose vocabulary is that of the captions."""
    merges = packed(short_merges(words, door.published_merges()))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "clip.weights"))
        return door.new_clip(recipe, merges)


def _split(
    catalogue: Catalogue, val_pairs: tuple[str, ...], embedder: ClipEmbedder, config: TrainConfig
) -> tuple[np.ndarray, PairTable]:
    """Rows to learn from, and pairs to judge by: of others, or a share of these, at least two."""
    judged = read_catalogue(val_pairs) if val_pairs else catalogue
    order = numpy_rng(config.run.seed, "clip.split").permutation(len(judged))
    rows = np.arange(len(catalogue))
    if not val_pairs:
        if len(order) < 4:
            raise UsageError(f"{len(order)} pairs are too few to train and to judge: give at least 4, better thousands")
        order, rows = np.split(order, [max(2, int(len(order) * config.data.val_share))])
    return np.sort(rows), judged.table(np.sort(order[:_JUDGED_PAIRS]), embedder.resized)


def _batches(held: PairTable, embedder: ClipEmbedder, size: int) -> Iterator[Batch]:
    """Held-out pairs by their first captions, in batches of about equal size."""
    tokens = embedder.tokenize([captions[0] for captions in held.captions])
    for rows in np.array_split(np.arange(len(held)), -(-len(held) // size)):
        pictures = torch.from_numpy(held.pictures[rows])
        yield {"pictures": pictures, **spoken(tokens[rows]), "keys": [f"held-out {row}" for row in rows], "position": 0}


def read_recipe(path: str | Path | None = None) -> dict[str, Any]:
    """An architecture file; by default the bundled one.

    Raises:
        UsageError: missing, or without one of its three keys.
    """
    file = Path(path) if path else bundled_path("priors", "recipes", "soundstage-clip.json")
    try:
        recipe: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        missing = [key for key in ("architecture", "model_cfg", "preprocess_cfg") if key not in recipe]
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"architecture {file} cannot be read ({error}): give a JSON file as in priors/recipes"
        ) from None
    if missing:
        raise UsageError(f"architecture {file} lacks {', '.join(missing)}: give a JSON file as in priors/recipes")
    return recipe


def encode_captions(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """(B, S) tokens, S at most the context and at least the longest caption, to (B, E) unit vectors.

    Equal to `model.encode_text` of tokens padded to the context: attention is causal and the pooling stops at the end
    token. Only for models of `new_clip` (text tower in the model itself, pooling by argmax).
    """
    ends, length = tokens.argmax(1), tokens.shape[1]
    x_BSD = model.token_embedding(tokens) + model.positional_embedding[:length]
    x_BSD = model.ln_final(model.transformer(x_BSD, attn_mask=model.attn_mask[:length, :length]))
    pooled = x_BSD[torch.arange(len(tokens), device=tokens.device), ends]
    return torch.nn.functional.normalize(pooled @ model.text_projection, dim=-1)
