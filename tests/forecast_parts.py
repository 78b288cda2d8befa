"""Fitted models through text and a file of arrays, and the comparison of two of them."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd


def travelled(parts):
    """The parts after a journey through text and a file of arrays that allows no pickle."""
    meta, arrays = parts
    text = json.dumps(meta, allow_nan=False)
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as found:
        return json.loads(text), {name: found[name] for name in found.files}


def same(fitted, again, horizons, table):
    """Two fitted models give the same risks, reasons and settings."""
    for horizon in horizons:
        np.testing.assert_array_equal(fitted.predict(table, horizon), again.predict(table, horizon))
        pd.testing.assert_frame_equal(fitted.reasons(table, horizon), again.reasons(table, horizon))
    assert fitted.settings() == again.settings()
    assert fitted.parameters == again.parameters
