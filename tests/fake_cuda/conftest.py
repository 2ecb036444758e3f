"""Lets the tests of this folder share their harness and the makers of training."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "train")]
