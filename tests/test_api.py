"""The public functions, on tiny models and files: what the command line does, from Python."""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.sampling.fake import FRAMES, make_model
from tests.sampling.test_edit import student

import mcm
from mcm import api
from mcm.media import save_video
from mcm.safety.inspection import inspect_manifest
from mcm.safety.policy import ProvenanceSection
from mcm.settings import Recipe

SIDE = 32
RECIPE = """
model: {teacher: fluent}
data: {videos: videos}
trainer: {output: out, steps: 10}
"""


@pytest.fixture(autouse=True)
def _named_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """`fluent-mcm` is a fake student."""

    def load(name: str) -> mcm.VideoModel:
        if name != "fluent-mcm":
            raise mcm.UserError(f"model: no embedded model or folder {name!r}")
        return make_model()

    monkeypatch.setattr(api, "load", load)


def test_every_public_name_is_there_and_documented() -> None:
    for name in mcm.__all__:
        assert name == "__version__" or getattr(mcm, name).__doc__, name


def test_generate_takes_a_name_or_a_loaded_model() -> None:
    model = make_model()
    named, loaded = (mcm.generate("a fox", one, steps=2, seed=7) for one in ("fluent-mcm", model))
    assert isinstance(named, mcm.Clip)
    assert np.array_equal(named.frames, loaded.frames)
    assert named.metadata()["seed"] == 7


def test_edit_takes_files_and_arrays(tmp_path: Path) -> None:
    model = student()
    frames = np.full((FRAMES, SIDE, SIDE, 3), 60, np.uint8)
    Image.fromarray(frames[0]).save(tmp_path / "still.png")
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[:, : SIDE // 2] = True
    Image.fromarray(mask).save(tmp_path / "mask.png")
    array = mcm.edit(frames, "a fox", model, mask=mask, steps=2)
    file = mcm.edit(tmp_path / "still.png", "a fox", model, mask=tmp_path / "mask.png", steps=2)
    assert np.array_equal(array.frames, file.frames)
    assert np.array_equal(array.frames[:, :, SIDE // 2 :], frames[:, :, SIDE // 2 :])
    assert not np.array_equal(array.frames, frames)
    assert (array.source, file.source) == (None, tmp_path / "still.png")
    report = inspect_manifest(file.save(tmp_path / "edited.mp4"), ProvenanceSection())
    assert report.actions == ["c2pa.opened", "c2pa.edited"]
    assert report.ingredients == ["still.png"]


def test_edit_chooses_from_a_file(tmp_path: Path) -> None:
    levels = np.repeat(np.arange(0, 240, 20, dtype=np.uint8), 2)
    frames = np.broadcast_to(levels[:, None, None, None], (24, SIDE, SIDE, 3)).copy()
    save_video(frames, tmp_path / "in.mp4", fps=8)
    model = student()
    later = mcm.edit(
        tmp_path / "in.mp4", "a fox", model, start=1.0, frames=2, steps=2, strength=0.2
    )
    assert len(later.frames) == 2
    same = mcm.edit(frames[8:10], "a fox", model, steps=2, strength=0.2)
    assert np.abs(later.frames.astype(int) - same.frames).mean() < 4
    for choice in ({"start": 1.0}, {"frames": 2}):
        with pytest.raises(mcm.UserError, match="of an array give a slice"):
            mcm.edit(frames, "a fox", model, **choice)


def test_stream_goes_on() -> None:
    clips = list(islice(mcm.stream("a fox", overlap=1), 3))
    assert [len(clip.frames) for clip in clips] == [FRAMES, FRAMES - 1, FRAMES - 1]


def test_distill_takes_a_file_with_overrides_or_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Recipe] = []

    def run(recipe: Recipe) -> Path:
        seen.append(recipe)
        return Path("out/student")

    monkeypatch.setattr("mcm.distillation.run.distill", run)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    assert mcm.distill(tmp_path / "recipe.yaml", ["trainer.seed=3"]) == Path("out/student")
    mcm.distill(seen[0])
    assert seen[0] == seen[1]
    assert seen[0].trainer.seed == 3


def test_evaluate_returns_a_typed_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = mcm.Evaluation([], [tmp_path / "report.json"])
    seen: list[Any] = []

    def run(*arguments: Any, **options: Any) -> mcm.Evaluation:
        seen.append((arguments, options))
        return made

    monkeypatch.setattr("mcm.evaluation.evaluate.evaluate_models", run)
    assert mcm.evaluate(["fluent"], str(tmp_path), steps="4") is made
    assert seen == [((["fluent"], tmp_path), {"steps": "4"})]


def test_errors_are_user_errors() -> None:
    with pytest.raises(mcm.UserError, match="no embedded model"):
        mcm.generate("a fox", "flunt")


def test_options_that_a_function_does_not_have_are_named(tmp_path: Path) -> None:
    frames = np.full((FRAMES, SIDE, SIDE, 3), 60, np.uint8)
    with pytest.raises(mcm.UserError, match="size: an edit takes"):
        mcm.edit(frames, "a fox", student(), size=(64, 64))
    with pytest.raises(mcm.UserError, match="frames: a stream takes"):
        mcm.stream("a fox", frames=8)
    with pytest.raises(mcm.UserError, match="start: got nan"):
        mcm.edit(frames, "a fox", student(), start=float("nan"))


@pytest.mark.parametrize("model", [None, 5])
def test_what_names_no_model_is_refused(model: Any) -> None:
    with pytest.raises(mcm.UserError, match=r"model: got .*, expected a name or a folder"):
        mcm.load(model)


@pytest.mark.parametrize("models", [[], (), "fluent"])
def test_an_evaluation_needs_a_list_of_models(models: Any, tmp_path: Path) -> None:
    with pytest.raises(mcm.UserError, match=r"models: got .* expected a list of at least one"):
        mcm.evaluate(models, tmp_path / "ev")
    assert list(tmp_path.iterdir()) == []
