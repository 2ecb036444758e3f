"""Where commands compute is decided once: by one function, from one option, with a sentence where it cannot be."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clipsonic.cli import main
from clipsonic.errors import UsageError
from clipsonic.options import device_of, in_options
from clipsonic.train.config import RunConfig

PACKAGE = Path(__file__).resolve().parents[1] / "clipsonic"

Gpus = Callable[[int], None]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    """Makes torch say that this machine has so many GPUs."""

    def there_are(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    monkeypatch.delenv("LOCAL_RANK", raising=False)
    return there_are


@pytest.mark.parametrize(
    ("count", "word", "device"),
    [(0, "auto", "cpu"), (0, "cpu", "cpu"), (2, "cpu", "cpu"), (2, "auto", "cuda:0"), (2, "cuda", "cuda:0"),
     (2, "cuda:1", "cuda:1")],
)  # fmt: skip
def test_a_word_names_a_device_that_is_there(gpus: Gpus, count: int, word: str, device: str) -> None:
    gpus(count)
    assert device_of(word) == torch.device(device)


def test_each_rank_of_a_machine_takes_its_own_gpu(gpus: Gpus, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device_of("auto") == device_of("cuda") == torch.device("cuda:1")
    assert device_of("cuda:0") == torch.device("cuda:0")
    gpus(1)  # a launcher that shows each process one GPU
    assert device_of("auto") == torch.device("cuda:0")


@pytest.mark.parametrize(
    ("count", "word", "sentence"),
    [(0, "cuda", "--device cuda is not here, torch sees 0 GPUs"), (2, "cuda:2", "--device cuda:2 is not here"),
     (2, "gpu", "--device gpu is unknown"), (2, "cuda:", "--device cuda: is unknown"), (2, "", "is unknown")],
)  # fmt: skip
def test_a_device_that_is_not_there_is_refused_in_a_sentence(gpus: Gpus, count: int, word: str, sentence: str) -> None:
    gpus(count)
    with pytest.raises(UsageError, match=re.escape(sentence)):
        device_of(word)


def test_one_numbered_gpu_is_not_for_several_processes() -> None:
    with pytest.raises(UsageError, match=r"run.device cuda:1 must be cuda or auto where run.devices is 2"):
        RunConfig(device="cuda:1", devices=2)


WORDS = {
    "generate": ["--text", "a dog", "--out", "a.wav"],
    "demo": ["--port", "0"],
    "evaluate": ["--model", "tiny", "--corpus", ".", "--out", "report"],
    "ingest": [".", "--out", "corpus"],
    "embed-pairs": [".", "--out", "embeds"],
    "train": ["--config", "prior", "--pairs", ".", "--out", "out", "--dry-run"],
}


@pytest.mark.parametrize("command", WORDS)
def test_every_command_that_computes_refuses_a_gpu_that_is_not_there(
    gpus: Gpus, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpus(0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.tar").touch()
    (tmp_path / "a.mp4").touch()
    assert main([command, *WORDS[command], "--device", "cuda"]) == 2
    assert "--device cuda is not here" in capsys.readouterr().err.splitlines()[-1]


def test_nobody_else_asks_torch_whether_there_is_a_gpu() -> None:
    asking = re.compile(r"cuda\.is_available|get_default_device|accelerator=\"auto\"")
    paths = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "scripts").glob("*.py")]
    assert {path.name for path in paths if asking.search(path.read_text())} == {"options.py"}


@pytest.mark.parametrize(
    ("refused", "told"),
    [
        ("extend_s -1 must be 0 or more", "--extend-s -1 must be 0 or more"),
        ("negative_text has no effect at guidance_scale 1", "--negative-text has no effect at --guidance 1"),
        ("num_inference_steps 0 must be", "--steps 0 must be"),
        ("give regions (remake) or more (extend_s)", "give regions (--remake) or more (--extend-s)"),
        ("guidance_rescale 2 must be", "guidance_rescale 2 must be"),  # no option of this command
        ("few steps 9 must be", "few steps 9 must be"),
        ("load it with load_extend_s", "load it with load_extend_s"),
        ("nothing to remake: a remake needs a strength", "nothing to remake: a remake needs a strength"),
        ("film extend_s.mp4, /in/extend_s and 'extend_s'", "film extend_s.mp4, /in/extend_s and 'extend_s'"),
        ("--extend-s 1 is twice extend-s", "--extend-s 1 is twice extend-s"),
    ],
)
def test_what_a_pipeline_refuses_is_told_in_options_and_all_else_as_it_is(refused: str, told: str) -> None:
    args = argparse.Namespace(extend_s=-1.0, negative_text=None, guidance=1.0, steps=0, remake=(), few_steps=None)
    assert in_options(refused, args) == told
