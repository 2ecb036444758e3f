"""Training in bfloat16: products are rounded, and what must not be is not; every lesson's loss stays near float32's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import pytest
import torch
from lessons_at_work import LESSONS, awake, course_of
from makers_train import new_module, toy
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from clipsonic.audio.mel import LogMel
from clipsonic.models.conditioner import ConditionEncoder, global_condition
from clipsonic.train.engine.clock import Clock
from clipsonic.train.engine.lesson import Batch, Losses
from clipsonic.train.engine.module import LessonModule
from clipsonic.train.engine.steps import BareSteps

NAMES = list(LESSONS)


class Run(NamedTuple):
    """A lesson at its beginning and some of its batches."""

    module: LessonModule
    batches: list[Batch]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Of every lesson."""
    found = {}
    for name, words_of in LESSONS.items():
        config, course = course_of(words_of(tmp_path_factory.mktemp(name)))
        course.lesson.begin(torch.device("cpu"))
        awake(course)
        stream = iter(course.stream)
        batches = [next(stream) for _ in range(4)]
        found[name] = Run(LessonModule(config, course.lesson, Clock(config.run)), batches)
    return found


def losses(run: Run, *, rounded: bool) -> list[Losses]:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=rounded):
        return [run.module.losses(batch, "train.step", place) for place, batch in enumerate(run.batches)]


@pytest.mark.parametrize("name", NAMES)
def test_a_lessons_loss_is_float32_and_within_two_percent_of_the_unrounded_one(runs: dict[str, Run], name: str) -> None:
    plain, rounded = (losses(runs[name], rounded=rounded) for rounded in (False, True))
    for one in rounded:
        assert one.per_item.dtype == torch.float32
        figures = {word: value.dtype for word, (value, _) in one.logged.items() if value.is_floating_point()}
        assert set(figures.values()) <= {torch.float32, torch.float64}, figures
    true, found = (float(torch.cat([one.per_item for one in side]).mean()) for side in (plain, rounded))
    print(f"{name}: {true:.5f} in float32, {found:.5f} rounded, {100 * (found / true - 1):+.3f} %")
    assert found == pytest.approx(true, rel=0.02)


class Spectra(TorchFunctionMode):
    """Remembers the type of every spectrum that is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.types = list[torch.dtype]()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function in (torch.stft, torch.fft.rfft):
            self.types.append(result.dtype)
        return result


@contextmanager
def watched(module: nn.Module, seen: dict[str, set[torch.dtype]]) -> Iterator[None]:
    """Inside, what mels give and what times and noised mels networks get is noted by its type."""

    def note(name: str, value: Any) -> None:
        if isinstance(value, Tensor) and value.is_floating_point():
            seen.setdefault(name, set()).add(value.dtype)

    def mel(part: nn.Module, given: Any, result: Tensor) -> None:
        note("mel", result)
        with torch.autocast("cpu", enabled=False):
            assert torch.equal(part.forward(*given), result)

    def network(part: nn.Module, given: tuple[Any, ...]) -> None:
        for place, value in enumerate(given):
            note(f"input {place}", value)

    def times(part: nn.Module, given: tuple[Any, ...]) -> None:
        note("times", given[0].times_s)

    handles = [part.register_forward_hook(mel) for part in module.modules() if isinstance(part, LogMel)]
    handles += [
        part.register_forward_pre_hook(times) for part in module.modules() if isinstance(part, ConditionEncoder)
    ]
    denoisers = [part for part in module.modules() if hasattr(part, "prediction_type")]
    handles += [part.register_forward_pre_hook(network) for part in denoisers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("name", NAMES)
def test_mels_spectra_times_and_averages_stay_float32(runs: dict[str, Run], name: str) -> None:
    run, seen, spectra = runs[name], dict[str, set[torch.dtype]](), Spectra()
    steps = BareSteps(run.module, rounded=True)
    with watched(run.module.lesson, seen), spectra:
        for batch in run.batches[:2]:
            steps.step(batch)
    assert all(types == {torch.float32} for types in seen.values()), seen
    assert set(spectra.types) <= {torch.complex64}
    kept = [*run.module.average.ema.shadow_params, *run.module.lesson.learner.parameters()]
    assert {value.dtype for value in kept if value.is_floating_point()} == {torch.float32}
    if name in ("sound", "adapter", "fewstep"):
        assert seen.keys() >= {"input 0", "input 1", "times"}
    if name in ("sound", "adapter", "vocoder", "judge"):
        assert "mel" in seen
        assert spectra.types


def test_the_stream_between_a_networks_blocks_is_rounded_too() -> None:
    module, seen = new_module(toy()), list[torch.dtype]()
    network = module.lesson.sound.denoiser  # type: ignore[union-attr]
    network.blocks[0].register_forward_hook(lambda _part, _given, result: seen.append(result.dtype))
    x_BMF, timestep_B = torch.randn(2, 16, 32), torch.tensor([100.0, 900.0])
    condition = global_condition(nn.functional.normalize(torch.randn(2, 8), dim=-1))
    with torch.autocast("cpu", torch.bfloat16):
        said_BMF = network(x_BMF, timestep_B, condition)
    assert seen == [torch.bfloat16]
    assert said_BMF.dtype == torch.float32
    assert network(x_BMF, timestep_B, condition).dtype == torch.float32
    assert seen[1] == torch.float32


def test_averaged_weights_and_the_networks_change_places_without_a_copy() -> None:
    module = new_module(toy())
    with torch.no_grad():
        for weight in module.lesson.learner.parameters():
            weight.add_(1.0)
    average, weights = module.average, list(module.lesson.learner.parameters())
    places = [value.data_ptr() for value in [*weights, *average.ema.shadow_params]]
    before, slow = ([value.clone() for value in side] for side in (weights, average.ema.shadow_params))
    with suppress(KeyError), average.applied():
        assert all(torch.equal(*pair) for pair in zip(weights, slow, strict=True))
        assert all(torch.equal(*pair) for pair in zip(average.ema.shadow_params, before, strict=True))
        assert average.ema.temp_stored_params is None
        raise KeyError
    assert all(torch.equal(*pair) for pair in zip(weights, before, strict=True))
    assert all(torch.equal(*pair) for pair in zip(average.ema.shadow_params, slow, strict=True))
    assert [value.data_ptr() for value in [*weights, *average.ema.shadow_params]] == places
