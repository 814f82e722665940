"""The door to the file: what cannot be read, where a key stands, and that a long file is quickly read."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import yaml

from wsgiproxy.config import loader, schema
from wsgiproxy.config.kinds import Block
from wsgiproxy.config.loader import load, loads
from wsgiproxy.errors import ConfigError, InvalidConfigError

ROOT = Path(__file__).resolve().parents[3]
TEXT = """\
pools:
  web:
    backends:
      - http://127.0.0.1:8001
      - address: app:shop:app
routes:
  - match: {host: a.example, path: /api}
    pool: web
"""


def refusal(path: Path | str) -> ConfigError:
    with pytest.raises(InvalidConfigError) as refused:
        load(path)
    (mistake,) = refused.value.mistakes
    return mistake


def test_a_file_is_loaded_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "wsgiproxy.yaml"
    file.write_text(TEXT)
    loaded = load(file)
    assert loaded.file == str(file)
    assert loaded.config == loads(TEXT, "other").config
    assert TEXT not in repr(loaded)


@pytest.mark.parametrize(
    ("key_path", "position"),
    [
        ("", (1, 1)),
        ("pools.web", (3, 5)),
        ("pools.web.backends[0]", (4, 9)),
        ("pools.web.backends[0].address", (4, 9)),
        ("pools.web.backends[1]", (5, 9)),
        ("pools.web.backends[1].address", (5, 18)),
        ("pools.web.timeouts.read", (3, 5)),
        ("routes[0].match[0].path", (7, 36)),
        ("routes[0].match.path.prefix", (7, 36)),
        ("daemon", (1, 1)),
    ],
)
def test_every_key_has_a_position_or_that_of_what_is_around_it(key_path: str, position: tuple[int, int]) -> None:
    assert loads(TEXT, "f.yaml").position(key_path) == position


def test_an_empty_file_has_a_first_line_too() -> None:
    assert loads("", "f.yaml").position("pools.web") == (1, 1)


def test_later_stages_report_with_the_place_in_the_file() -> None:
    error = loads(TEXT, "f.yaml").error("pools.web.backends[1]", "no module named shop")
    assert str(error) == "f.yaml:5:9: pools.web.backends[1]: no module named shop"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "none.yaml"
    assert str(refusal(file)) == f"{file}: cannot be read: no such file or directory"


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert str(refusal(tmp_path)) == f"{tmp_path}: cannot be read: is a directory"


def test_why_a_file_cannot_be_opened_is_said(tmp_path: Path) -> None:
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    assert str(refusal(loop)) == f"{loop}: cannot be read: too many levels of symbolic links"


def test_a_path_with_a_nul_is_refused() -> None:
    assert "cannot be read" in str(refusal("a\0b"))


def test_a_file_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "MAX_FILE_BYTES", 1024 * 1024)
    assert str(refusal("/dev/zero")) == "/dev/zero: cannot be read: longer than 1 MiB"


@pytest.mark.parametrize(
    ("data", "place"),
    [(b"a: \xff", ":1:4: not UTF-8 text: byte 0xff"), ("é: 1\nb: é\xe9".encode()[:-1] + b"\xff", ":2:5: not UTF-8")],
)
def test_a_file_in_another_encoding_is_refused_with_its_first_bad_byte(tmp_path: Path, data: bytes, place: str) -> None:
    file = tmp_path / "latin.yaml"
    file.write_bytes(data)
    assert str(refusal(file)).startswith(f"{file}{place}")


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "bom.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert load(file).position("pools.web") == (3, 5)


def test_lines_may_end_as_in_dos(tmp_path: Path) -> None:
    file = tmp_path / "dos.yaml"
    file.write_bytes(TEXT.replace("\n", "\r\n").encode())
    assert load(file).position("routes[0].pool") == (8, 11)


@pytest.mark.parametrize("name", ["wsgiproxy.yaml", "full.yaml"])
def test_the_examples_are_right(name: str) -> None:
    assert load(ROOT / "config" / name).config.routes


def test_the_full_example_shows_every_key() -> None:
    text = (ROOT / "config" / "full.yaml").read_text()
    for block in Block.__subclasses__():
        for key in block.__struct_fields__:
            assert f"{key}:" in text, f"{block.__name__}.{key}"


def test_the_full_example_shows_the_defaults() -> None:
    text = (ROOT / "config" / "full.yaml").read_text()
    config = loads(re.sub(r"(?m)^#(?=   )", " ", text), "full.yaml").config  # with the listener that is a comment
    first, second, secure = config.daemon.listeners
    assert first == schema.Listener(address="127.0.0.1:8080")
    assert second == schema.Listener(address="[::1]:8080")
    assert secure.tls == schema.ListenerTls(
        certificates=(
            schema.Certificate(certificate="/etc/ssl/shop.pem", key="/etc/ssl/shop.key"),
            schema.Certificate(certificate="/etc/ssl/other.pem"),
        ),
        client_certificates=schema.ClientCertificates(ca="/etc/ssl/clients.pem"),
    )
    assert config.forwarding == schema.Forwarding()
    assert (config.daemon.workers, config.daemon.access_log, config.daemon.drain_timeout) == (
        1,
        schema.AccessLog(),
        30.0,
    )
    pool = config.pools["web"]
    assert pool == schema.Pool(
        backends=pool.backends,
        health_check=schema.HealthCheck(),
        slow_start=schema.SlowStart(duration=30.0),
        sticky=schema.Sticky(cookie="SHOP_BACKEND", key="not this one, but a secret"),
    )
    assert pool.backends[0] == schema.Backend(address="http://127.0.0.1:8001")
    assert config.pools["secure"] == schema.Pool(backends=config.pools["secure"].backends)
    route, plain = config.routes[0], schema.Route(pool="web")
    assert (route.upgrades, route.body_bytes, route.trailers) == (plain.upgrades, plain.body_bytes, plain.trailers)


def test_ten_thousand_routes_are_read_in_good_time() -> None:
    pools = "".join(
        f"  pool{number}: {{backends: [{', '.join(f'http://10.0.{number}.{host}:80' for host in range(10))}]}}\n"
        for number in range(100)
    )
    routes = "".join(
        f"  - {{match: {{host: h{number}.example, path: /{number}}}, pool: pool{number % 100}}}\n"
        for number in range(10_000)
    )
    start = time.process_time()
    config = loads(f"pools:\n{pools}routes:\n{routes}", "f.yaml").config
    took = time.process_time() - start
    assert len(config.routes) == 10_000
    assert sum(len(pool.backends) for pool in config.pools.values()) == 1000
    assert took < (2.0 if yaml.__with_libyaml__ else 20.0), "seconds of processor time; 0.4 is usual with libyaml"
