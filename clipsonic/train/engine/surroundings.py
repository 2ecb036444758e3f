"""What a training run borrows from the process it runs in, and gives back as it was.

Guarantee: after the block torch's threads, deterministic and cuDNN flags, precision of products, default dtype, the
random state of its CPU and the variables of process groups are those of before, whether it ends well or not; so a
sound made after a training equals one made in a process of its own. Price: none.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_LAUNCH_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "NODE_RANK", "LOCAL_RANK", "RANK", "OMP_NUM_THREADS")
"""What Lightning's launcher writes into the environment for its processes."""


@contextmanager
def restored() -> Iterator[None]:
    """Whatever the block changes of torch's global state is changed back."""
    with ExitStack() as stack:
        stack.enter_context(_environment())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(warnings.catch_warnings())
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        stack.callback(
            torch.use_deterministic_algorithms,
            torch.are_deterministic_algorithms_enabled(),
            warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
        )
        for flag in ("benchmark", "deterministic", "enabled"):
            stack.callback(setattr, torch.backends.cudnn, flag, getattr(torch.backends.cudnn, flag))
        yield


@contextmanager
def _environment() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _LAUNCH_VARIABLES}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
