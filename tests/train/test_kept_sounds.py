"""The kept sounds of an adapter's run are made once among all its processes. Run as a script, it is one of two."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from makers_adapters import SEGMENT, WIDTH, adapting
from makers_train import in_two_processes

from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.prior.bank import EmbedBank
from clipsonic.train.lessons import adapted
from clipsonic.train.lessons.denoiser import make_denoiser

NUM_PICTURES, BATCH = 11, 2


def made(keep: float = 1.0, saved: dict[str, Any] | None = None) -> dict[str, Any]:
    """The kept sounds of a new run, before and after they are made, and how often the pipeline was called for them."""
    config, space = adapting(1, keep=keep), SEGMENT.spec(WIDTH, "toy/1")
    denoiser = make_denoiser(config.model, "flow", space, 0)
    torch.manual_seed(0)
    for weight in denoiser.parameters():  # an untrained network answers zero
        torch.nn.init.normal_(weight, std=0.1)
    pipeline = ClipSonicPipeline(denoiser, make_scheduler("flow"), space, [-4.0] * 16, [2.0] * 16, "tiny")
    images = torch.nn.functional.normalize(torch.randn(NUM_PICTURES, WIDTH), dim=-1)
    pipeline.set_bank(EmbedBank(images, "toy/1"))
    adapted.KEPT_BATCH = BATCH
    found = adapted.Adapted(config, pipeline, saved)
    before, calls, call = found.kept_KMF.clone(), [], adapted.Adapted._sounds_from

    def counted(self: adapted.Adapted, start: int) -> torch.Tensor:
        calls.append(start)
        return call(self, start)

    adapted.Adapted._sounds_from = counted  # type: ignore[method-assign]
    try:
        found.make_kept(torch.device("cpu"))
        found.make_kept(torch.device("cpu"))  # there is nothing left to do
    finally:
        adapted.Adapted._sounds_from = call  # type: ignore[method-assign]
    return {"before": before, "kept": found.kept_KMF, "bank": found.bank_NE, "calls": calls}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes holds."""
    folder = tmp_path_factory.mktemp("kept")
    in_two_processes(__file__, folder)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_two_processes_make_each_kept_sound_once_and_both_hold_what_one_alone_makes(
    ranks: list[dict[str, Any]],
) -> None:
    alone = made()
    assert alone["calls"] == [0, 2, 4, 6, 8, 10]
    assert [rank["calls"] for rank in ranks] == [[0, 4, 8], [2, 6, 10]]
    assert float(alone["kept"].square().mean(dim=(1, 2)).min()) > 0.01
    assert not alone["before"].any()
    for rank in ranks:
        assert torch.equal(rank["kept"], alone["kept"])


def test_a_session_that_goes_on_makes_none(ranks: list[dict[str, Any]]) -> None:
    again = made(saved={"bank_NE": ranks[0]["bank"], "kept_KMF": ranks[0]["kept"]})
    assert again["calls"] == []
    assert torch.equal(again["kept"], ranks[0]["kept"])


def test_a_run_that_keeps_nothing_makes_none() -> None:
    nothing = made(keep=0.0)
    assert (nothing["calls"], len(nothing["kept"])) == ([], 0)


def one_of_two(rank: int, folder: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(made(), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    one_of_two(int(sys.argv[1]), Path(sys.argv[2]))
