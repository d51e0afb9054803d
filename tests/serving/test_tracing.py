"""Request ids and traces."""

from __future__ import annotations

import pytest

from mmgrec.serving.tracing import Span, request_id

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, 'a"b', "a\nb", "\u00e9"])
def test_an_id_that_would_harm_a_log_is_replaced(given: str | None) -> None:
    made = request_id(given)
    assert made != given
    assert len(made) == 16


def test_a_sane_id_is_kept() -> None:
    assert request_id("A-1.b_c:d") == "A-1.b_c:d"


def test_a_trace_goes_on_with_a_new_span() -> None:
    span = Span.of(f"00-{TRACE}-{PARENT}-01")
    assert (span.trace, span.parent) == (TRACE, PARENT)
    assert span.header == f"00-{TRACE}-{span.span}-01"
    assert span.span != PARENT
    assert Span.of(f"cc-{TRACE}-{PARENT}-00-more").trace == TRACE


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE[:-1]}-{PARENT}-01",
    ],
)
def test_a_wrong_header_begins_a_trace(header: str | None) -> None:
    span = Span.of(header)
    assert span.trace != TRACE
    assert span.parent is None
    assert len(span.header) == 55
