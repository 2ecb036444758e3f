"""Ingest on a Ray cluster of several node processes: the bytes of a local run, also when a node dies on the way."""

from __future__ import annotations

import builtins
import hashlib
import sys
import threading
import time
from pathlib import Path
from typing import Any

import makers_ingest as makers
import pytest

from clipsonic.errors import UsageError
from clipsonic.ingest.run import IngestOptions, ingest
from clipsonic.specs import CorpusSpec

OPTIONS = {"spec": CorpusSpec(16000, 2.0, 1.0), "shard_files": 2, "workers": 2}


def digests(folder: Path) -> dict[str, str]:
    """Of everything but the plan, which is the same in other words."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir()) if path.is_file()
    }


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in") / "videos"
    folder.mkdir()
    for number in range(12):
        makers.make_video(folder / f"{number:02d}.mp4")
    (folder / "05b.mp4").write_bytes(b"no video")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cluster_that_loses_a_node_ends_with_the_bytes_of_a_local_run(videos: Path, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    from ray import cloudpickle
    from ray.cluster_utils import Cluster

    for module in (makers, sys.modules[__name__]):
        cloudpickle.register_pickle_by_value(module)  # the nodes have no tests
    ingest([videos], tmp_path / "local", IngestOptions(**OPTIONS), embedder=makers.DoubleEmbedder())

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        victim = cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)

        def kill_after_the_first_unit() -> None:
            while not list((tmp_path / "ray" / "ingest").glob("unit-*.json")):
                time.sleep(0.05)
            cluster.remove_node(victim, allow_graceful=False)

        killer = threading.Thread(target=kill_after_the_first_unit)
        killer.start()
        options = IngestOptions(**OPTIONS, executor="ray")
        result = ingest([videos], tmp_path / "ray", options, embedder=SlowEmbedder())
        killer.join()
        alive = [node for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert len(alive) == 1
    assert (len(result.outcomes), result.num_refused) == (13, 1)
    assert digests(tmp_path / "ray") == digests(tmp_path / "local")


class SlowEmbedder(makers.DoubleEmbedder):  # type: ignore[misc,name-defined]
    """Slow enough for a node to die in the middle of a unit."""

    def embed_pictures(self, pictures: Any, batch_size: int = 64) -> Any:
        time.sleep(0.5)
        return super().embed_pictures(pictures, batch_size)


def test_without_ray_the_cure_is_said(monkeypatch: pytest.MonkeyPatch, videos: Path, tmp_path: Path) -> None:
    real_import = builtins.__import__

    def no_ray(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "ray":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_ray)
    with pytest.raises(UsageError, match=r"pip install 'clipsonic\[ray\]'"):
        ingest([videos], tmp_path, IngestOptions(**OPTIONS, executor="ray"), embedder=makers.DoubleEmbedder())
    with pytest.raises(UsageError, match="--executor 'slurm' is unknown: choose local or ray"):
        IngestOptions(executor="slurm")
