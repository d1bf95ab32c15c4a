from __future__ import annotations

import json

import numpy as np

from mcm.evaluation.arrays import pack, unpack


def test_arrays_survive_json_to_three_digits() -> None:
    array = np.random.default_rng(0).normal(0, 30, (3, 8, 8, 2))
    back = unpack(json.loads(json.dumps(pack(array))))
    assert back.shape == array.shape
    np.testing.assert_allclose(back, array, rtol=1e-3, atol=1e-6)


def test_empty_and_huge_arrays() -> None:
    assert unpack(pack(np.zeros((0, 4)))).shape == (0, 4)
    np.testing.assert_array_equal(unpack(pack(np.array([1e9, -1e9]))), [65504.0, -65504.0])
