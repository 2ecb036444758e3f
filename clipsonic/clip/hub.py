"""Files of a model hub for CLIPs: asked for by name, taken from the cache where they are there already.

Guarantee: without a network it fails at once and names the files to bring. Price: one look-up of an address.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from clipsonic.clip.embedder import CONFIG_FILE, WEIGHTS_FILE
from clipsonic.errors import CheckpointError, first_line

PREFIX = "hf-hub:"
"""Before OWNER/NAME of a repository with open_clip's config and weights."""
PICKLED_FILE = "open_clip_pytorch_model.bin"
"""The weights' file of older repositories."""


def check_resolves(hub: str) -> None:
    """Fail at once where the hub has no address, since its client would retry for a minute; a cached file passes.

    Args:
        hub: OWNER/NAME/ or OWNER/NAME/FILE.

    Raises:
        OSError: it is neither cached nor to be reached.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.constants import ENDPOINT

    repository, file_name = os.path.split(hub)
    names = [file_name] if file_name else [WEIGHTS_FILE, PICKLED_FILE]
    cached = any(isinstance(try_to_load_from_cache(repository, name), str) for name in names)
    proxied = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"))
    if not cached and not proxied:
        socket.getaddrinfo(urlsplit(ENDPOINT).hostname, 443)


def hub_folder(repository: str) -> Path:
    """The folder of OWNER/NAME's config and weights, downloaded if need be.

    Raises:
        CheckpointError: no such repository, one without these files, or it cannot be reached.
    """
    from huggingface_hub import hf_hub_download

    try:
        check_resolves(f"{repository}/")
        config = Path(hf_hub_download(repository, CONFIG_FILE))
        try:
            hf_hub_download(repository, WEIGHTS_FILE)
        except (OSError, ValueError):
            hf_hub_download(repository, PICKLED_FILE)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"CLIP {PREFIX}{repository} cannot be downloaded ({first_line(error)}): bring {CONFIG_FILE} and "
            f"{WEIGHTS_FILE} of it in one folder and give --clip FOLDER"
        ) from None
    return config.parent
