"""The whole of the demo as one ASGI application: the service, the page, and the gate before both.

Guarantee: nothing reaches either but through the gate. Price: none.
"""

from __future__ import annotations

from typing import Any

from clipsonic.demo.gate import Gate
from clipsonic.demo.origins import Origins
from clipsonic.demo.page import mount_page
from clipsonic.demo.service import make_service
from clipsonic.demo.studio import Studio
from clipsonic.demo.wish import wish_of


def make_application(studio: Studio, origins: Origins) -> Any:
    """What uvicorn serves; one short sound is made first, so that the first visitor does not wait for it."""
    studio.begin(wish_of({"text": "a bell", "steps": 1})).future.result()
    return Gate(mount_page(make_service(studio), studio), studio.folder, studio.limits, origins)
