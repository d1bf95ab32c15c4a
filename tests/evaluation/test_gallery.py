"""Clips to look at, and what the page says of those that are not there."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.gallery import Gallery
from mcm.sampling.options import ModelWarning


def show(gallery: Gallery, run: str, *keys: str) -> None:
    for key in keys:
        gallery.show(run, EvaluationClip(key, np.zeros((2, 16, 16, 3), np.uint8), f"prompt {key}"))


def test_it_has_the_clips_of_the_runs_asked_for(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path, ("0", "1"))
    show(gallery, "one", "0", "1", "2")
    show(gallery, "former", "0", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelWarning)
        found = gallery.shown(["one"])
    assert found == {
        key: (f"prompt {key}", {"one": Path("clips") / key / "one.webp"}) for key in "01"
    }


def test_runs_made_when_fewer_were_to_be_shown_are_told(tmp_path: Path) -> None:
    show(Gallery(tmp_path, ("0",)), "early", "0", "1")
    gallery = Gallery(tmp_path, ("0", "1"))
    show(gallery, "late", "0", "1")
    with pytest.warns(ModelWarning, match="of 2 prompts the page has clips of 1 of early;"):
        found = gallery.shown(["early", "late"])
    assert [set(files) for _, files in found.values()] == [{"early", "late"}, {"late"}]
