"""Fitting on made-up traces whose truth is known."""

from pathlib import Path

import numpy as np
import pytest

from mcm.errors import UserError
from mcm.forensics.fitting import Labelled, fit, shrunk_covariance
from mcm.forensics.measures import auc, expected_calibration_error
from mcm.safety.forensic import load_forensic, probability, save_forensic
from mcm.safety.traces import trace_names

WIDTH = len(trace_names())


def clips(count: int, apart: float = 1.2, seed: int = 0) -> Labelled:
    """Two Gaussians whose Bayes log odds are 2 · apart · x₀."""
    rng = np.random.default_rng(seed)
    generated = rng.random(count) < 0.5
    seen = rng.standard_normal((count, WIDTH)).astype(np.float32)
    seen[:, 0] += np.where(generated, apart, -apart)
    source = np.where(generated, "model", "camera")
    return Labelled(seen, generated, source, np.arange(count) % 5 == 4)


def test_it_learns_is_calibrated_and_knows_its_domain() -> None:
    model, fresh = fit(clips(2000)), clips(2000, seed=1)
    logits = model.logits(fresh.traces)
    best = auc(fresh.traces[~fresh.generated, 0], fresh.traces[fresh.generated, 0])
    assert auc(logits[~fresh.generated], logits[fresh.generated]) > best - 0.06
    assert expected_calibration_error(probability(logits), fresh.generated) < 0.05
    inside = model.distances(fresh.traces) <= model.limit
    assert inside.mean() == pytest.approx(0.99, abs=0.015)
    assert (model.distances(fresh.traces + 10) > model.limit).all()


def test_overconfidence_is_calibrated_away() -> None:
    """Too few clips for the network: what it says alone is bolder than it is right."""
    few, fresh = clips(300, apart=0.4), clips(3000, apart=0.4, seed=1)
    model = fit(few)
    raw = expected_calibration_error(probability(model.raw_logits(fresh.traces)), fresh.generated)
    calibrated = expected_calibration_error(
        probability(model.logits(fresh.traces)), fresh.generated
    )
    assert calibrated < raw / 2


def test_every_class_and_source_weighs_the_same() -> None:
    generated = np.array([False] * 10 + [True] * 4)
    source = np.array(["a"] * 8 + ["b"] * 2 + ["c"] * 4)
    weights = Labelled(np.zeros((14, 1)), generated, source, generated).weights()
    assert [weights[source == name].sum() for name in "abc"] == pytest.approx([0.25, 0.25, 0.5])


def test_the_shrunk_covariance() -> None:
    rng = np.random.default_rng(0)
    many = rng.standard_normal((20_000, 4)) * [1, 2, 3, 4]
    assert np.allclose(shrunk_covariance(many), np.cov(many.T), atol=0.3)
    few = rng.standard_normal((5, 40))
    assert np.linalg.eigvalsh(shrunk_covariance(few)).min() > 0.1


def test_the_file_holds_the_detector(tmp_path: Path) -> None:
    made, few = fit(clips(300)), clips(50, seed=2)
    save_forensic(made, tmp_path / "a" / "d.safetensors")
    read = load_forensic(tmp_path / "a" / "d.safetensors")
    assert read.logits(few.traces) == pytest.approx(made.logits(few.traces), abs=1e-4)
    assert read.distances(few.traces) == pytest.approx(made.distances(few.traces), abs=1e-3)
    assert read.facts == made.facts
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["d.safetensors"]


def test_what_is_no_detector_is_told(tmp_path: Path) -> None:
    (tmp_path / "no.safetensors").write_text("nothing")
    for name in ("no.safetensors", "missing.safetensors"):
        with pytest.raises(UserError, match=f"{name}: not readable"):
            load_forensic(tmp_path / name)


def test_too_few_clips_are_told() -> None:
    with pytest.raises(UserError, match="real clips to calibrate with: got"):
        fit(clips(60))
