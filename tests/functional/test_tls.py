"""HTTPS with real curl and openssl: certificates by name, new ones without a cut, clients' own, and https backends."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import certificates
from tests.conftest import Start
from tests.functional.curl_transfers import download, upload, write_generated
from tests.functional.scene import Backend, Daemon, start_daemon
from tests.processes import free_port, wait_until

SIZE = 100_000_000

Issue = Callable[[str], certificates.Leaf]


@pytest.fixture(name="authority")
def fixture_authority(need: Callable[[str], str], tmp_path: Path) -> certificates.Authority:
    need("openssl")
    return certificates.Authority(tmp_path)


@pytest.fixture(name="curl")
def fixture_curl(need: Callable[[str], str]) -> str:
    return need("curl")


def listener(*leaves: certificates.Leaf, more: str = "") -> str:
    """The daemon's part of the file."""
    pairs = ", ".join(f"{{certificate: {leaf.certificate}, key: {leaf.key}}}" for leaf in leaves)
    tls = f"{{certificates: [{pairs}]{more}}}"
    return f'daemon:\n  listeners: [{{address: "127.0.0.1:0", tls: {tls}}}]\n  access_log: {{format: "off"}}\n'


def serve(start: Start, folder: Path, backend: Backend, front: str) -> Daemon:
    """A daemon before one backend."""
    return start_daemon(
        start, folder, f"{front}pools: {{web: {{backends: ['{backend.address}']}}}}\nroutes: [{{pool: web}}]\n"
    )


def ask(curl: str, url: str, *words: str | Path) -> tuple[int, str]:
    """curl's exit status and output."""
    command = [curl, "--silent", "--show-error", *map(str, words), url]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout + done.stderr


def test_large_bodies_arrive_bit_for_bit(
    start: Start, tmp_path: Path, authority: certificates.Authority, curl: str
) -> None:
    backend = Backend(start, "a")
    daemon = serve(start, tmp_path, backend, listener(authority.issue("localhost")))
    source = tmp_path / "source"
    digest = write_generated(source, SIZE)
    url = f"https://localhost:{daemon.port}"
    assert upload(curl, f"{url}/upload", source, "--cacert", authority.certificate) == digest
    assert download(curl, f"{url}/download/{SIZE}", "--cacert", authority.certificate) == digest


def test_backends_are_told_that_the_client_came_by_https(
    start: Start, tmp_path: Path, authority: certificates.Authority, curl: str
) -> None:
    daemon = serve(start, tmp_path, Backend(start, "a"), listener(authority.issue("localhost")))
    status, told = ask(curl, f"https://localhost:{daemon.port}/x", "--cacert", authority.certificate)
    assert status == 0
    fields = {name.lower(): value for name, value in json.loads(told)["fields"]}
    assert fields["x-forwarded-proto"] == "https"
    assert fields["x-forwarded-port"] == str(daemon.port)


