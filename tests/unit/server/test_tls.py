from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path

import gevent.ssl
import pytest

from tests.certificates import Authority, Leaf, openssl
from tests.unit.transport.pairs import LATE
from tests.unit.transport.tls_pairs import TlsPair, client_context
from wsgiproxy.config import schema
from wsgiproxy.errors import ClientDisconnectedError, ConfigError
from wsgiproxy.server.tls import ListenerContexts, distinguished_name, tls_environ


@pytest.fixture(name="authority")
def fixture_authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def entry(leaf: Leaf) -> schema.Certificate:
    return schema.Certificate(certificate=str(leaf.certificate), key=str(leaf.key))


def contexts_of(*leaves: Leaf, clients: schema.ClientCertificates | None = None) -> ListenerContexts:
    certificates = tuple(entry(leaf) for leaf in leaves)
    return ListenerContexts(schema.ListenerTls(certificates=certificates, client_certificates=clients))


def connected(contexts: ListenerContexts, client: ssl.SSLContext, name: str = "a.example") -> TlsPair:
    pair = TlsPair("greenlet", contexts.context, server_side=True)
    try:
        pair.shake_hands(client, name)
    except BaseException:
        pair.close()
        raise
    return pair


def shown(contexts: ListenerContexts, name: str) -> str:
    """The first name of the certificate that a client gets who asks for ``name``."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    pair = connected(contexts, context, name)
    der = pair.peer.getpeercert(binary_form=True)
    pair.close()
    assert der is not None
    return ssl.DER_cert_to_PEM_cert(der)


def replace(old: Leaf, new: Leaf) -> None:
    os.replace(new.key, old.key)
    os.replace(new.certificate, old.certificate)


# --- which certificate ------------------------------------------------------------------------------------------------


def test_each_name_gets_its_certificate_and_any_other_the_first(authority: Authority) -> None:
    leaves = [authority.issue("a.example"), authority.issue("B.example", "c.example"), authority.issue("*.d.example")]
    texts = [leaf.certificate.read_text() for leaf in leaves]
    contexts = contexts_of(*leaves)
    for name, index in (
        ("a.example", 0), ("b.example", 1), ("C.example", 1), ("x.d.example", 2),
        ("d.example", 0), ("x.y.d.example", 0), ("other.example", 0), ("localhost", 0), ("", 0),
    ):  # fmt: skip
        assert shown(contexts, name) == texts[index], name


def test_an_exact_name_beats_a_wildcard_and_the_first_of_two_wins(authority: Authority) -> None:
    wild, exact, again = (authority.issue(name) for name in ("*.example", "a.example", "a.example"))
    contexts = contexts_of(wild, exact, again)
    assert shown(contexts, "a.example") == exact.certificate.read_text()
    assert shown(contexts, "b.example") == wild.certificate.read_text()


def test_a_key_may_be_in_the_file_of_its_certificate(authority: Authority) -> None:
    leaf = authority.issue("a.example")
    leaf.certificate.write_text(leaf.certificate.read_text() + leaf.key.read_text())
    block = schema.ListenerTls(certificates=(schema.Certificate(certificate=str(leaf.certificate)),))
    pair = connected(ListenerContexts(block), client_context(authority))
    pair.close()


def test_old_versions_renegotiation_and_compression_are_off(authority: Authority) -> None:
    leaf = authority.issue("a.example")
    context = contexts_of(leaf).context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    only_new = ListenerContexts(schema.ListenerTls(certificates=(entry(leaf),), min_version="1.3"))
    client = client_context(authority)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ClientDisconnectedError, match="unsupported protocol"):
        connected(only_new, client)


def test_http_1_1_is_agreed_on(authority: Authority) -> None:
    client = client_context(authority)
    client.set_alpn_protocols(["h2", "http/1.1"])
    for leaves in ([authority.issue("a.example")], [authority.issue("b.example"), authority.issue("a.example")]):
        pair = connected(contexts_of(*leaves), client)
        assert pair.peer.selected_alpn_protocol() == "http/1.1"
        pair.close()


# --- files that are of no use -----------------------------------------------------------------------------------------

Spoil = Callable[[Leaf, Authority], None]


def encrypt(leaf: Leaf, _authority: Authority) -> None:
    openssl("ec", "-in", leaf.key, "-aes128", "-passout", "pass:secret", "-out", leaf.key)


@pytest.mark.parametrize(
    ("spoil", "key", "problem"),
    [
        (lambda leaf, _: leaf.certificate.unlink(), "certificate", "{certificate} cannot be read: No such file"),
        (lambda leaf, _: leaf.key.unlink(), "key", "{key} cannot be read: No such file"),
        (lambda leaf, _: leaf.key.write_text("x"), "key", "{key} holds no private key"),
        (lambda leaf, _: leaf.certificate.write_bytes(b"\xff"), "certificate", "{certificate} holds no certificate"),
        (
            lambda leaf, _: leaf.certificate.write_text(leaf.key.read_text()),
            "certificate", "{certificate} holds no certificate",
        ),
        (
            lambda leaf, authority: leaf.key.write_text(authority.issue("b").key.read_text()),
            "key", "{key} holds the key of another certificate than {certificate}",
        ),
        (
            lambda leaf, _: leaf.certificate.write_text(leaf.certificate.read_text().replace("\nMI", "\nMM")),
            "certificate", "{certificate} cannot be used",
        ),
        (encrypt, "key", "{key} is encrypted"),
    ],
)  # fmt: skip
def test_a_file_of_no_use_is_named_with_its_key(authority: Authority, spoil: Spoil, key: str, problem: str) -> None:
    good, bad = authority.issue("a.example"), authority.issue("b.example")
    spoil(bad, authority)
    with pytest.raises(ConfigError) as caught:
        contexts_of(good, bad)
    assert caught.value.key == f"tls.certificates[1].{key}"
    assert caught.value.problem.startswith(problem.format(certificate=bad.certificate, key=bad.key))


def test_a_certificate_without_any_key_is_a_mistake_of_its_own(authority: Authority) -> None:
    leaf = authority.issue("a.example")
    with pytest.raises(ConfigError, match="holds no private key; name the file that does: key") as caught:
        ListenerContexts(schema.ListenerTls(certificates=(schema.Certificate(certificate=str(leaf.certificate)),)))
    assert caught.value.key == "tls.certificates[0].certificate"


def test_authorities_of_no_use_are_named_with_their_key(authority: Authority, tmp_path: Path) -> None:
    leaf = authority.issue("a.example")
    for text in (None, "nothing"):
        path = tmp_path / "ca.pem"
        if text is not None:
            path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            contexts_of(leaf, clients=schema.ClientCertificates(ca=str(path)))
        assert caught.value.key == "tls.client_certificates.ca"


def test_a_certificate_that_has_expired_is_a_warning(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    leaf = authority.issue("a.example", days=-1)
    contexts_of(leaf)
    assert f"{leaf.certificate}: the certificate expired on 20" in caplog.text


# --- new certificates -------------------------------------------------------------------------------------------------


def test_new_files_are_for_new_handshakes_and_open_connections_go_on(authority: Authority) -> None:
    old, new = authority.issue("a.example"), authority.issue("a.example")
    text = new.certificate.read_text()
    contexts = contexts_of(old)
    assert contexts.reload_if_changed() is False
    pair = connected(contexts, client_context(authority))
    replace(old, new)
    assert contexts.reload_if_changed() is True
    assert contexts.reload_if_changed() is False
    assert shown(contexts, "a.example") == text
    pair.stream.send_all(b"still here", LATE)
    assert pair.peer.recv(100) == b"still here"
    pair.close()


def test_new_files_of_no_use_leave_the_old_ones_and_are_complained_about_from_the_second_look_on(
    authority: Authority,
) -> None:
    leaf, new = authority.issue("a.example"), authority.issue("a.example")
    text = leaf.certificate.read_text()
    contexts = contexts_of(leaf)
    os.replace(new.key, leaf.key)
    assert contexts.reload_if_changed() is False  # half of a pair, perhaps
    for _ in range(2):
        with pytest.raises(ConfigError, match="another certificate"):
            contexts.reload_if_changed()
    assert shown(contexts, "a.example") == text
    os.replace(new.certificate, leaf.certificate)
    assert contexts.reload_if_changed() is True


def test_files_that_come_back_as_they_were_are_no_news(authority: Authority, tmp_path: Path) -> None:
    leaf = authority.issue("a.example")
    contexts = contexts_of(leaf)
    os.rename(leaf.key, tmp_path / "aside")
    assert contexts.reload_if_changed() is False
    os.rename(tmp_path / "aside", leaf.key)
    assert contexts.reload_if_changed() is False


# --- what applications are told ---------------------------------------------------------------------------------------


def test_applications_are_told_of_version_cipher_and_name(authority: Authority) -> None:
    pair = connected(contexts_of(authority.issue("a.example")), client_context(authority))
    assert tls_environ(pair.stream) == {
        "wsgi.url_scheme": "https",
        "HTTPS": "on",
        "SSL_PROTOCOL": "TLSv1.3",
        "SSL_CIPHER": "TLS_AES_256_GCM_SHA384",
        "SSL_TLS_SNI": "a.example",
    }
    pair.close()


def test_applications_are_told_who_the_client_is(authority: Authority) -> None:
    clients = schema.ClientCertificates(ca=str(authority.certificate))
    contexts = contexts_of(authority.issue("a.example"), clients=clients)
    mine = authority.issue("somebody", organization="Éa, Inc")
    client = client_context(authority)
    with pytest.raises(ClientDisconnectedError, match="did not return a certificate"):
        connected(contexts, client)
    client.load_cert_chain(mine.certificate, mine.key)
    pair = connected(contexts, client)
    environ = tls_environ(pair.stream)
    assert environ["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert environ["SSL_CLIENT_S_DN"] == "CN=somebody,O=\\C3\\89a\\, Inc"
    assert environ["SSL_CLIENT_I_DN"] == "CN=Throw-away Root"
    assert int(environ["SSL_CLIENT_M_SERIAL"], 16) > 0
    assert environ["SSL_CLIENT_CERT"] == mine.certificate.read_text()
    pair.close()


def test_a_certificate_may_be_optional_but_not_a_stranger_s(authority: Authority, tmp_path: Path) -> None:
    clients = schema.ClientCertificates(ca=str(authority.certificate), required=False)
    contexts = contexts_of(authority.issue("a.example"), clients=clients)
    client = client_context(authority)
    pair = connected(contexts, client)
    assert tls_environ(pair.stream)["SSL_CLIENT_VERIFY"] == "NONE"
    pair.close()
    (tmp_path / "elsewhere").mkdir()
    stranger = Authority(tmp_path / "elsewhere", "Somebody Else").issue("somebody")
    client.load_cert_chain(stranger.certificate, stranger.key)
    with pytest.raises(ClientDisconnectedError, match="certificate verify failed"):
        connected(contexts, client)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ('a"b+c', 'a\\"b\\+c'),
        ("#1", "\\#1"),
        (" x ", "\\ x\\ "),
        (" ", "\\ "),
        ("a\r\nb", "a\\0D\\0Ab"),
    ],
)
def test_names_cannot_be_mistaken_for_others(value: str, text: str) -> None:
    name = ((("countryName", "DE"),), (("commonName", value), ("other", "x")))
    assert distinguished_name(name) == f"CN={text}+other=x,C=DE"


def test_names_are_heard_where_gevent_has_taken_the_place_of_ssl(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = [authority.issue("a.example"), authority.issue("b.example")]
    with monkeypatch.context() as patched:
        patched.setattr(ssl, "SSLContext", gevent.ssl.SSLContext)
        contexts = contexts_of(*leaves)
    assert shown(contexts, "b.example") == leaves[1].certificate.read_text()
