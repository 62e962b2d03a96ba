"""Percentiles of large arrays are NumPy's, however the values are spread."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedLLMSegLib.core import percentiles as module
from MedLLMSegLib.core.percentiles import percentiles

PERCENTS = (0, 0.5, 37.3, 50, 99.5, 100)
SPREADS = {
    "noise": lambda rng, n: rng.normal(size=n),
    "mostly one value": lambda rng, n: np.where(rng.random(n) < 0.9, 0, rng.normal(size=n)),
    "few values": lambda rng, n: rng.integers(0, 4, n),
    "one value": lambda rng, n: np.full(n, 3),
    "two far apart": lambda rng, n: np.where(rng.random(n) < 0.995, 0, 1e6),
    "sorted": lambda rng, n: np.arange(n),
}


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i2", "u1"])
@pytest.mark.parametrize("spread", SPREADS)
def test_a_large_image_has_the_percentiles_that_numpy_finds(spread, kind):
    values = SPREADS[spread](np.random.default_rng(0), 64 * 73 * 80)
    values = np.clip(values, 0 if kind == "u1" else -120, 120).astype(kind).reshape(64, 73, 80)
    kept = values.copy()
    expected = np.percentile(values.astype(float), PERCENTS)
    assert np.allclose(percentiles(values, PERCENTS), expected, rtol=1e-6, atol=1e-6)
    assert np.array_equal(values, kept)


@given(
    values=st.lists(st.integers(-5, 5), min_size=70, max_size=300),
    percent=st.floats(0, 100),
    chunk=st.integers(1, 90),
)
@settings(max_examples=60, deadline=None)
def test_a_sample_that_misleads_changes_nothing(values, percent, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SAMPLE", 16)
        patch.setattr(module, "_CHUNK", chunk)
        values = np.array(values, np.float32)
        assert percentiles(values, [percent]) == pytest.approx([np.percentile(values, percent)])
