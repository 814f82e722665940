"""What the proxies are asked to do. A new work is one line in ``WORKS``; ``drive.py`` makes the load."""

from __future__ import annotations

import http.client
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from tests.bench.backends import ANSWERS, LARGE_BYTES, Running, distinct_bytes
from tests.bench.drive import Driven, drive_load, drive_wrk
from tests.bench.machine import cpu_seconds


@dataclass(frozen=True)
class Work:
    """One kind of load: what ``drive`` does to ``path`` over so many connections.

    ``metric`` is ``requests/s``, ``messages/s`` or ``MB/s`` (a million bytes of bodies, both ways); ``settings`` are
    for request.lua; ``targets`` the ratio to each peer that is wanted (issue 4): at least, or with ``by_p99``, where
    ratios are those of the 99th percentile of the latency, at the most.
    """

    name: str
    about: str
    path: str = "/"
    connections: int = 64
    metric: str = "requests/s"
    drive: Literal["wrk", "messages", "paced"] = "wrk"
    upload: int = 0
    settings: Mapping[str, int | str] = field(default_factory=dict)
    targets: Mapping[str, float] = field(default_factory=dict)
    by_p99: bool = False


@dataclass(frozen=True)
class Sample:
    """One run: ``rate`` in the work's metric, latencies in milliseconds, ``busy`` cores of CPU time used."""

    rate: float
    p50_ms: float
    p99_ms: float
    busy: float
    errors: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """The sample as JSON takes it."""
        return asdict(self)


# fmt: off
SMALL = Work("small", "a browser's 12 header fields, an answer of 120 bytes", targets={"nginx": 0.85, "haproxy": 0.7})
WORKS = (
    SMALL,
    Work("paced", "the same at half of nginx's rate, at random times", drive="paced", by_p99=True,
         targets={"nginx": 1.5}),
    Work("large", "answers of 10 MB", "/large", 8, "MB/s", targets={"nginx": 2.0, "haproxy": 1.2}),
    Work("upload", "uploads of 10 MB", "/sink/upload", 8, "MB/s", upload=LARGE_BYTES, targets={"nginx": 1.5}),
    Work("medium", "answers of 16 KiB", "/medium", targets={"nginx": 0.8}),
    Work("connect", "a new connection for every request", settings={"BENCH_CLOSE": 1}, targets={"nginx": 0.5}),
    Work("websocket", "messages of 100 bytes, echoed, one in flight in each tunnel", "/sink/ws", 64, "messages/s",
         "messages", targets={"nginx": 0.8}),
)
# fmt: on


def check_answer(work: Work, target: Running) -> list[str]:
    """Ask once and compare byte by byte: a fast wrong answer is no result. Messages are compared while they run."""
    body, wanted = None, ANSWERS.get(work.path, ANSWERS["/"])()
    path = work.path
    if work.drive == "messages":
        return []
    if work.upload:
        body = distinct_bytes(work.upload)
        path, wanted = "/sink/sum", b"%d\n" % zlib.crc32(body)
    connection = http.client.HTTPConnection("127.0.0.1", target.at(path).port, timeout=30)
    try:
        connection.request("POST" if work.upload else "GET", path, body)
        answer = connection.getresponse()
        data = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return [f"no answer: {error!r}"]
    finally:
        connection.close()
    if answer.status != 200:
        return [f"status {answer.status} instead of 200"]
    return [] if data == wanted else [f"a wrong body of {len(data)} bytes: {data[:40]!r}"]


def measure(work: Work, target: Running, seconds: int, cores: tuple[int, ...], rate: float = 0) -> Sample:
    """Let ``target`` work for so many seconds, the load on ``cores``; ``rate``: requests a second, for paced ones."""
    errors = check_answer(work, target)
    place = target.at(work.path)
    before = cpu_seconds(place.process.pid)
    if work.drive == "wrk":
        settings = {"BENCH_UPLOAD": work.upload, **work.settings}
        driven = drive_wrk(f"http://127.0.0.1:{place.port}{work.path}", work.connections, seconds, cores, settings)
    else:
        driven = drive_load(work.drive, place.port, work.connections, seconds, cores, rate)
    busy = (cpu_seconds(place.process.pid) - before) / driven.seconds
    errors += driven.errors
    if not driven.answers:
        errors.append("not one answer")
    return Sample(_amount(work, driven) / driven.seconds, driven.p50_ms, driven.p99_ms, busy, tuple(errors))


def _amount(work: Work, driven: Driven) -> float:
    if work.metric == "MB/s":
        return (driven.received + driven.answers * work.upload) / 1e6
    return driven.answers
