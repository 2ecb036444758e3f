"""Who may speak to the demo: the names that it answers to, and the pages whose requests it takes.

Guarantee: no page of another site can ask it for anything: not under its own name (`Origin` and `Sec-Fetch-Site`), nor
under a name that it lets point at this computer (`Host`). Programs, which send neither, are taken as before.
Price: a name that others reach the demo by has to be said once, with --origin.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from urllib.parse import SplitResult, urlsplit

from clipsonic.errors import UsageError

_PORTS = {"http": 80, "https": 443}
_SHOWN = 60
_ELSEWHERE = ("cross-site", "same-site")

Headers = Iterable[tuple[bytes, bytes]]


class Origins:
    """What is allowed.

    Args:
        host: the address that is listened on.
        named: further addresses of the page, each a scheme and a name, as https://sounds.example.org.

    Raises:
        UsageError: an address that is none.
    """

    def __init__(self, host: str, named: Sequence[str] = ()) -> None:
        self._host, self._is_here = host.lower(), _is_loopback(host)
        self._origins = frozenset(map(_named_origin, named))
        self._names = frozenset(str(_split(origin).hostname) for origin in self._origins)

    def refusal(self, method: str, path: str, headers: Headers) -> tuple[int, str] | None:
        """Status and sentence, where a request is not to be answered."""
        hosts, origins, sites, modes = (
            _values(headers, name) for name in (b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode")
        )
        if len(hosts) != 1 or not self._answers_to(hosts[0]):
            shown = repr(hosts[0][:_SHOWN]) if hosts else "no name"
            return 400, (
                f"this demo does not answer to {shown}: open it by its address, or start it with --origin and the "
                "address that it is reached by"
            )
        if any(not self._takes(origin, hosts[0]) for origin in origins):
            return 403, (
                f"a page of {origins[0][:_SHOWN]!r} may not ask this demo: start it with --origin and that address if "
                "it should"
            )
        is_visit = method in ("GET", "HEAD") and path == "/" and modes == ["navigate"]
        if not origins and not is_visit and any(site in _ELSEWHERE for site in sites):
            return 403, "a page of another site may not ask this demo: open the demo's own page"
        return None

    def _answers_to(self, host: str) -> bool:
        """By its own name, by a number (which nobody can let point elsewhere), or by a name that was given."""
        name = str(_split(f"//{host}").hostname or "").removesuffix(".")
        if name in self._names or name in ("localhost", self._host):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self._is_here

    def _takes(self, origin: str, host: str) -> bool:
        return _plain(origin) in self._origins or _plain(origin) == _plain(f"http://{host}") != ""


def _named_origin(given: str) -> str:
    parts = _split(given)
    plain = _plain(f"{parts.scheme}://{parts.netloc}")
    if not plain or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise UsageError(f"--origin {given!r} is no address of a page: give one such as https://sounds.example.org")
    return plain


def _plain(origin: str) -> str:
    """Scheme, name and port as they compare: lower case, no port that is the scheme's own; empty for what is none."""
    parts = _split(origin)
    try:
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in _PORTS or not parts.hostname or origin.count("/") != 2:
        return ""
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{name}" + ("" if port in (None, _PORTS[parts.scheme]) else f":{port}")


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # brackets without an address
        return urlsplit("")


def _values(headers: Headers, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
