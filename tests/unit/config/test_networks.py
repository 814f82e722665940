"""Networks: what is one, and who is in it."""

from __future__ import annotations

import pytest

from wsgiproxy.config import networks
from wsgiproxy.config.networks import Networks, parse_ip, parse_network


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("unix:", "unix:"),
    ],
)
def test_a_network_has_one_text(text: str, canonical: str) -> None:
    assert parse_network(text) == canonical


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ""),
        ("10.0.0.1/8", " (10.0.0.1/8 has host bits set)"),
        ("10.0.0.0/33", ""),
        ("shop.example", ""),
        ("unix:/run/a.sock", ""),
        ("10.0.0.0/8/8", ""),
    ],
)
def test_what_is_no_network_is_refused_with_what_is_expected(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as refusal:
        parse_network(text)
    expected = f'"{text}" is not a network{reason}; expected 10.0.0.0/8, 2001:db8::/32 or unix:'
    assert str(refusal.value) == expected


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("192.0.2.1:80", None),
        ("[::1]", None),
        ("192.0.2.01", None),
        ("unknown", None),
        ("", None),
        ("1", None),
    ],
)
def test_an_address_is_an_address_and_nothing_else(text: str, address: str | None) -> None:
    ip = parse_ip(text)
    assert (None if ip is None else str(ip)) == address


@pytest.mark.parametrize(
    ("peer", "inside"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.0.0.0", False),
        ("2001:db8::7", True),
        ("2001:db9::7", False),
        ("fe80::1%eth0", True),
        ("", False),
        ("unknown", False),
        ("10.0.0.1:80", False),
    ],
)
def test_a_peer_is_in_any_of_the_networks_or_in_none(peer: str, inside: bool) -> None:
    peers = Networks(["10.0.0.0/8", "2001:db8::/32", "fe80::/10"])
    assert [peer in peers for _ in range(2)] == [inside, inside]


def test_peers_on_unix_sockets_are_named_by_their_own_word() -> None:
    assert "" in Networks(["unix:"])
    assert "10.0.0.1" not in Networks(["unix:"])
    assert "" not in Networks(["0.0.0.0/0", "::/0"])


def test_no_networks_hold_nobody_and_are_false() -> None:
    assert not Networks([])
    assert "10.0.0.1" not in Networks([])
    assert Networks(["unix:"])
    assert Networks(["::1/128"])


def test_verdicts_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "_MAX_REMEMBERED", 10)
    peers = Networks(["10.0.0.0/24"])
    for number in range(100):
        assert (f"10.0.{number % 2}.{number}" in peers) is (number % 2 == 0)
        assert len(peers._verdicts) <= 10


def test_it_shows_what_it_holds() -> None:
    assert repr(Networks(["10.0.0.0/8", "unix:"])) == "<Networks 10.0.0.0/8, unix:>"
    assert repr(Networks([])) == "<Networks none>"
