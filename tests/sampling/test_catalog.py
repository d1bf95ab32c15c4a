"""Names and folders of models."""

import json
from pathlib import Path

import pytest

from mcm.errors import UserError
from mcm.sampling import catalog
from mcm.sampling.catalog import embedded_models, find_model

CARD = {"base": "fluent", "original_steps": 20, "timestep_scaling": 4.0, "mode": "lora"}


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with the teacher `fluent` and the student `fluent-mcm`."""
    folder = tmp_path / "weights"
    (folder / "fluent").mkdir(parents=True)
    (folder / "fluent" / "model_index.json").write_text("{}")
    (folder / "fluent" / "mcm.json").write_text("{}")
    write_card(folder / "fluent-mcm", CARD)
    monkeypatch.setattr(catalog, "WEIGHTS", folder)
    return folder


def write_card(folder: Path, card: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mcm.json").write_text(json.dumps(card))
    return folder


def test_embedded_names(weights: Path) -> None:
    assert embedded_models() == ["fluent", "fluent-mcm"]
    teacher = find_model("fluent")
    assert (teacher.teacher, teacher.student) == (weights / "fluent", None)
    student = find_model("fluent-mcm")
    assert student.teacher == weights / "fluent"
    assert student.student is not None
    assert student.student.folder == weights / "fluent-mcm"
    assert student.student.card.original_steps == 20
    assert student.student.card.steps == 4


def test_a_students_teacher_may_be_a_folder(weights: Path, tmp_path: Path) -> None:
    for base in ("../weights/fluent", str(weights / "fluent"), "fluent"):
        folder = write_card(tmp_path / "mine", {**CARD, "base": base})
        assert find_model(folder).teacher.resolve() == (weights / "fluent").resolve()


def test_unknown_names_are_guessed(weights: Path) -> None:
    with pytest.raises(UserError, match="'fluent-mmc'; did you mean fluent-mcm"):
        find_model("fluent-mmc")


def test_an_installation_without_weights_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "WEIGHTS", tmp_path / "none")
    with pytest.raises(UserError, match="none in this installation"):
        find_model("fluent")


def test_broken_folders_name_what_is_missing(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"expected mcm.json .* or model_index.json"):
        find_model(tmp_path / "empty")
    lacking = write_card(tmp_path / "lacking", {"base": "fluent"})
    with pytest.raises(UserError, match="original_steps"):
        find_model(lacking)
    orphan = write_card(tmp_path / "orphan", {**CARD, "base": "nothing"})
    with pytest.raises(UserError, match="no teacher at 'nothing'"):
        find_model(orphan)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("timestep_scaling", 0, "a number above 0"),
        ("timestep_scaling", "4", "a number above 0"),
        ("original_steps", 0, "a whole number above 0"),
        ("steps", 4.7, "a whole number from 1 to 50"),
        ("steps", True, "a whole number from 1 to 50"),
        ("steps", 99, "a whole number from 1 to 50"),
        ("stochasticity", 1.5, "a number from 0 to 1"),
        ("mode", "foo", "lora, full or merged"),
        ("mode", ["lora"], "lora, full or merged"),
        ("motion_adapter", 3, "a folder or OWNER/NAME"),
        ("base", "", "the name or folder of its teacher"),
    ],
)
def test_notes_that_cannot_be_name_file_and_key(
    weights: Path, tmp_path: Path, key: str, value: object, expected: str
) -> None:
    folder = write_card(tmp_path / "mine", CARD | {key: value})
    with pytest.raises(UserError) as caught:
        find_model(folder)
    assert f"{folder / 'mcm.json'}: {key}: got {value!r}, expected {expected}" in str(caught.value)
    (folder / "model_index.json").write_text("{}")
    write_card(folder, {"sampling": CARD | {key: value}})
    with pytest.raises(UserError, match=rf"mcm\.json: sampling\.{key}: got"):
        find_model(folder)


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    weights, pickled = tmp_path / "adapter.safetensors", tmp_path / "adapter.bin"
    weights.touch()
    pickled.touch()
    with pytest.raises(UserError, match=r"adapter\.safetensors is a file, expected a folder"):
        find_model(weights)
    with pytest.raises(UserError, match=r"not a safetensors file; .*convert it"):
        find_model(pickled)
