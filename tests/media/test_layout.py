"""Clips beside each other."""

import numpy as np

from mcm.media.layout import contact_sheet, side_by_side


def clip(value: int, count: int = 4) -> np.ndarray:
    frames = np.full((count, 8, 10, 3), value, np.uint8)
    frames += np.arange(count, dtype=np.uint8)[:, None, None, None]
    return frames


def test_clips_stand_side_by_side_as_long_as_the_shortest() -> None:
    row = side_by_side([clip(10), clip(50, 3)])
    assert row.shape == (3, 8, 10 + 4 + 10, 3)
    assert np.array_equal(row[:, :, :10], clip(10)[:3])
    assert np.array_equal(row[:, :, -10:], clip(50, 3))


def test_labels_are_drawn_above() -> None:
    row = side_by_side([clip(10), clip(50)], ["a", "b"])
    assert row.shape == (4, 8 + 16, 24, 3)
    assert np.array_equal(row[:, 16:, :10], clip(10))
    assert row[0, :16, :10].min() < 128 < row[0, :16, :10].max()


def test_contact_sheet_shows_first_to_last() -> None:
    sheet = contact_sheet([clip(10), clip(50)], columns=2)
    assert sheet.shape == (8 + 4 + 8, 10 + 4 + 10, 3)
    assert {int(sheet[0, 0, 0]), int(sheet[0, -1, 0])} == {10, 13}
    assert {int(sheet[-1, 0, 0]), int(sheet[-1, -1, 0])} == {50, 53}
    labelled = contact_sheet([clip(10), clip(50)], ["a", "b"], columns=2)
    assert labelled.shape == (2 * (8 + 16) + 4, 24, 3)
