"""Where a model runs and in which number format."""

from __future__ import annotations

import pytest
import torch

from mcm import devices
from mcm.errors import UserError

CPU = torch.device("cpu")


def test_a_named_number_format_is_taken_as_it_is() -> None:
    assert devices.pick_dtype("float16", CPU) == torch.float16
    with pytest.raises(UserError, match="expected auto, float32, bfloat16, float16"):
        devices.pick_dtype("half", CPU)


@pytest.mark.parametrize(
    ("amx", "avx512", "faster", "expected"),
    [
        (True, True, False, torch.bfloat16),
        (False, True, True, torch.bfloat16),
        (False, True, False, torch.float32),
        (False, False, True, torch.float32),
    ],
)
def test_auto_takes_bfloat16_only_where_it_pays(
    monkeypatch: pytest.MonkeyPatch, amx: bool, avx512: bool, faster: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(devices, "_cpu_bfloat16_is_faster", lambda: faster)
    devices._cpu_has_bfloat16.cache_clear()
    try:
        assert devices.pick_dtype("auto", CPU) == expected
    finally:
        devices._cpu_has_bfloat16.cache_clear()


def test_an_unknown_device_is_named_with_the_ones_there_are() -> None:
    with pytest.raises(UserError, match="expected auto, cpu"):
        devices.pick_device("gpu")
    with pytest.raises(UserError, match="not on this machine"):
        devices.pick_device("cuda:99")
