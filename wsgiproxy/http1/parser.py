"""The one door to parsing: the compiled codec where it was built, the pure grammar elsewhere.

Both read the same language: ``_codec`` reads what is usual and leaves all else, every refusal included, to ``grammar``.
``CODEC`` says which one is in use; ``pure`` keeps the other one out.
"""

from __future__ import annotations

from wsgiproxy.http1.grammar import END_OF_HEAD, check_partial, parse_trailers

try:
    from wsgiproxy.http1._codec import answer_lines, forwardable_lines, is_plain, parse_request, parse_response

    CODEC = "compiled"
except ImportError:
    from wsgiproxy.http1.grammar import parse_request, parse_response
    from wsgiproxy.http1.lines import answer_lines, forwardable_lines, is_plain

    CODEC = "pure Python"

__all__ = [
    "CODEC", "END_OF_HEAD", "answer_lines", "check_partial", "forwardable_lines", "is_plain", "parse_request",
    "parse_response", "parse_trailers",
]  # fmt: skip
