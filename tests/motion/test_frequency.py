import math

import pytest
import torch

from mcm.motion.frequency import butterworth, high_frequencies, low_frequencies


def test_low_and_high_frequencies_add_up_to_the_video() -> None:
    x = torch.randn(2, 3, 5, 8, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(low_frequencies(x) + high_frequencies(x), x, atol=1e-5, rtol=1e-5)


def test_the_gain_is_one_in_the_centre_and_one_half_at_the_stop_frequency() -> None:
    gain = butterworth(8, 16, 16)
    assert gain.shape == (8, 16, 16)
    assert gain[4, 8, 8] == 1.0
    assert gain[4, 8, 10] == pytest.approx(0.5)
    assert gain[5, 8, 8] == pytest.approx(0.5)
    assert gain[4, 8, 12] < 1e-2


def test_a_still_flat_video_is_all_low_frequency() -> None:
    x = torch.full((1, 2, 4, 8, 8), 3.0)
    torch.testing.assert_close(low_frequencies(x), x)
    torch.testing.assert_close(high_frequencies(x), torch.zeros_like(x), atol=1e-5, rtol=0)


def test_a_wave_is_damped_by_the_gain_at_its_frequency() -> None:
    wave = torch.cos(2 * math.pi * 2 * torch.arange(16) / 16).expand(1, 1, 4, 16, 16)
    gain = butterworth(4, 16, 16)[2, 8, 8 + 2]
    torch.testing.assert_close(low_frequencies(wave), gain * wave, atol=1e-5, rtol=1e-5)


def test_half_precision_latents_are_filtered_in_float32() -> None:
    assert low_frequencies(torch.ones(1, 1, 3, 5, 7).bfloat16()).dtype == torch.float32
