"""Addresses: what is one, what is none, and that two spellings of one address have one text."""

from __future__ import annotations

import pytest

from wsgiproxy.config.address import (
    AppAddress,
    BackendAddress,
    HttpAddress,
    ListenAddress,
    TcpAddress,
    UnixAddress,
    parse_backend_address,
    parse_host,
    parse_listen_address,
)

EXPECTED = "expected http://host:port, https://host:port, unix:/path or app:module:callable"


@pytest.mark.parametrize(
    ("text", "address", "canonical"),
    [
        ("http://127.0.0.1:8001", HttpAddress("127.0.0.1", 8001), "http://127.0.0.1:8001"),
        ("http://h", HttpAddress("h", 80), "http://h:80"),
        ("HTTP://H:80", HttpAddress("h", 80), "http://h:80"),
        ("http://shop_app:5000", HttpAddress("shop_app", 5000), "http://shop_app:5000"),
        ("http://[::1]:8001", HttpAddress("::1", 8001), "http://[::1]:8001"),
        ("http://[0:0:0:0:0:0:0:1]", HttpAddress("::1", 80), "http://[::1]:80"),
        ("https://h", HttpAddress("h", 443, "https"), "https://h:443"),
        ("HTTPS://[::1]:8443", HttpAddress("::1", 8443, "https"), "https://[::1]:8443"),
        ("unix:/run/app.sock", UnixAddress("/run/app.sock"), "unix:/run/app.sock"),
        ("unix:///run//app.sock", UnixAddress("/run/app.sock"), "unix:/run/app.sock"),
        ("app:shop.wsgi:site.app", AppAddress("shop.wsgi", "site.app"), "app:shop.wsgi:site.app"),
        ("app:shop", AppAddress("shop", "application"), "app:shop:application"),
    ],
)
def test_a_backend_address_is_parsed_into_its_canonical_form(
    text: str, address: BackendAddress, canonical: str
) -> None:
    parsed = parse_backend_address(text)
    assert parsed == address
    assert type(parsed) is type(address)
    assert str(parsed) == canonical
    assert parse_backend_address(canonical) == address


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("h:80", f'"h:80" is not an address; {EXPECTED}'),
        ("", f'"" is not an address; {EXPECTED}'),
        ("https://h/", '"https://h/" must not have a path ("/"); expected https://host:port and nothing more'),
        ("https://:443", '"https://:443" has no host; expected https://host:port'),
        ("uwsgi://h:1", f'"uwsgi://h:1" is not supported yet (uwsgi://); {EXPECTED}'),
        ("ftp://h", f'"ftp://h" has an unknown scheme (ftp://); {EXPECTED}'),
        ("http://h/", '"http://h/" must not have a path ("/"); expected http://host:port and nothing more'),
        ("http://h?a", '"http://h?a" must not have a query ("?"); expected http://host:port and nothing more'),
        ("http://h#a", '"http://h#a" must not have a fragment ("#"); expected http://host:port and nothing more'),
        ("http://u@h", '"http://u@h" must not have a user name ("@"); expected http://host:port and nothing more'),
        ("http://:80", '"http://:80" has no host; expected http://host:port'),
        ("http://", '"http://" has no host; expected http://host:port'),
        ("http://h:0", '"http://h:0" has a bad port; expected a number from 1 to 65535'),
        ("http://h:65536", '"http://h:65536" has a bad port; expected a number from 1 to 65535'),
        ("http://h:", '"http://h:" has a bad port; expected a number from 1 to 65535'),
        ("http://h:٣", '"http://h:٣" has a bad port; expected a number from 1 to 65535'),
        (
            "http://::1:80",
            '"http://::1:80" must be host:port; an IPv6 address stands in brackets, as in "[::1]:8080"',
        ),
        ("http://[::1", '"http://[::1" must be host:port; an IPv6 address stands in brackets, as in "[::1]:8080"'),
        ("http://[x]", '"[x]" is not an IPv6 address in brackets'),
        ("http://a b", '"a b" is not a host name or an IP address'),
        ("http://a\nb", '"a\\nb" is not a host name or an IP address'),
        ("http://h\n", '"h\\n" is not a host name or an IP address'),
        ("http://1.2.3.999", '"1.2.3.999" is not an IPv4 address'),
        ("http://bücher.example", '"bücher.example" is not ASCII; write an international name in its xn-- form'),
        ("unix:app.sock", '"unix:app.sock" must have an absolute path; expected unix:/path'),
        ("unix:", '"unix:" must have an absolute path; expected unix:/path'),
        ("unix:/", '"unix:/" is not the path of a socket; expected unix:/path'),
        ("unix:/a\0b", '"unix:/a\\u0000b" is not the path of a socket; expected unix:/path'),
        ("app:", '"app:" does not name an application; expected app:module:callable, as in app:shop.wsgi:app'),
        (
            "app:shop:make()",
            '"app:shop:make()" does not name an application; expected app:module:callable, as in app:shop.wsgi:app',
        ),
        ("app:a..b", '"app:a..b" does not name an application; expected app:module:callable, as in app:shop.wsgi:app'),
    ],
)
def test_a_bad_backend_address_is_refused_with_what_is_expected(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as refusal:
        parse_backend_address(text)
    assert str(refusal.value) == problem


@pytest.mark.parametrize(
    ("text", "address", "canonical"),
    [
        ("127.0.0.1:8080", TcpAddress("127.0.0.1", 8080), "127.0.0.1:8080"),
        ("Localhost:0", TcpAddress("localhost", 0), "localhost:0"),
        ("[::]:80", TcpAddress("::", 80), "[::]:80"),
        (":8080", TcpAddress("", 8080), ":8080"),
        ("*:8080", TcpAddress("", 8080), ":8080"),
        ("unix:/run/w.sock", UnixAddress("/run/w.sock"), "unix:/run/w.sock"),
    ],
)
def test_a_listen_address_is_parsed_into_its_canonical_form(text: str, address: ListenAddress, canonical: str) -> None:
    assert parse_listen_address(text) == address
    assert str(parse_listen_address(text)) == canonical


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("8080", '"8080" has no port; expected host:port, [v6]:port, :port or unix:/path'),
        ("[::1]", '"[::1]" has no port; expected host:port, [v6]:port, :port or unix:/path'),
        ("http://h:1", '"http://h:1" is no place to listen; expected host:port, [v6]:port, :port or unix:/path'),
        ("app:a:b", '"app:a:b" is no place to listen; expected host:port, [v6]:port, :port or unix:/path'),
        ("h:http", '"h:http" has a bad port; expected a number from 0 to 65535'),
        ("a/b:80", '"a/b" is not a host name or an IP address'),
    ],
)
def test_a_bad_listen_address_is_refused_with_what_is_expected(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as refusal:
        parse_listen_address(text)
    assert str(refusal.value) == problem


def test_the_path_of_a_socket_has_at_most_107_bytes() -> None:
    assert parse_backend_address("unix:/" + "x" * 106) == UnixAddress("/" + "x" * 106)
    for path in ("x" * 107, "é" * 54):
        with pytest.raises(ValueError, match="at most 107 bytes"):
            parse_backend_address("unix:/" + path)


@pytest.mark.parametrize(
    ("text", "authority"),
    [("http://h", "h"), ("http://h:8001", "h:8001"), ("http://[::1]", "[::1]"), ("http://[::1]:81", "[::1]:81")],
)
def test_the_host_field_leaves_out_the_port_80(text: str, authority: str) -> None:
    address = parse_backend_address(text)
    assert isinstance(address, HttpAddress)
    assert address.authority == authority


@pytest.mark.parametrize("host", ["", "-a", "a-", "a..b", ".a", "a.", "a" * 64, ".".join(["a" * 60] * 5), "a\n", "[a"])
def test_what_no_host_can_be_called_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_host(host)
