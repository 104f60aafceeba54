"""HTTP to addresses that somebody else chose: only into networks that may be reached, whatever a name resolves to.

A name is resolved once, every address that it has is checked, and the connection goes to one that was checked: a second look
at the name could give another answer (DNS rebinding). Host and SNI stay the name's. Redirects are not followed, proxies of the
environment are not used, and an answer's body is read up to 4 kB and thrown away. Decimal, octal and hexadecimal spellings
of an address are turned into addresses by the resolver, so they meet the same check.
"""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import httpcore
import httpx

from goldsmith.errors import GoldsmithError, InvalidInput

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

CONNECT_S = 5.0
TOTAL_S = 15.0
MAX_BODY = 4096

# The special-purpose registries of IANA, as explicit lists: what `ipaddress` calls global differs between Python's versions.
_NOT_PUBLIC_V4 = [
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, and the metadata of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
]
_PUBLIC_V6 = IPv6Network("2000::/3")  # all else is loopback, local, multicast or reserved
_NOT_PUBLIC_V6 = [IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]
_NAT64 = IPv6Network("64:ff9b::/96")


class TargetRefused(InvalidInput):
    """The URL is none that may be called; nothing was sent."""

    title = "Target refused"


class NoAnswer(GoldsmithError):
    """No HTTP status came back: not resolved, not connected, broken off, or too slow."""

    status = 502
    title = "No answer"


def check(url: str, allowed: Sequence[Network]) -> None:
    """Raises `TargetRefused` when the URL may not be called as things are now. A name that does not resolve may do so later."""
    target = _parse(url)
    with suppress(NoAnswer):
        _checked_addresses(target.raw_host, _port(target), allowed, CONNECT_S)


def post(url: str, *, headers: Mapping[str, str], body: bytes, allowed: Sequence[Network]) -> int:
    """POST and return the answer's status, whichever it is. Raises `TargetRefused` or `NoAnswer`; ends within 15 s."""
    target = _parse(url)
    pool = httpcore.ConnectionPool(ssl_context=_tls(), network_backend=_Checked(allowed))
    address = httpcore.URL(scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path)
    sent = {"Host": target.netloc.decode("ascii"), "User-Agent": "goldsmith", "Content-Length": str(len(body)), **headers}
    try:
        with (
            pool,
            pool.stream(
                "POST", address, headers=list(sent.items()), content=body, extensions={"timeout": {"connect": CONNECT_S}}
            ) as response,
        ):
            _drain(response)
            return response.status
    except httpcore.TimeoutException:
        raise NoAnswer(f"no answer in time ({CONNECT_S:g} s to connect, {TOTAL_S:g} s in all)") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, ValueError) as error:  # ValueError: a name that TLS cannot ask for
        raise NoAnswer(str(error) or type(error).__name__) from None


def _drain(response: httpcore.Response) -> None:
    """Take a short body, so that its sender is not cut off. The status is known: what goes wrong from here changes nothing."""
    taken = 0
    with suppress(httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        for chunk in response.iter_stream():
            taken += len(chunk)
            if taken >= MAX_BODY:
                return


def _parse(url: str) -> httpx.URL:
    """The one reading of the URL: what is checked is what is called."""
    try:
        target = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise _refused(f"must be a URL: {error}") from None
    if target.scheme not in ("http", "https"):
        raise _refused("must begin with https:// or http://")
    if target.userinfo:
        raise _refused("must not contain a user name or password")
    if not target.raw_host:
        raise _refused("must name a host")
    if not 1 <= _port(target) <= 65535:
        raise _refused("its port must be from 1 to 65535")
    return target


def _port(target: httpx.URL) -> int:
    return target.port if target.port is not None else {"http": 80, "https": 443}[target.scheme]


def _refused(message: str) -> TargetRefused:
    return TargetRefused(f"url {message}", errors=[{"field": "url", "message": message}])


def _checked_addresses(host: bytes, port: int, allowed: Sequence[Network], seconds: float) -> list[str]:
    """Every address of the host; raises `TargetRefused` when a single one of them lies where nothing may be sent."""
    found = _resolve(host, port, seconds)
    for text in found:
        address = ip_address(text)
        real = _embedded(address)
        if not (_is_public(real) or any(address in network or real in network for network in allowed)):
            raise _refused(
                f"leads to {address}, which is no public address; GOLDSMITH_WEBHOOK_PRIVATE lists the private networks allowed"
            )
    return found


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (mapped, NAT64, 6to4), else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    return address in _PUBLIC_V6 and not any(address in network for network in _NOT_PUBLIC_V6)


def _resolve(host: bytes, port: int, seconds: float) -> list[str]:
    """The addresses of a host. The C library's look-up knows no time limit, so it runs on a thread that may be left behind."""
    answer: queue.SimpleQueue[list[Any] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answer.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            answer.put(error)

    threading.Thread(target=look_up, name="resolve", daemon=True).start()
    try:
        found = answer.get(timeout=seconds)
    except queue.Empty:
        raise NoAnswer(f"the host's name was not resolved within {seconds:g} s") from None
    if isinstance(found, OSError):
        raise NoAnswer(f"the host's name does not resolve ({found.strerror or found})")
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@lru_cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()


class _Checked(httpcore.NetworkBackend):
    """Connects to checked addresses only; the whole exchange ends `TOTAL_S` after it was made."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self._end = time.monotonic() + TOTAL_S
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        end = time.monotonic() + CONNECT_S
        failure: Exception = httpcore.ConnectTimeout()
        for address in _checked_addresses(host.encode("ascii"), port, self._allowed, CONNECT_S):
            left = end - time.monotonic()
            if left <= 0:
                break
            try:
                return _Timed(self._backend.connect_tcp(address, port, left, local_address, socket_options), self._end)
            except (httpcore.ConnectTimeout, httpcore.ConnectError) as error:
                failure = error
        raise failure


class _Timed(httpcore.NetworkStream):
    """A stream with one deadline for all that happens on it: a peer that sends a byte a second gains nothing."""

    def __init__(self, stream: httpcore.NetworkStream, end: float) -> None:
        self._stream, self._end = stream, end

    def _left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout
        return left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(min(max_bytes, MAX_BODY), self._left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, min(CONNECT_S, self._left())), self._end)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
