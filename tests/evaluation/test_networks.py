from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tests.evaluation.random_judges import save_features
from torch import nn

from mcm.errors import UserError
from mcm.evaluation import networks
from mcm.evaluation.concept import ConceptNet
from mcm.evaluation.networks import Judges, load_network
from mcm.evaluation.protocol import FluentProtocol


def test_networks_come_from_the_folder_or_else_from_the_package(tmp_path: Path) -> None:
    judges = Judges(save_features(tmp_path))
    assert judges.file("frames") == tmp_path / "frames.safetensors"
    assert judges.file("concept") == networks.PACKAGE / "concept.safetensors"
    assert FluentProtocol(judges=judges).missing() == {}


def test_a_missing_network_names_the_command_that_trains_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "PACKAGE", tmp_path)
    with pytest.raises(UserError, match=r"frames\.safetensors; train it with `mcm judges frames"):
        Judges().file("frames")
    missing = FluentProtocol().missing()
    assert set(missing) == {"frame_features", "clip_features", "concept"}
    assert "mcm judges clips" in missing["clip_features"]


def test_digests_tell_networks_and_vocabularies_apart(tmp_path: Path) -> None:
    judges = Judges(save_features(tmp_path))
    before = judges.digest("clips")
    (tmp_path / "clips.json").write_text('{"words": ["cat"]}')
    assert judges.digest("clips") != before
    assert judges.digest("frames") == Judges(tmp_path).digest("frames") is not None


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def test_only_counters_of_training_may_lack(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    state = network().state_dict()
    del state["1.num_batches_tracked"]
    save_file(state, path)
    made = network()
    load_network(made, path)
    assert not made.training
    del state["1.running_mean"]
    save_file(state, path)
    with pytest.raises(UserError, match=r"x\.safetensors: .*lacks 1\.running_mean"):
        load_network(network(), path)


@pytest.mark.parametrize("change", ["more", "shape", "broken"])
def test_weights_of_something_else_are_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "x.safetensors"
    state = network().state_dict()
    if change == "more":
        state["2.weight"] = state["0.weight"].clone()
    if change == "shape":
        state["0.weight"] = state["0.weight"][:2].clone()
    save_file(state, path)
    if change == "broken":
        path.write_bytes(b"no")
    with pytest.raises(UserError, match="not the weights of this judge"):
        load_network(network(), path)


def test_the_shipped_judge_of_concepts_is_whole() -> None:
    weights = networks.PACKAGE / "concept.safetensors"
    load_network(ConceptNet(), weights)
    assert all(value.isfinite().all() for value in load_file(weights).values())
