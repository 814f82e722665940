"""A WSGI application of this process as a backend.

The rule of the room: the application is held to PEP 3333 as a foreign backend is held to HTTP. What would split or
falsify the answer is refused, a body that breaks off is a cut, and ``close()`` is called exactly once in every case.
It must not know pools, routes or sockets.
"""

from __future__ import annotations

import importlib
import logging
import operator
import time
from collections import deque
from collections.abc import Iterable, Iterator
from math import inf
from typing import Any, NoReturn, cast
from wsgiref.types import WSGIApplication

from wsgiproxy.config import schema
from wsgiproxy.errors import AppError, ExchangeTimeout, ProxyError, TruncatedBodyError
from wsgiproxy.http1.framing import content_length
from wsgiproxy.http1.headers import HOP_BY_HOP, without
from wsgiproxy.http1.message import Fields
from wsgiproxy.http1.writer import checked_field_lines, is_status
from wsgiproxy.transport.stream import Stream
from wsgiproxy.upstream.app_environ import app_environ
from wsgiproxy.upstream.messages import UpstreamRequest, UpstreamResponse

_NO_BODY_STATUSES = (204, 304)
_LENGTH = frozenset({"content-length"})

_monotonic = time.monotonic
_log = logging.getLogger("wsgiproxy.app")


def import_app(module: str, attribute: str) -> WSGIApplication:
    """The WSGI application ``attribute`` of ``module``; ``ValueError`` with the reason where there is none."""
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # a module may raise anything while it is imported, scripts even exit
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
            raise ValueError(f"there is no module {error.name!r} to import {module}:{attribute} from") from error
        raise ValueError(f"module {module!r} raised {type(error).__name__} while it was imported: {error}") from error
    try:
        app = operator.attrgetter(attribute)(found)
    except AttributeError as error:
        raise ValueError(f"module {module!r} has no {attribute!r}") from error
    if not callable(app):
        raise ValueError(f"{module}:{attribute} is not callable, so it is no WSGI application")
    return cast("WSGIApplication", app)


class InProcessUpstream:
    """A backend that is a callable of this process; see ``upstream.messages.Upstream``."""

    def __init__(self, address: str, app: WSGIApplication) -> None:
        """``address`` names the application in messages (``app:module:callable``)."""
        self._address = address
        self._app = app

    def __repr__(self) -> str:
        return f"<InProcessUpstream {self._address}>"

    def send(self, request: UpstreamRequest, *, fresh: bool = False) -> UpstreamResponse:
        """Call the application; back with its head at the first byte of its body, as PEP 3333 has it."""
        answer = _Answer(self._address, request)
        try:
            return answer.begin(self._app)
        except BaseException:
            answer.close()
            raise

    def send_probe(self, request: UpstreamRequest, timeout: float) -> UpstreamResponse:
        """The same for a health check. ``timeout`` means nothing here: code of this process cannot be interrupted."""
        return self.send(request)

    def check_connect(self, timeout: float) -> None:
        """Nothing: an application that was imported is there."""

    def idle_connections(self) -> int:
        """None."""
        return 0

    def configure(self, block: schema.Pool) -> None:
        """Nothing: timeouts, keep-alive and host rules are about connections."""

    def close(self) -> None:
        """Nothing: answers under way are closed by those who read them."""


class _StartResponse:
    """PEP 3333's ``start_response``: holds the head until the first byte of the body commits it.

    What goes through ``write()`` is kept in memory until the application returns.
    """

    def __init__(self) -> None:
        self.committed = False
        self.status = ""
        self.fields: Fields = []
        self.length: int | None = None
        self.pieces: deque[bytes] = deque()  # of the body, not handed on yet

    def __call__(self, status: Any, headers: Any, exc_info: Any = None) -> Any:
        if exc_info is None and self.status:
            raise AppError("start_response was called again without exc_info")
        if exc_info is not None and (self.committed or self.pieces):
            raise exc_info[1].with_traceback(exc_info[2])
        if not isinstance(status, str) or not is_status(status) or status.startswith("1"):
            raise AppError(f"refused to send: illegal status {status!r:.80}")
        if not isinstance(headers, list):
            raise AppError(f"refused to send: the headers are a {type(headers).__name__}, not a list")
        for field in headers:
            _check_field(field)
        fields = without(headers, HOP_BY_HOP)
        lengths = [value for name, value in fields if name.lower() in _LENGTH]
        try:
            self.length = content_length(", ".join(lengths)) if lengths else None
        except ValueError as error:
            raise AppError(f"refused to send: {error}") from error
        self.status, self.fields = status, fields
        return self.write

    def write(self, data: Any) -> None:
        """PEP 3333's ``write()``, for applications that cannot do without."""
        if not isinstance(data, bytes):
            raise AppError(f"a piece of the body is a {type(data).__name__}, not bytes")
        if data:
            self.pieces.append(data)


def _check_field(field: Any) -> None:
    if not isinstance(field, tuple) or [isinstance(part, str) for part in field] != [True, True]:
        raise AppError(f"refused to send: a header is not a tuple of two strings: {field!r:.80}")
    try:
        checked_field_lines([field])
    except ValueError as error:
        raise AppError(f"refused to send: illegal header {field!r:.80}") from error


