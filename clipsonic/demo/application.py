"""The whole of the demo as one ASGI application: the service, the page, and the gate before both.

Guarantee: while it listens to this computer only, it answers to this computer's names only, so that a page elsewhere
cannot reach it under a name of its own. Price: none.
"""

from __future__ import annotations

from typing import Any

from starlette.middleware.trustedhost import TrustedHostMiddleware

from clipsonic.demo.gate import Gate
from clipsonic.demo.page import mount_page
from clipsonic.demo.service import make_service
from clipsonic.demo.studio import Studio
from clipsonic.demo.wish import wish_of

_HERE = ("127.0.0.1", "localhost")


def make_application(studio: Studio, host: str) -> Any:
    """What uvicorn serves; one short sound is made first, so that the first visitor does not wait for it."""
    studio.begin(wish_of({"text": "a bell", "steps": 1})).future.result()
    app: Any = Gate(mount_page(make_service(studio), studio), studio.folder, studio.limits)
    return TrustedHostMiddleware(app, allowed_hosts=list(_HERE)) if host in _HERE else app
