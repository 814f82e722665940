"""A wait for something that may never come, which the client's end ends too."""

from __future__ import annotations

from wsgiproxy.errors import ProxyError
from wsgiproxy.transport.stream import Driver
from wsgiproxy.upstream.messages import OnCancel


class Wait:
    """Waited for once, by one; ``end`` may come from anybody, and before the wait."""

    __slots__ = ("_error", "_event")

    def __init__(self, driver: Driver) -> None:
        self._event = driver.event()
        self._error: ProxyError | None = None

    def __repr__(self) -> str:
        return f"<Wait{', over' if self._event.is_set() else ''}>"

    def run(self, seconds: float | None, on_cancel: OnCancel | None) -> None:
        """Until ``end``, for at most so many seconds, None: for ever; raises why the client's end ended it."""
        try:
            if on_cancel is not None:
                on_cancel(self._cancel)
            self._event.wait(seconds)
        finally:
            if on_cancel is not None:
                on_cancel(None)
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """It has come."""
        self._event.set()

    def _cancel(self, error: ProxyError) -> None:
        self._error = error
        self._event.set()