def served_names(port: int, name: str) -> str:
    """The certificate that a client gets who asks for ``name``, as PEM."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname=name) as stream,
    ):
        certificate = stream.getpeercert(binary_form=True)
    assert certificate is not None
    return ssl.DER_cert_to_PEM_cert(certificate)


def first_certificate(leaf: certificates.Leaf) -> str:
    """The leaf itself, as PEM."""
    return ssl.DER_cert_to_PEM_cert(
        ssl.PEM_cert_to_DER_cert(
            leaf.certificate.read_text().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
        )
    )


def test_each_name_gets_its_certificate(start: Start, tmp_path: Path, authority: certificates.Authority) -> None:
    leaves = {name: authority.issue(name) for name in ("a.example", "b.example", "*.c.example")}
    daemon = serve(start, tmp_path, Backend(start, "a"), listener(*leaves.values()))
    for asked, name in (("a.example", "a.example"), ("b.example", "b.example"), ("x.c.example", "*.c.example")):
        assert served_names(daemon.port, asked) == first_certificate(leaves[name])
    assert served_names(daemon.port, "other.example") == first_certificate(leaves["a.example"])


def test_a_new_certificate_is_taken_up_and_open_connections_go_on(
    start: Start, tmp_path: Path, authority: certificates.Authority
) -> None:
    old, new = authority.issue("localhost"), authority.issue("localhost")
    daemon = serve(start, tmp_path, Backend(start, "a"), listener(old))
    context = ssl.create_default_context(cafile=str(authority.certificate))
    with (
        socket.create_connection(("127.0.0.1", daemon.port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as stream,
    ):
        for target in (old.key, old.certificate):
            os.replace(new.key if target == old.key else new.certificate, target)
        wait_until(lambda: served_names(daemon.port, "localhost") == first_certificate(old), 20, "the new certificate")
        stream.sendall(b"GET /still HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert stream.recv(100).startswith(b"HTTP/1.1 200")


def test_client_certificates_are_asked_for_and_told(
    start: Start, tmp_path: Path, authority: certificates.Authority, curl: str
) -> None:
    more = f", client_certificates: {{ca: {authority.certificate}, required: true}}"
    daemon = serve(start, tmp_path, Backend(start, "a"), listener(authority.issue("localhost"), more=more))
    url = f"https://localhost:{daemon.port}/x"
    status, _ = ask(curl, url, "--cacert", authority.certificate)
    assert status != 0
    mine = authority.issue("somebody")
    words: list[str | Path] = ["--cacert", authority.certificate, "--cert", mine.certificate, "--key", mine.key]
    status, told = ask(curl, url, *words, "-H", "Client-Cert: :forged:")
    assert status == 0
    values = [value for name, value in json.loads(told)["fields"] if name.lower() == "client-cert"]
    assert len(values) == 1
    assert values[0].startswith(":MII")


def test_old_versions_are_turned_away(
    start: Start, tmp_path: Path, authority: certificates.Authority, curl: str
) -> None:
    daemon = serve(
        start, tmp_path, Backend(start, "a"), listener(authority.issue("localhost"), more=', min_version: "1.3"')
    )
    url = f"https://localhost:{daemon.port}/x"
    assert ask(curl, url, "--cacert", authority.certificate, "--tls-max", "1.2")[0] != 0
    assert ask(curl, url, "--cacert", authority.certificate)[0] == 0


def test_plain_http_on_a_tls_port_hurts_nobody(
    start: Start, tmp_path: Path, authority: certificates.Authority, curl: str
) -> None:
    daemon = serve(start, tmp_path, Backend(start, "a"), listener(authority.issue("localhost")))
    ask(curl, f"http://localhost:{daemon.port}/x")
    assert ask(curl, f"https://localhost:{daemon.port}/x", "--cacert", authority.certificate)[0] == 0


@pytest.mark.parametrize(("tls", "expected"), [("ca: {ca}", "200"), ("", "502"), ("verify: false", "200")])
def test_https_backends_must_prove_who_they_are(
    start: Start,
    tmp_path: Path,
    authority: certificates.Authority,
    need: Callable[[str], str],
    curl: str,
    tls: str,
    expected: str,
) -> None:
    nginx = need("nginx")
    leaf = authority.issue("localhost")
    port = free_port()
    conf = tmp_path / "nginx.conf"
    conf.write_text(
        f"daemon off; pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off;\n"
        + "".join(
            f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {leaf.certificate}; ssl_certificate_key {leaf.key};"
        f' location / {{ return 200 "$ssl_server_name $request_uri"; }} }} }}'
    )
    start([nginx, "-p", tmp_path, "-c", conf, "-e", "stderr"], name="nginx").wait_for_port(port)
    block = tls.format(ca=authority.certificate)
    pool = f"{{backends: ['https://localhost:{port}'], tls: {{{block}}}}}"
    front = 'daemon:\n  listeners: ["127.0.0.1:0"]\n  access_log: {format: "off"}\n'
    daemon = start_daemon(start, tmp_path, f"{front}pools: {{web: {pool}}}\nroutes: [{{pool: web}}]\n")
    for _ in range(3):  # also over a kept connection
        answer = daemon.ask("/secret")
        assert str(answer.status) == expected
        assert expected != "200" or answer.body == b"localhost /secret"
