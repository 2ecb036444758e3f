#!/usr/bin/env python
"""How many true sounds does the judge in this folder name rightly? Prints the table of its card.

python scripts/check_judge.py priors/judge      about a minute on 2 idle cores
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from clipsonic.measure.judge import Judge
from clipsonic.measure.naming import naming_figures, naming_tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what `clipsonic train --config judge` left, or priors/judge")
    parser.add_argument("--num-scenes", type=int, default=1000, help="of each of two splits")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    print(naming_figures(naming_tables(Judge.load(args.folder), args.num_scenes, args.workers)))


if __name__ == "__main__":
    main()
