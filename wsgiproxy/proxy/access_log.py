"""One line per exchange: combined (Apache's, and what we add behind it) or JSON.

The rule of the room: a line is built once, from facts that the exchange has collected; nothing that a client sent can
end a line or a quoted field. Where lines go is the business of whoever gives the ``write`` function.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import msgspec

from wsgiproxy.http1.parser import is_plain
from wsgiproxy.proxy.exchange import Exchange, FailedAttempt

_encode_json = msgspec.json.Encoder().encode


def formatter(name: str, write: Callable[[str], None]) -> Callable[[Exchange], None] | None:
    """What logs an exchange in the format ``combined`` or ``json`` through ``write``; None for ``off``."""
    if name == "off":
        return None
    line = combined_line if name == "combined" else json_line
    return lambda exchange: write(line(exchange))


def combined_line(exchange: Exchange) -> str:
    """Apache's combined format, and behind it what the proxy did.

    That is: route, pool, backend, attempts; seconds in the queue, to connect, to the head, in all; why it ended
    (``errors.ProxyError.reason``, ``done`` or ``tunnel_timeout``); and the attempts that failed, each as
    ``backend=reason/seconds``, with commas between them.
    """
    head, environ = exchange.head, exchange.environ
    if head is None:
        request, referer, agent = "-", "-", "-"
    else:
        request = f"{head.method} {head.target} {head.version}"
        referer = head.environ.get("HTTP_REFERER", "-")
        agent = head.environ.get("HTTP_USER_AGENT", "-")
        if not is_plain(f"{request}{referer}{agent}"):
            request, referer, agent = _quoted(request), _quoted(referer), _quoted(agent)
    return (
        f"{exchange.address or '-'} - {_word(environ.get('REMOTE_USER'))} [{_local_time(int(time.time()))}] "
        f'"{request}" {exchange.status} {exchange.bytes_sent} "{referer}" "{agent}" '
        f"{_word(exchange.route)} {exchange.pool or '-'} {exchange.backend or '-'} {exchange.attempts} "
        f"{_seconds(exchange.queue_seconds)} {_seconds(exchange.connect_seconds)} {_seconds(_first_byte(exchange))} "
        f"{_seconds(exchange.ended_at - exchange.started_at)} {exchange.reason} "
        f"{'-' if exchange.failures is None else _failed(exchange.failures)}"
    )


def json_line(exchange: Exchange) -> str:
    """The same facts as one JSON object."""
    head, environ = exchange.head, exchange.environ
    record = {
        "time": time.time(),
        "client": exchange.address or None,
        "user": environ.get("REMOTE_USER") or None,
        "method": head.method if head is not None else None,
        "target": head.target if head is not None else None,
        "protocol": head.version if head is not None else None,
        "host": head.host if head is not None else None,
        "status": exchange.status,
        "bytes": exchange.bytes_sent,
        "referer": head.environ.get("HTTP_REFERER") if head is not None else None,
        "user_agent": head.environ.get("HTTP_USER_AGENT") if head is not None else None,
        "route": exchange.route or None,
        "pool": exchange.pool or None,
        "backend": exchange.backend or None,
        "attempts": exchange.attempts,
        "queue_seconds": round(exchange.queue_seconds, 6),
        "connect_seconds": round(exchange.connect_seconds, 6),
        "first_byte_seconds": round(_first_byte(exchange), 6),
        "seconds": round(exchange.ended_at - exchange.started_at, 6),
        "reason": exchange.reason,
        "failures": [
            {"backend": failed.backend, "reason": failed.reason, "seconds": round(failed.seconds, 6)}
            for failed in exchange.failures or ()
        ],
    }
    return _encode_json(record).decode()


def _first_byte(exchange: Exchange) -> float:
    return exchange.first_byte_at - exchange.started_at if exchange.first_byte_at else 0.0


def _failed(failures: list[FailedAttempt]) -> str:
    return ",".join([f"{failed.backend}={failed.reason}/{_seconds(failed.seconds)}" for failed in failures])


def _seconds(duration: float) -> str:
    """Three decimals; by hand, since the general conversion of a float shows in a profile."""
    if not duration:
        return "0.000"
    milliseconds = int(duration * 1000 + 0.5)
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"


def _quoted(text: str) -> str:
    """For between double quotes: quotes, backslashes and all that is not printable ASCII escaped, as nginx does."""
    return "".join(char if " " <= char <= "~" and char not in '"\\' else f"\\x{ord(char):02X}" for char in text)


def _word(text: object) -> str:
    """One word; a space would shift the columns."""
    if not text:
        return "-"
    word = str(text)
    return word if is_plain(word) and " " not in word else _quoted(word).replace(" ", "\\x20")


@lru_cache(maxsize=2)
def _local_time(second: int) -> str:
    """Apache's time format, made once a second."""
    return time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(second))
