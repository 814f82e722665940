from __future__ import annotations

import datetime
import os
import ssl
from pathlib import Path

import pytest

from tests.certificates import DAYS, Authority, openssl, request
from wsgiproxy.errors import ConfigError
from wsgiproxy.transport import certificates as module
from wsgiproxy.transport.certificates import Facts, load_authorities, load_certificate, read_facts, signature


@pytest.fixture(name="authority")
def fixture_authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def facts_of(path: Path) -> Facts:
    return read_facts(ssl.PEM_cert_to_DER_cert(path.read_text()))


def test_a_certificate_says_which_names_it_is_for_and_how_long(authority: Authority) -> None:
    facts = facts_of(authority.issue("A.example", "127.0.0.1", "*.b.example", "::1").certificate)
    assert facts.names == ("a.example", "*.b.example")
    left = facts.expires_at - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=DAYS - 1) < left <= datetime.timedelta(days=DAYS)


def test_a_certificate_without_names_has_none(authority: Authority) -> None:
    assert facts_of(authority.certificate).names == ()


def test_other_kinds_of_keys_and_dates_after_2049_are_read(tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    request(
        "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/C=DE/O=A/CN=a", "-addext", "subjectAltName=DNS:a,DNS:b",
        "-addext", "nameConstraints=permitted;DNS:a", "-days", 20_000, "-out", certificate, "-keyout", key,
    )  # fmt: skip
    facts = facts_of(certificate)
    assert facts.names == ("a", "b")
    assert facts.expires_at.year > 2049


def test_what_is_no_certificate_is_an_error_and_never_a_loop(authority: Authority) -> None:
    der = ssl.PEM_cert_to_DER_cert(authority.certificate.read_text())
    for size in range(len(der)):
        with pytest.raises((ValueError, IndexError)):
            read_facts(der[:size])


def test_a_file_is_another_after_every_change(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert signature(str(path)) is None
    path.write_text("a")
    first = signature(str(path))
    assert first == signature(str(path)) is not None
    (tmp_path / "b").write_text("b")
    os.replace(tmp_path / "b", path)
    assert signature(str(path)) != first


def test_a_weak_key_is_refused_where_it_is_loaded(tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    openssl("genrsa", "-out", key, 512)
    request("-x509", "-key", key, "-subj", "/CN=a", "-days", 1, "-out", certificate)
    with pytest.raises(ConfigError, match=f"{certificate} cannot be used: ee key too small") as caught:
        load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), str(certificate), str(key), "tls")
    assert caught.value.key == "tls.certificate"


@pytest.fixture(name="renewer")
def fixture_renewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who takes each file away right after it was looked into, as between an unlink and a write."""
    look = module._read

    def look_and_lose(path: str, config_key: str) -> str:
        text = look(path, config_key)
        os.unlink(path)
        return text

    monkeypatch.setattr(module, "_read", look_and_lose)


@pytest.mark.usefixtures("renewer")
def test_a_file_that_goes_while_it_is_loaded_is_a_mistake_as_any_other(authority: Authority) -> None:
    leaf = authority.issue("a.example")
    with pytest.raises(ConfigError, match=f"{leaf.certificate} cannot be used: No such file or directory$") as caught:
        load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), str(leaf.certificate), str(leaf.key), "tls")
    assert caught.value.key == "tls.certificate"
    believed = str(authority.certificate)
    with pytest.raises(ConfigError, match=f"{believed} cannot be used: No such file or directory$") as caught:
        load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), believed, "tls.ca")
    assert caught.value.key == "tls.ca"
