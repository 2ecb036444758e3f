"""Put a trained and judged pipeline into priors/tiny, and its table into the card and the README.

    python scripts/bundle_pipeline.py WORK      WORK has pipeline/ (of `train`) and report/ (of `evaluate`)

Weights are stored in float16, half the bytes; they are loaded back to float32. Steps and guidance that the report was
made with become the pipeline's own. `words.json` says in which words the bundled CLIP has read of what.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

from clipsonic import ClipSonicPipeline
from clipsonic.files import write_json
from clipsonic.soundstage.captions import plural, with_article
from clipsonic.soundstage.kinds import KINDS

TABLES = re.compile(r"\| prompt \|.*\n(?:\|.*\n|\n(?=\| prompt \|))*")


def main(work: Path, target: Path, pages: list[Path]) -> None:
    pipeline = ClipSonicPipeline.from_pretrained(work / "pipeline")
    pipeline.denoiser.half().save_pretrained(target / "denoiser")
    config = target / "denoiser" / "config.json"  # diffusers notes the folder it was loaded from: nobody else's affair
    config.write_text(re.sub(r'\n *"_name_or_path": .*', "", config.read_text()))
    pipeline.scheduler.save_pretrained(target / "scheduler")
    numbers = json.loads((work / "report" / "report.json").read_text(encoding="utf-8"))
    index = json.loads((work / "pipeline" / "model_index.json").read_text(encoding="utf-8"))
    index |= {"num_inference_steps": numbers["steps"], "guidance_scale": numbers["guidance"]}
    (target / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    shutil.copytree(work / "pipeline" / "bank", target / "bank", dirs_exist_ok=True)
    write_json(target / "words.json", words())
    tables = (work / "report" / "table.md").read_text(encoding="utf-8")
    for page in pages:
        text = page.read_text(encoding="utf-8")
        page.write_text(TABLES.sub(lambda _: tables, text, count=1), encoding="utf-8")


def words() -> dict[str, dict[str, object]]:
    """What `generate/known.py` reads, of the soundstage's kinds of things."""
    return {
        name: {
            "family": kind.family,
            "verb": kind.verb,
            "one": list(kind.nouns),
            "a": [with_article(noun) for noun in kind.nouns],
            "many": [plural(noun) for noun in kind.nouns],
        }
        for name, kind in KINDS.items()
    }


if __name__ == "__main__":
    tiny = Path("priors/tiny")
    main(Path(sys.argv[1]), tiny, [tiny / "card.md", Path("README.md")])
    print("priors/tiny holds the new sound model, its card and README.md the new tables: check the words around them")
