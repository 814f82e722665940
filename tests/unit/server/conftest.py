from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.server.gated import Gate


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()
