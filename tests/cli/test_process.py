"""What a process of one command hides from its libraries."""

from __future__ import annotations

import importlib
import importlib.util
import sys

import pytest

from mcm.cli.process import without


def test_a_hidden_package_looks_not_installed_and_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    with without("this"):
        assert importlib.util.find_spec("this") is None
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("this")
    assert importlib.util.find_spec("this") is not None


def test_a_loaded_package_stays() -> None:
    with without("json"):
        assert importlib.import_module("json") is sys.modules["json"]
    assert sys.modules["json"] is not None
