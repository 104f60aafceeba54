"""Requests to where a stranger points: only public addresses, only the one that was checked, only for so long."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from goldsmith import outbound
from goldsmith.outbound import NoAnswer, TargetRefused
from goldsmith.settings import Settings
from tests.receiver import LOOPBACK, Receiver, receiving

PRIVATE = [
    "127.0.0.1",
    "127.1.2.3",
    "2130706433",
    "0x7f000001",
    "017700000001",
    "0177.0.1",
    "127.1",
    "0",
    "0.0.0.0",
    "localhost",
    "10.0.0.1",
    "167772161",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "[::]",
    "[::1]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a00:1]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b:1::a00:1]",
    "[2002:7f00:1::]",
    "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
    "[2001:db8::1]",
    "[fe80::1]",
    "[fec0::1]",
    "[fc00::1]",
    "[fd12:3456::1]",
    "[ff02::1]",
]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def post(url: str, allowed: Any = LOOPBACK) -> int:
    return outbound.post(url, headers={"Content-Type": "application/json"}, body=b"{}", allowed=allowed)


def name_resolves_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let `hooks.example` resolve to each of the answers in turn; returns the list of its look-ups."""
    real, asked = socket.getaddrinfo, []

    def fake(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name != "hooks.example":
            return real(host, port, *args, **more)
        asked.append(name)
        found = answers[min(len(asked), len(answers)) - 1]
        return [entry for address in found for entry in real(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    return asked


@pytest.mark.parametrize("host", PRIVATE)
def test_what_is_not_public_is_refused_at_once_and_when_sending(host: str) -> None:
    with pytest.raises(TargetRefused, match="no public address"):
        outbound.check(f"http://{host}:9/", [])
    with pytest.raises(TargetRefused, match="no public address"):
        post(f"http://{host}:9/", [])


@pytest.mark.parametrize("host", ["8.8.8.8", "134744072", "[2606:4700:4700::1111]", "[64:ff9b::808:808]", "[2002:808:808::]"])
def test_what_is_public_is_not_refused(host: str) -> None:
    outbound.check(f"https://{host}/", [])


def test_nothing_reaches_a_refused_target(receiver: Receiver) -> None:
    with pytest.raises(TargetRefused):
        post(receiver.url, [])
    assert receiver.got == []
    assert post(receiver.url) == 204
    assert len(receiver.got) == 1


def test_an_allowed_network_opens_itself_and_no_other() -> None:
    outbound.check("http://10.1.2.3/", [ip_network("10.0.0.0/8")])
    outbound.check("http://[::ffff:10.1.2.3]/", [ip_network("10.0.0.0/8")])
    outbound.check("http://[fd00::1]/", [ip_network("fd00::/8")])
    for host in ("192.168.1.1", "127.0.0.1", "[fe80::1]"):
        with pytest.raises(TargetRefused):
            outbound.check(f"http://{host}/", [ip_network("10.0.0.0/8"), ip_network("fd00::/8")])


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://example.com/", "must begin with https"),
        ("file:///etc/passwd", "must begin with https"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "must begin with https"),
        ("/hook", "must begin with https"),
        ("http:///hook", "must name a host"),
        ("http://user:password@example.com/", "must not contain a user name"),
        ("http://user@example.com/", "must not contain a user name"),
        ("http://127.0.0.1\\@8.8.8.8/", "must not contain a user name"),
        ("http://example.com:0/", "from 1 to 65535"),
        ("http://example.com:65536/", "from 1 to 65535"),
        ("http://exa\nmple.com/", "must be a URL"),
        ("http://0177.0.0.1/", "must be a URL"),
    ],
)
def test_what_is_no_plain_http_url_is_refused(url: str, says: str) -> None:
    with pytest.raises(TargetRefused, match=says) as refusal:
        outbound.check(url, LOOPBACK)
    assert refusal.value.errors[0]["field"] == "url"
    with pytest.raises(TargetRefused, match=says):
        post(url)


def test_one_private_address_among_public_ones_refuses_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    name_resolves_to(monkeypatch, ["8.8.8.8", "127.0.0.1"])
    with pytest.raises(TargetRefused, match=r"127\.0\.0\.1"):
        outbound.check("http://hooks.example/", [])
    with pytest.raises(TargetRefused, match=r"127\.0\.0\.1"):
        post("http://hooks.example/", [])


def test_the_checked_address_is_the_one_that_is_called(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    """A name that answers otherwise the second time (DNS rebinding) is not asked a second time."""
    asked = name_resolves_to(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
    port = receiver.url.split(":")[2].split("/")[0]
    assert post(f"http://hooks.example:{port}/hook?a=1#not-sent") == 204
    assert asked == ["hooks.example"]
    assert receiver.got[0].headers["host"] == f"hooks.example:{port}"
    assert receiver.got[0].path == "/hook?a=1"


def test_the_next_address_is_tried_when_one_does_not_answer(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    name_resolves_to(monkeypatch, ["127.0.0.9", "127.0.0.1"])  # nobody listens at the first
    port = receiver.url.split(":")[2].split("/")[0]
    assert post(f"http://hooks.example:{port}/hook") == 204


def test_a_name_that_does_not_resolve_may_be_given_but_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    outbound.check("https://hooks.example/", [])
    with pytest.raises(NoAnswer, match="does not resolve"):
        post("https://hooks.example/")


def test_a_name_that_tls_cannot_ask_for_is_no_answer(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _host, *args, **more: real("127.0.0.1", *args, **more))
    port = receiver.url.split(":")[2].split("/")[0]
    with pytest.raises(NoAnswer):
        post(f"https://.example:{port}/hook")
    assert receiver.got == []


def test_a_name_server_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(30))
    monkeypatch.setattr(outbound, "CONNECT_S", 0.1)
    with pytest.raises(NoAnswer, match="not resolved within"):
        post("https://hooks.example/")
    over.set()


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.status, receiver.headers = 307, {"Location": receiver.url + "/elsewhere"}
    assert post(receiver.url) == 307
    assert [got.path for got in receiver.got] == ["/hook"]


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert post(receiver.url) == 204


def test_nobody_there_is_no_answer() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(NoAnswer, match="refused"):
            post(f"http://127.0.0.1:{closed.getsockname()[1]}/")


Talk = Callable[[socket.socket], None]


@contextlib.contextmanager
def talking(talk: Talk) -> Iterator[str]:
    """A server for one connection that says what it likes; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        thread.join(120)
        assert not thread.is_alive()


def until_closed(connection: socket.socket, piece: bytes, pause: float) -> None:
    """Send until the other side is gone."""
    while not threading.Event().wait(pause):
        connection.sendall(piece)


def test_a_head_that_comes_byte_by_byte_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "TOTAL_S", 0.5)

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        until_closed(connection, b"x", 0.05)

    with talking(talk) as url, pytest.raises(NoAnswer, match="no answer in time"):
        post(url)


def test_silence_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "TOTAL_S", 0.3)
    let_go = threading.Event()
    with talking(lambda _: let_go.wait(20) and None) as url:
        with pytest.raises(NoAnswer, match="no answer in time"):
            post(url)
        let_go.set()


def test_an_endless_body_is_left_after_4_kb() -> None:
    sent = 0

    def talk(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65_536)
            sent += 65_536

    with talking(talk) as url:
        assert post(url) == 200
    assert sent < 100_000_000  # what the kernel's buffers took; an endless reader would still be reading


def test_what_is_not_http_is_no_answer() -> None:
    with talking(lambda connection: connection.sendall(b"-ERR unknown command\r\n")) as url, pytest.raises(NoAnswer):
        post(url)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_tls_asks_for_the_name_and_checks_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=hooks.example"
    files = ["-addext", "subjectAltName=DNS:hooks.example", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make.split(), *files], check=True, capture_output=True)
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(certificate, key)
    asked: list[str | None] = []
    theirs.sni_callback = lambda _socket, name, _context: asked.append(name)
    ours = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(outbound, "_tls", lambda: ours)
    name_resolves_to(monkeypatch, ["127.0.0.1"])

    def talk(connection: socket.socket) -> None:
        with theirs.wrap_socket(connection, server_side=True) as secure:
            asking = b""
            while not asking.endswith(b"{}"):
                asking += secure.recv(9999)
            secure.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")

    with talking(talk) as url:
        assert post(url.replace("http://127.0.0.1", "https://hooks.example")) == 202
    assert asked == ["hooks.example"]
    with talking(talk) as url, pytest.raises(NoAnswer, match="certificate"):
        post(url.replace("http://", "https://"))


def test_the_setting_reads_true_false_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    def setting(text: str) -> list[str]:
        monkeypatch.setenv("GOLDSMITH_WEBHOOK_PRIVATE", text)
        return [str(network) for network in Settings(_env_file=None).webhook_private]

    assert setting("false") == setting("") == []
    assert setting("True") == ["0.0.0.0/0", "::/0"]
    assert setting("10.0.0.0/8, fd00::/8") == ["10.0.0.0/8", "fd00::/8"]
    with pytest.raises(ValueError, match="host bits"):
        setting("10.0.0.1/8")
