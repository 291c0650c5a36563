"""A table in its own span is the same table, as numpy's own decomposition has it."""

from __future__ import annotations

import numpy as np
import pytest

from cpivae.data.span import Span, thin_svd


@pytest.mark.parametrize(("n", "d"), [(30, 80), (80, 30), (30, 30), (12, 1)])
def test_a_span_is_the_table(n: int, d: int) -> None:
    x = np.random.default_rng(0).normal(size=(n, d)) + 5
    span = Span.of(x)
    np.testing.assert_allclose(span.rows(span.scores), x, atol=1e-10)
    np.testing.assert_allclose(span.project(x), span.scores, atol=1e-10)
    np.testing.assert_allclose(span.axes @ span.axes.T, np.eye(len(span.axes)), atol=1e-10)
    assert len(span.axes) == min(n - 1, d)
    _, s, _ = thin_svd(x - x.mean(axis=0))
    np.testing.assert_allclose(s, np.linalg.svd(x - x.mean(axis=0), compute_uv=False)[: len(s)], rtol=1e-10)


def test_a_table_without_variance_has_no_span() -> None:
    assert Span.of(np.ones((5, 3))).scores.shape == (5, 0)
