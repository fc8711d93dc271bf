"""Access to a server: hosts that a request may name, pages that may send it, and the password."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LEAST_PASSWORD = 8  # characters
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_WILDCARDS = ("", "0.0.0.0", "::")
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


@dataclass(frozen=True)
class Access:
    """Rules of access to a server that listens on ``host``.

    password: what visitors have to type, or None.
    session: the value of the cookie of those who have; it ends with the process.
    """

    host: str
    password: str | None = field(default=None, repr=False)
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def serves(self, host: str) -> bool:
        """Return whether a Host header names this page.

        It has to be a name of the loopback, or the address listened on.  A page that listens on every address of the
        machine is reached by any of them, but by no name: a name that a stranger owns may point here (DNS rebinding).
        """
        name = _name_of(host)
        if name is None:
            return False
        return name in (*_LOOPBACK_NAMES, self.host.lower()) or (self.host in _WILDCARDS and _address(name) is not None)

    def admits(self, session: str | None, authorization: str | None) -> bool:
        """Return whether a cookie, or an Authorization header with the password as bearer, opens the page."""
        if self.password is None:
            return True
        if session is not None and _same(session, self.session):
            return True
        scheme, _, given = (authorization or "").partition(" ")
        return scheme.lower() == "bearer" and self.is_password(given.strip())

    def is_password(self, given: str) -> bool:
        """Return whether this is the password, in a time that does not tell how much of it is right."""
        return self.password is not None and _same(given, self.password)


def is_same_origin(headers: Mapping[str, str], host: str, *, navigates: bool) -> bool:
    """Return whether a request comes from a page of this host, or from no page at all.

    headers: Origin and the Fetch metadata, by names in lower case; host: the Host header.
    navigates: the request opens the page itself, to which others may link.
    """
    origin = headers.get("origin")
    if origin is not None and not _is_origin_of(origin, host):
        return False
    if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
        return True
    return navigates and origin is None and headers.get("sec-fetch-dest") == "document"


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address, or a name, to listen on."""
    if host in _WILDCARDS:
        return False
    address = _address(host)
    if address is not None:
        return address.is_loopback
    try:
        found = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return False
    addresses = [_address(str(entry[4][0])) for entry in found]
    return bool(addresses) and all(address is not None and address.is_loopback for address in addresses)


def is_local(address: str) -> bool:
    """Return whether a visitor's address is one of the loopback."""
    found = _address(address)
    return found is not None and found.is_loopback


def _is_origin_of(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    same = parts.netloc.lower() == host.lower()
    return same and parts.scheme in ("http", "https") and origin == f"{parts.scheme}://{parts.netloc}"


def _name_of(host: str) -> str | None:
    found = _HOST.fullmatch(host)
    return found["name"].strip("[]").rstrip(".").lower() if found else None


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), known.encode("utf-8", "surrogatepass"))