class _Answer:
    """One call of the application, and the body of its answer (``upstream.messages.ResponseBody``)."""

    def __init__(self, address: str, request: UpstreamRequest) -> None:
        self._address = address
        self._request = request
        self._environ, self._input = app_environ(request)
        self._head = _StartResponse()
        self._result: Iterable[bytes] | None = None  # what the application returned
        self._pieces: Iterator[bytes] = iter(())
        self._remaining: int | None = None  # bytes to come, where a length was announced
        self._ended = False
        self._closed = False

    def begin(self, app: WSGIApplication) -> UpstreamResponse:
        """Call the application and run it up to the first byte of its body; the body is this object."""
        head = self._head
        try:
            self._result = app(self._environ, head)
            self._pieces = iter(self._result)
            first = self._pull()
            if not head.status:
                raise AppError("start_response was not called before the body")
            known = [first]
            if head.length is None and isinstance(self._result, list | tuple) and self._request.method != "HEAD":
                while piece := self._pull():  # PEP 3333 lets a server count what is all there
                    known.append(piece)
                head.length = sum(map(len, known))
                head.fields.append(("Content-Length", str(head.length)))
        except Exception as error:  # noqa: BLE001 - an application may raise anything; _fail logs it and raises ours
            self._fail(error, AppError)
        self._check_time()
        head.committed = True
        head.pieces.extendleft(reversed([piece for piece in known if piece]))
        return self._response()

    def __iter__(self) -> _Answer:
        return self

    def __next__(self) -> bytes:
        if self._ended:
            raise StopIteration
        self._check_time()
        remaining = self._remaining
        try:
            piece = self._pull()
        except Exception as error:  # as above
            self._ended = True
            if remaining == 0:
                _log.exception("%s raised after the end of its answer to %s", self._address, self._name())
                raise StopIteration from error
            self._fail(error, TruncatedBodyError)
        if remaining is not None:
            if remaining and not piece:
                self._ended = True
                raise self._input.failure or TruncatedBodyError(f"{self._address} ended {remaining} bytes early")
            if len(piece) > remaining:
                self._ended = True
                _log.error("%s sent more than its Content-Length to %s; cut", self._address, self._name())
                piece = piece[:remaining]
            self._remaining = remaining - len(piece)
        if not piece:
            self._ended = True
            raise StopIteration
        return piece

    def read_piece(self) -> bytes:
        """The next piece, ``b""`` at the end."""
        return next(self, b"")

    def is_ready(self) -> bool:
        """Yes: what an application does before its next piece is its work, not a wait that we could see."""
        return True

    def is_over(self) -> bool:
        """Whether nothing more will come: the end was reached, or all bytes that were announced are out."""
        return self._ended or self._remaining == 0

    def trailers(self) -> Fields:
        """None: WSGI knows no trailers."""
        return []

    def take_over(self) -> tuple[Stream, bytes]:
        """Never: an application's 101 was refused before."""
        raise AppError(f"{self._address} has no connection to take over")

    def close(self) -> None:
        """Call the application's ``close()``, once; what it raises is logged, for the answer has gone by then."""
        if self._closed:
            return
        self._closed = self._ended = True
        close = getattr(self._result, "close", None)
        if close is None:
            return
        try:
            close()
        except Exception:  # noqa: BLE001 - logged; nobody is left to be told
            _log.exception("%s raised in close() of its answer to %s", self._address, self._name())

    def _response(self) -> UpstreamResponse:
        head = self._head
        status, reason = int(head.status[:3]), head.status[4:]
        fields, length = head.fields, head.length
        if self._request.method == "HEAD" or status in _NO_BODY_STATUSES:
            self.close()
            fields = without(fields, _LENGTH) if status in _NO_BODY_STATUSES else fields
            length = 0
        self._remaining = length
        return UpstreamResponse(status, reason, fields, length, self)

    def _check_time(self) -> None:
        """``ExchangeTimeout`` once the exchange is to be over: an application is not interrupted, its answer is."""
        if self._request.ends_by < inf and _monotonic() >= self._request.ends_by:
            self._ended = True
            raise ExchangeTimeout(f"{self._address} had not ended when the exchange's time was over")

    def _pull(self) -> bytes:
        """The next piece that is not empty, ``b""`` at the end; raises what the application raises."""
        ready = self._head.pieces
        if not ready:
            for piece in self._pieces:
                self._head.write(piece)
                if ready:
                    break
        return ready.popleft() if ready else b""

    def _fail(self, error: Exception, kind: type[ProxyError]) -> NoReturn:
        """Raise ours for what the application raised: the client's failure where that is behind it."""
        if self._input.failure is not None:
            raise self._input.failure
        _log.error("%s failed at %s", self._address, self._name(), exc_info=error)
        raise kind(f"{self._address}: {type(error).__name__}: {error}") from error

    def _name(self) -> str:
        return f"{self._request.method} {self._request.target}"
