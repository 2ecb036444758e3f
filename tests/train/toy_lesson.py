"""A lesson of one's own, in one file: a line is fitted to points. `--learn toy_lesson:course` teaches it."""

from __future__ import annotations

import torch
from torch import nn

from clipsonic.files import write_json
from clipsonic.seeding import torch_generator
from clipsonic.shards.endless import Endless
from clipsonic.train.engine.lesson import Course, Lesson, Losses, Shown


class Points(Endless):
    """Points of y = 2 x + 1."""

    digest = "points"

    def batch_at(self, position):
        places = self.places(position)
        x = torch.cat([torch.rand(1, generator=torch_generator(self.seed, "toy", place)) for place in places])
        return {"x": x, "y": 2 * x + 1, "keys": [f"point {place}" for place in places]}


class Line(Lesson):
    def __init__(self) -> None:
        super().__init__()
        self.learner = nn.Linear(1, 1)

    def loss(self, batch, draws):
        noise = 0.01 * draws.normal() if self.training else 0.0
        return Losses((self.learner(batch["x"][:, None])[:, 0] - batch["y"] - noise).square())

    def identity(self):
        return {}

    def show(self, held):
        yield Shown("line/0", text=f"y = {float(self.learner.weight):.2f} x + {float(self.learner.bias):.2f}")

    def leave(self, weights, out, told):
        write_json(out / "line.json", {name: float(value) for name, value in weights.items()})
        return {}


def course(config, sources, init, saved):
    with torch.random.fork_rng():
        torch.manual_seed(config.run.seed)
        points = Points(config.optim.batch_size, config.run.seed)
        return Course(Line(), points, [Points(8, 1).batch_at(0)])
