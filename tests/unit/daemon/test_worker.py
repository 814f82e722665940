"""The daemon's process, its signals delivered by hand: how it starts, serves, reloads and ends."""

from __future__ import annotations

import gc
import logging
import os
import resource
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import gevent.socket
import gevent.ssl
import pytest

from tests import certificates
from tests.loopback import wait_for
from wsgiproxy.daemon import worker as worker_module
from wsgiproxy.daemon.worker import Worker, raise_descriptor_limit
from wsgiproxy.errors import ConfigError
from wsgiproxy.server.server import Server

CONFIG = """\
daemon:
  listeners: ["unix:{folder}/front.sock"]
  access_log: {{path: "{folder}/access.log"}}
  drain_timeout: {drain}
routes:
  - {{match: {{path: /ping}}, respond: {{body: "{body}"}}}}
"""

Make = Callable[..., Worker]


@pytest.fixture(name="folder")
def fixture_folder(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


def write(folder: Path, body: str = "pong", drain: str = "5s") -> None:
    (folder / "wsgiproxy.yaml").write_text(CONFIG.format(folder=folder, drain=drain, body=body))


@pytest.fixture(name="worker")
def fixture_worker(folder: Path) -> Iterator[Worker]:
    worker = Worker(str(folder / "wsgiproxy.yaml"))
    worker.start()
    yield worker
    worker.close()


def ask(folder: Path, target: str = "/ping", connection: str = "close") -> bytes:
    """One request on a connection of its own; the answer, up to the end of its body."""
    with connect(folder) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n\r\n".encode())
        return read_all(client)


def connect(folder: Path) -> gevent.socket.socket:
    client = gevent.socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(f"{folder}/front.sock")
    return client


def read_all(client: gevent.socket.socket) -> bytes:
    data = b""
    while piece := client.recv(65536):
        data += piece
    return data


def ended(running: gevent.Greenlet[..., None], seconds: float = 10.0) -> bool:
    running.join(seconds)
    return bool(running.ready())


def test_it_serves_and_says_where(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    worker = Worker(str(folder / "wsgiproxy.yaml"))
    worker.start()
    try:
        assert ask(folder).endswith(b"\r\n\r\npong")
        assert f"listening on unix:{folder}/front.sock: 0 pools, 0 backends, 1 route" in caplog.messages
        assert repr(worker) == f"<Worker {folder}/wsgiproxy.yaml, 1 servers, 0 connections>"
    finally:
        worker.close()


def test_the_end_leaves_no_socket_file_and_the_whole_access_log(worker: Worker, folder: Path) -> None:
    ask(folder)
    running = gevent.spawn(worker.run)
    worker.on_terminate()
    assert ended(running)
    worker.close()
    assert not (folder / "front.sock").exists()
    assert '"GET /ping HTTP/1.1" 200 ' in (folder / "access.log").read_text()
    worker.close()


def test_sigterm_ends_at_once_where_nothing_is_under_way(worker: Worker, folder: Path) -> None:
    running = gevent.spawn(worker.run)
    with connect(folder) as idle:
        idle.sendall(b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n")
        assert idle.recv(65536).endswith(b"pong")
        worker.on_terminate()
        assert ended(running, 4)
        assert idle.recv(1) == b""


def test_sigterm_waits_for_what_is_under_way(worker: Worker, folder: Path) -> None:
    running = gevent.spawn(worker.run)
    with connect(folder) as client:
        client.sendall(b"GET /ping HTTP/1.1\r\n")
        gevent.sleep(0.1)
        worker.on_terminate()
        assert not ended(running, 0.3)
        client.sendall(b"Host: a\r\n\r\n")
        answer = read_all(client)
    assert answer.endswith(b"pong")
    assert b"Connection: close" in answer
    assert ended(running)


def test_a_second_sigterm_does_not_wait(worker: Worker, folder: Path) -> None:
    check_cut(worker, folder, worker.on_terminate, worker.on_terminate)


def test_sigint_does_not_wait(worker: Worker, folder: Path) -> None:
    check_cut(worker, folder, worker.on_interrupt)


def check_cut(worker: Worker, folder: Path, *signals: Callable[[], None]) -> None:
    running = gevent.spawn(worker.run)
    with connect(folder) as client:
        client.sendall(b"GET /ping HTTP/1.1\r\n")
        gevent.sleep(0.1)
        for signal in signals:
            signal()
        assert ended(running, 2)
        worker.close()
        assert b"pong" not in read_all(client)


def test_the_drain_ends_with_its_timeout(folder: Path) -> None:
    write(folder, drain="200ms")
    worker = Worker(str(folder / "wsgiproxy.yaml"))
    worker.start()
    running = gevent.spawn(worker.run)
    try:
        with connect(folder) as client:
            client.sendall(b"GET /ping HTTP/1.1\r\n")
            gevent.sleep(0.1)
            worker.on_terminate()
            assert ended(running, 3)
    finally:
        worker.close()


def test_sighup_reads_the_file_again(worker: Worker, folder: Path) -> None:
    write(folder, body="new")
    worker.on_reload()
    assert ask(folder).endswith(b"\r\n\r\nnew")


def test_what_only_a_restart_can_change_is_said(worker: Worker, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(folder, drain="6s")
    worker.on_reload()
    assert f"{folder}/wsgiproxy.yaml: daemon: changed; takes effect on restart" in caplog.messages


def test_sigusr1_opens_the_access_log_anew(worker: Worker, folder: Path) -> None:
    ask(folder, "/first")
    (folder / "access.log").rename(folder / "access.log.1")
    worker.on_reopen()
    with gevent.Timeout(10):
        while not (folder / "access.log").exists():
            gevent.sleep(0.01)
    ask(folder, "/second")
    worker.close()
    assert "/first" in (folder / "access.log.1").read_text()
    assert "/second" in (folder / "access.log").read_text()


def test_an_access_log_that_is_off_is_not_opened(folder: Path) -> None:
    path = folder / "wsgiproxy.yaml"
    path.write_text(path.read_text().replace("access_log: {", 'access_log: {format: "off", '))
    worker = Worker(str(path))
    worker.start()
    try:
        worker.on_reopen()
        assert ask(folder).endswith(b"pong")
    finally:
        worker.close()
    assert not (folder / "access.log").exists()


def test_an_address_that_cannot_be_had_is_named_with_its_place_and_nothing_is_left(folder: Path) -> None:
    path = folder / "wsgiproxy.yaml"
    path.write_text(path.read_text().replace("front.sock", f'front.sock", "unix:{folder}/none/front.sock'))
    worker = Worker(str(path))
    with pytest.raises(ConfigError) as caught:
        worker.start()
    assert str(caught.value).startswith(f"{path}:2:")
    assert "daemon.listeners[1]: cannot listen on unix:" in str(caught.value)
    worker.close()
    assert not (folder / "front.sock").exists()


def test_a_worker_leaves_no_descriptor_behind(folder: Path) -> None:
    def live() -> int:
        worker = Worker(str(folder / "wsgiproxy.yaml"))
        worker.start()
        ask(folder)
        worker.close()
        del worker
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    live()
    assert live() == live()


def test_the_descriptor_limit_becomes_the_hard_one(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda which, both: limits.append(both))
    raise_descriptor_limit()
    assert limits == [(4096, 4096)]


def test_a_start_that_fails_cleans_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "configure_error_log", lambda: None)
    monkeypatch.setattr(worker_module, "raise_descriptor_limit", lambda: None)
    monkeypatch.setattr(gevent, "signal_handler", lambda signum, handler: None)
    path = folder / "wsgiproxy.yaml"
    path.write_text(path.read_text().replace("front.sock", f'front.sock", "unix:{folder}/none/front.sock'))
    with pytest.raises(ConfigError):
        worker_module.serve(str(path))
    assert not (folder / "front.sock").exists()


class TestCertificates:
    """Listeners that speak TLS."""

    @pytest.fixture(name="authority")
    def fixture_authority(self, need: Callable[[str], str], tmp_path: Path) -> certificates.Authority:
        need("openssl")
        return certificates.Authority(tmp_path)

    @staticmethod
    def write(folder: Path, leaf: certificates.Leaf) -> None:
        tls = f"tls: {{certificates: [{{certificate: {leaf.certificate}, key: {leaf.key}}}]}}"
        text = CONFIG.format(folder=folder, drain="1s", body="pong")
        before, after = f'"unix:{folder}/front.sock"', f'"unix:{folder}/front.sock", {{address: "127.0.0.1:0", {tls}}}'
        (folder / "wsgiproxy.yaml").write_text(text.replace(before, after))

    @staticmethod
    def renew(old: certificates.Leaf, new: certificates.Leaf) -> None:
        os.replace(new.key, old.key)
        os.replace(new.certificate, old.certificate)

    @staticmethod
    def port(caplog: pytest.LogCaptureFixture) -> int:
        (line,) = [line for line in caplog.messages if line.startswith("listening on ")]
        return int(line.partition("https://127.0.0.1:")[2].partition(":")[0])

    @staticmethod
    def served(port: int) -> bytes:
        """The certificate that a client gets."""
        context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with gevent.socket.create_connection(("127.0.0.1", port), 10) as raw, context.wrap_socket(raw) as client:
            found: bytes = client.getpeercert(True)
            return found

    @pytest.mark.parametrize("how", ["by and by", "at SIGHUP"])
    def test_renewed_ones_are_taken_up(
        self,
        folder: Path,
        authority: certificates.Authority,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
        how: str,
    ) -> None:
        caplog.set_level(logging.INFO)
        monkeypatch.setattr(worker_module, "CERTIFICATE_INTERVAL", 0.05 if how == "by and by" else 60.0)
        old, new = authority.issue("a.example"), authority.issue("a.example")
        self.write(folder, old)
        worker = Worker(str(folder / "wsgiproxy.yaml"))
        try:
            worker.start()
            port = self.port(caplog)
            first = self.served(port)
            self.renew(old, new)
            if how == "at SIGHUP":
                worker.on_reload()
            with gevent.Timeout(10):
                while self.served(port) == first:
                    gevent.sleep(0.02)
        finally:
            worker.close()

    def test_a_defect_of_ours_does_not_end_the_watch(
        self,
        folder: Path,
        authority: certificates.Authority,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        caplog.set_level(logging.INFO)
        monkeypatch.setattr(worker_module, "CERTIFICATE_INTERVAL", 0.01)
        looks: list[None] = []

        def look(server: Server) -> None:
            looks.append(None)
            raise OSError("unheard of")

        monkeypatch.setattr(Server, "reload_certificates", look)
        self.write(folder, authority.issue("a.example"))
        worker = Worker(str(folder / "wsgiproxy.yaml"))
        try:
            worker.start()
            wait_for(lambda: len(looks) > 4, "a look after one that failed")
            assert "the certificates could not be read anew, by a defect of ours" in caplog.messages
        finally:
            worker.close()

    def test_new_ones_of_no_use_are_spoken_of_once_and_the_old_ones_stay(
        self, folder: Path, authority: certificates.Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        leaf = authority.issue("a.example")
        self.write(folder, leaf)
        worker = Worker(str(folder / "wsgiproxy.yaml"))
        try:
            worker.start()
            port = self.port(caplog)
            first = self.served(port)
            leaf.certificate.write_text("no certificate")
            for _ in range(3):
                worker.on_reload()
            assert self.served(port) == first
            (complaint,) = [line for line in caplog.messages if "stay in use" in line]
            assert f"{folder}/wsgiproxy.yaml:2:" in complaint
            assert "daemon.listeners[1].tls.certificates[0]" in complaint
        finally:
            worker.close()

    def test_those_of_no_use_are_named_with_their_place_and_nothing_is_left(
        self, folder: Path, authority: certificates.Authority
    ) -> None:
        leaf = authority.issue("a.example")
        leaf.certificate.unlink()
        self.write(folder, leaf)
        worker = Worker(str(folder / "wsgiproxy.yaml"))
        with pytest.raises(ConfigError) as caught:
            worker.start()
        assert str(caught.value).startswith(f"{folder}/wsgiproxy.yaml:2:")
        assert "daemon.listeners[1].tls.certificates[0]" in str(caught.value)
        worker.close()
        assert not (folder / "front.sock").exists()
