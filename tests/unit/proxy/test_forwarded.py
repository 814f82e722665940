from __future__ import annotations

from typing import Any

import pytest

from tests.unit.proxy.journeys import environ_of
from wsgiproxy.proxy.forwarded import forwarded_fields
from wsgiproxy.proxy.request import head_of, upstream_request
from wsgiproxy.routing.path import normalize_path


def said(prefix: str = "", **more: Any) -> dict[str, str]:
    environ = environ_of(**more)
    return dict(forwarded_fields(environ, head_of(environ), prefix))


def test_a_backend_is_told_of_the_client_the_scheme_the_host_and_the_port() -> None:
    assert said() == {
        "X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "shop.example",
        "X-Forwarded-Port": "80",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scheme", "host", "port"),
    [
        ("http", "shop.example:8080", "8080"),
        ("https", "shop.example", "443"),
        ("https", "shop.example:8443", "8443"),
        ("http", "[::1]", "80"),
        ("http", "[::1]:81", "81"),
        ("http", "192.0.2.1", "80"),
        ("http", "shop.example:", "80"),
        ("http", "host7", "80"),
    ],
)
def test_the_port_is_the_one_that_the_client_asked_for(scheme: str, host: str, port: str) -> None:
    fields = said(HTTP_HOST=host, **{"wsgi.url_scheme": scheme})
    assert (fields["X-Forwarded-Port"], fields["X-Forwarded-Proto"], fields["X-Forwarded-Host"]) == (port, scheme, host)


def test_what_is_not_known_is_not_said() -> None:
    assert "X-Forwarded-For" not in said(REMOTE_ADDR=None)
    assert "X-Forwarded-For" not in said(REMOTE_ADDR="")
    assert "X-Forwarded-Host" not in said(HTTP_HOST=None)
    assert "X-Forwarded-Prefix" not in said()
    assert said("/api")["X-Forwarded-Prefix"] == "/api"


def test_what_a_client_says_of_itself_is_replaced_never_appended_to() -> None:
    forged: dict[str, Any] = {
        "HTTP_X_FORWARDED_FOR": "9.9.9.9", "HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_HOST": "evil",
        "HTTP_X_FORWARDED_PORT": "1", "HTTP_X_FORWARDED_PREFIX": "/evil", "HTTP_X_FORWARDED_USER": "root",
        "HTTP_FORWARDED": "for=9.9.9.9", "HTTP_X_REAL_IP": "9.9.9.9",
    }  # fmt: skip
    environ = environ_of(**forged)
    head = head_of(environ)
    path = normalize_path(head.path)
    assert path is not None
    request = upstream_request(environ, head, path, 0)
    assert dict(request.fields) == said()
    assert len(request.fields) == 4
