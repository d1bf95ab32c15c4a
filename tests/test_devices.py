"""Where a model runs and in which number format."""

from __future__ import annotations

import os
import subprocess
import sys

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
    monkeypatch.setattr(devices, "cpu_has_tiles", lambda: amx)
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


KEEPER = """
import sys
import psutil
import torch
from mcm.devices import return_freed_memory

def block(size):
    return torch.ones(size << 10, dtype=torch.uint8)

def resident():
    return psutil.Process().memory_info().rss

if sys.argv[1] == "return":
    assert return_freed_memory()
block(30 << 10)  # once it is freed, glibc keeps blocks of that size
large, small = zip(*((block(12 << 10), block(200)) for _ in range(40)))
before = resident()
del large
print((before - resident()) / (40 * 12 << 20))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="is glibc's")
def test_freed_memory_goes_back_where_that_is_asked() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    part = {
        mode: float(
            subprocess.run(
                [sys.executable, "-c", KEEPER, mode],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for mode in ("keep", "return")
    }
    assert part["return"] > 0.95
    assert part["keep"] < 0.5


def test_the_environment_decides_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "33554432")
    assert not devices.return_freed_memory()
