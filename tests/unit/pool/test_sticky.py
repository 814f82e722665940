"""What the values of cookies say of backends: ours, which say it all, and the application's, which are remembered."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.pool.scripted import address, block, pool
from wsgiproxy.config import schema
from wsgiproxy.errors import ConfigError
from wsgiproxy.pool.sticky import Found, Learned, Sessions, Signed, make_learned, read_key

KEY = b"a secret of some length"
NOBODYS = Found(None, False)
WEB = pool("a", "b")
A, B = WEB.backends


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.25

    def __call__(self) -> float:
        return self.now


def signed(key: bytes = KEY, name: str = "web", clock: Clock | None = None, **more: Any) -> Signed:
    given = schema.Sticky(**{"cookie": "c", "key": "unused", "ttl": 600.0, **more})
    return Signed(given, key, name, WEB.backends, clock or Clock())


def value_of(text: str) -> str:
    """The value of a Set-Cookie's text."""
    return text.partition("=")[2].partition(";")[0]


# --- ours -------------------------------------------------------------------------------------------------------------


def test_a_value_of_ours_means_the_same_to_everybody_who_has_the_key_and_nothing_to_anybody_else() -> None:
    value = value_of(signed().settle("", B))
    assert signed().find(value) == Found(B, False)
    assert signed(b"another secret of some length").find(value) == NOBODYS
    assert signed(name="api").find(value) == NOBODYS, "a pool knows its own clients only"


def test_a_value_of_ours_does_not_tell_the_address() -> None:
    value = value_of(signed().settle("", B))
    assert re.fullmatch("[A-Za-z0-9_-]{48}", value)
    other = value_of(signed(b"another secret of some length").settle("", B))
    assert value[8:24] != other[8:24], "not even as a hash that could be looked up"


def test_a_value_of_ours_ends_after_its_time_and_is_renewed_in_its_second_half() -> None:
    clock = Clock()
    ours = signed(clock=clock)
    value = value_of(ours.settle("", A))
    began = clock.now
    for seconds, found in [(299, (A, False)), (301, (A, True)), (599, (A, True)), (600, (None, False))]:
        clock.now = began + seconds
        assert ours.find(value) == found, seconds


def test_a_value_that_would_hold_much_longer_than_is_given_today_is_renewed() -> None:
    assert signed(ttl=60.0).find(value_of(signed().settle("", A))) == Found(A, True)
    assert signed(ttl=400.0).find(value_of(signed().settle("", A))) == Found(A, False), "a clock may be ahead"


def test_no_character_of_a_value_of_ours_can_be_changed() -> None:
    ours = signed()
    value = value_of(ours.settle("", A))
    for index, character in enumerate(value):
        forged = value[:index] + ("A" if character != "A" else "B") + value[index + 1 :]
        assert ours.find(forged) == NOBODYS, index


@given(st.one_of(st.text(max_size=60), st.text(min_size=48, max_size=48), st.binary(min_size=36, max_size=36)))
def test_whatever_a_client_sends_is_at_worst_nobodys(given: str | bytes) -> None:
    value = given if isinstance(given, str) else given.hex()[:48]
    assert signed().find(value) == NOBODYS


def test_a_backend_that_is_no_more_has_no_clients() -> None:
    given = schema.Sticky(cookie="c", key="unused", ttl=600.0)
    value = value_of(signed().settle("", B))
    assert Signed(given, KEY, "web", (A,), Clock()).find(value).backend is None


def test_a_backend_that_a_reload_has_added_meanwhile_can_be_named() -> None:
    (_, _, added) = pool("a", "b", "c").backends
    given = schema.Sticky(cookie="c", key="unused", ttl=600.0)
    value = value_of(signed().settle("", added))
    assert Signed(given, KEY, "web", (A, B, added), Clock()).find(value) == Found(added, False)


@pytest.mark.parametrize(
    ("more", "attributes"),
    [
        ({}, "; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"),
        ({"http_only": False, "same_site": "strict", "ttl": 1.5}, "; Path=/; Max-Age=2; SameSite=Strict"),
        (
            {"path": "/shop", "domain": "shop.example", "secure": True, "same_site": "none"},
            "; Path=/shop; Max-Age=600; Domain=shop.example; Secure; HttpOnly; SameSite=None",
        ),
    ],
)
def test_a_cookie_has_the_attributes_that_the_file_says(more: dict[str, Any], attributes: str) -> None:
    text = signed(**more).settle("", A)
    assert text == f"c={value_of(text)}{attributes}"


def test_a_key_is_read_from_a_file_without_the_space_around_it(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(" 0123456789 abcdef\n")
    assert read_key(str(file)) == b"0123456789 abcdef"


@pytest.mark.parametrize("text", [None, "too short\n"])
def test_a_key_file_of_no_use_is_named(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "key"
    if text is not None:
        file.write_text(text)
    reason = "cannot be read: no such file" if text is None else "holds 9 characters; a secret of at least 16"
    with pytest.raises(ConfigError, match=f"key {reason}") as raised:
        read_key(str(file))
    assert raised.value.key == "sticky.key_file"
    with pytest.raises(ConfigError, match="cannot be read: embedded null"):
        read_key("\0")


# --- the application's ------------------------------------------------------------------------------------------------


def test_the_sessions_used_last_are_known_and_no_more_than_may_be() -> None:
    sessions = Sessions()
    for name in "xyz":
        sessions.learn(name, address(name), 3, 0.0)
    assert sessions.find("x", 10.0, 1.0) == address("x")
    sessions.learn("w", address("w"), 3, 2.0)
    assert [sessions.find(name, 10.0, 3.0) for name in "wxyz"] == [address("w"), address("x"), None, address("z")]
    sessions.learn("v", address("v"), 1, 4.0)
    assert len(sessions) == 1, "a reload may allow fewer"


def test_a_session_that_is_not_used_for_long_is_forgotten() -> None:
    sessions = Sessions()
    sessions.learn("x", address("a"), 9, 0.0)
    assert sessions.find("x", 10.0, 9.0) == address("a")
    assert sessions.find("x", 10.0, 18.5) == address("a"), "each use counts"
    assert sessions.find("x", 10.0, 28.5) is None
    assert len(sessions) == 0


def learned(previous: Signed | Learned | None = None, web: Any = WEB, **more: Any) -> Learned:
    given = schema.Sticky(**{"cookie": "sid", "set_by": "application", **more})
    return make_learned(given, web.backends, web.roster, previous)


def test_who_set_a_value_has_its_client() -> None:
    known = learned()
    known.learn("x", B)
    assert known.find("x") == Found(B, False)
    assert known.find("y") == NOBODYS


def test_who_takes_over_a_known_session_has_its_client_from_then_on_and_an_unknown_one_is_not_learned() -> None:
    known = learned()
    known.learn("x", B)
    assert known.settle("x", A) == known.settle("y", A) == known.settle("", A) == ""
    assert known.find("x").backend is A
    assert known.find("y").backend is None
    assert len(known.sessions) == 1


def test_what_was_learned_survives_a_reload_unless_it_is_of_another_cookie() -> None:
    first = learned()
    first.learn("x", B)
    assert learned(first, ttl=5.0).find("x").backend is B
    assert learned(first, pool("a")).find("x").backend is None
    assert learned(first, cookie="other").find("x").backend is None
    assert learned(signed()).find("x").backend is None


def test_a_pool_without_sticky_clients_has_none_of_this() -> None:
    assert WEB.sticky is None
    assert block("a").sticky is None
