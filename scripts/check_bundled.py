"""Judge what is bundled on scenes that nothing was chosen on, and write down what was found, of which files, and when.

    python scripts/check_bundled.py [WORK]      default out/check; 20 minutes on 2 cores; goes on with rendered scenes

To be run whenever a bundled file changes. 1,184 held-out scenes of a seed that no training, choice or card has used,
each from its picture, from its text by the prior, and from its picture in the few-step adapter's calls.
`priors/checked.json` keeps a verdict per scene, so that a test can make some of them again and see a change of one in a
hundred; the sentence with the shares goes into the card and the README. The digest is of every bundled file but cards,
words and that one.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from clipsonic import ClipSonicPipeline
from clipsonic.cli import main as clipsonic
from clipsonic.evaluate.embedders import at_rate
from clipsonic.evaluate.rows import made_rows
from clipsonic.evaluate.run import Options, prepare
from clipsonic.measure.metrics import wilson_interval

SEED = 20_261_129
NUM_VIDEOS = 1_450  # 1,184 of them are long enough and sound for at least half of their seconds
FEW_STEPS = (4, 1)
RIGHT, WRONG = "+", "-"
PRIORS = Path("priors")
CHECKED = "checked.json"
SENTENCE = re.compile(r"Checked on .*? digest `\w+`\)\.", flags=re.DOTALL)


def bundled_files(priors: Path) -> dict[str, str]:
    """The sha256 of every bundled file that a figure may depend on, by its path; no figure is of what an ear hears."""
    paths = (path for name in ("judge", "tiny") for path in sorted((priors / name).rglob("*")) if path.is_file())
    return {
        str(path.relative_to(priors)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.name not in ("card.md", "words.json") and path.parent.name != "ear"
    }


def digest_of(files: dict[str, str]) -> str:
    """One short word for all of them."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]


def make_corpus(work: Path, num_videos: int) -> Path:
    """The first so many scenes of the check, rendered and ingested; the same ones whatever their number."""
    videos, corpus = work / "videos", work / "corpus"
    for words in (
        ["soundstage", "--out", videos, "--num-videos", num_videos, "--seed", SEED, "--split", "heldout"],
        ["ingest", videos, "--out", corpus, "--seconds", 4.096],
    ):
        if clipsonic([str(word) for word in words]):
            raise SystemExit(1)
    return corpus


def verdicts_on(corpus: Path) -> dict[str, dict[str, str]]:
    """Whether the judge names each scene's sound rightly: {row: {source: RIGHT or WRONG}}."""
    pipeline = ClipSonicPipeline.from_pretrained("tiny")
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    rows = {}
    for steps in (None, *FEW_STEPS):
        pipeline.set_few_steps(steps)
        prompts = ("image", "text") if steps is None else ("image",)
        options = Options(corpus, num_scenes=NUM_VIDEOS, prompts=prompts, closers=("prior",), laws=False)
        prepared = prepare(pipeline, options)
        assert prepared.judged is not None
        kinds, judge = prepared.judged
        for row in made_rows(prepared.material, pipeline, prepared.making, prompts, options.closers)[0]:
            assert row.waves is not None
            heard = at_rate(row.waves, pipeline.segment.mel.sample_rate_hz, judge.config.mel.sample_rate_hz)
            right = judge.verdicts(heard).named == kinds
            name = row.name if steps is None else f"{row.name}-{steps}"
            rows[name] = _signs((item.source for item in prepared.plan.items), right)
    return rows


def _signs(sources: Iterable[str], right: np.ndarray) -> dict[str, str]:
    pairs = zip(sources, right.tolist(), strict=True)
    return {source: RIGHT if is_right else WRONG for source, is_right in sorted(pairs)}


def packed(rows: dict[str, dict[str, str]]) -> dict[str, str]:
    """The signs of all rows for each scene, in the order of the rows."""
    return {source: "".join(signs[source] for signs in rows.values()) for source in next(iter(rows.values()))}


def unpacked(checked: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The inverse."""
    return {
        name: {source: signs[place] for source, signs in checked["verdicts"].items()}
        for place, name in enumerate(checked["rows"])
    }


def shares_of(rows: dict[str, dict[str, str]]) -> dict[str, dict[str, float]]:
    """The share of scenes named rightly in each row, with its 95 % interval."""
    shares = {}
    for name, signs in rows.items():
        hits = sum(sign == RIGHT for sign in signs.values())
        interval = wilson_interval(hits, len(signs))
        shares[name] = {"hits": hits, "total": len(signs), **{k: round(v, 4) for k, v in interval._asdict().items()}}
    return shares


def sentence(checked: dict[str, Any]) -> str:
    """What the card and the README say of it."""
    shares = checked["shares"]

    def said(name: str) -> str:
        share = shares[name]
        return f"{share['value']:.1%} ({share['low']:.1%} to {share['high']:.1%})"

    calls = {steps: "one call" if steps == 1 else f"{steps} calls" for steps in FEW_STEPS}
    few = ", ".join(f"in {calls[steps]} {said(f'image-{steps}')}" for steps in FEW_STEPS)
    return (
        f"Checked on {checked['date']} on {shares['image']['total']:,} held-out scenes that nothing was chosen on,\n"
        f"named rightly: from a picture {said('image')}, from a text by the prior\n{said('text-prior')}, "
        f"from a picture {few}\n(`scripts/check_bundled.py`, digest `{checked['digest']}`)."
    )


def put_sentence(page: Path, said: str) -> None:
    """In the place of the older one.

    Raises:
        SystemExit: there is none.
    """
    text, count = SENTENCE.subn(lambda _: said, page.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit(f"{page} has {count} sentences that begin with 'Checked on': it must have one")
    page.write_text(text, encoding="utf-8")


def main(work: Path, num_videos: int = NUM_VIDEOS) -> dict[str, Any]:
    """Make, judge, write down."""
    rows = verdicts_on(make_corpus(work, num_videos))
    files = bundled_files(PRIORS)
    checked = {
        "date": datetime.date.today().isoformat(),
        "seed": SEED,
        "digest": digest_of(files),
        "files": files,
        "shares": shares_of(rows),
        "rows": list(rows),
        "verdicts": packed(rows),
    }
    (PRIORS / CHECKED).write_text(json.dumps(checked, indent=1) + "\n", encoding="utf-8")
    for page in (PRIORS / "tiny" / "card.md", Path("README.md")):
        put_sentence(page, sentence(checked))
    return checked


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Judge what is bundled on fresh scenes, and write it down.")
    parser.add_argument("work", type=Path, nargs="?", default=Path("out/check"))
    print(sentence(main(parser.parse_args().work)))
