import errno
import json
from pathlib import Path

import pytest
import torch

from mcm.distillation import checkpoints
from mcm.distillation.checkpoints import Card, check_fits, find, load, present, structure
from mcm.errors import UserError

WEIGHTS = {"student.a": torch.arange(6.0).view(2, 3)}
BACKBONE = {"family": "toy", "network": "abc"}


def write(folder: Path, step: int, keep: int = 2, recipe=None) -> Path:
    card = Card(step, BACKBONE, structure(recipe) if recipe else {}, {"skipped": step})
    return checkpoints.save(folder, card, WEIGHTS, {"0.step": torch.tensor(3.0)}, keep)


def test_round_trip(tmp_path: Path) -> None:
    found = load(write(tmp_path, 3))
    assert found.card == Card(3, BACKBONE, {}, {"skipped": 3})
    assert found.optimizer == {"0.step": torch.tensor(3.0)}
    assert torch.equal(found.weights["student.a"], WEIGHTS["student.a"])


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10, 100):
        write(tmp_path, step)
    assert [path.name for path in present(tmp_path)] == ["step-00000010", "step-00000100"]


@pytest.mark.parametrize("failing", ["save_file", "json.dumps", "_flush"])
def test_a_full_disk_leaves_the_one_before(tmp_path: Path, monkeypatch, failing: str) -> None:
    before = write(tmp_path, 1, keep=1)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"mcm.distillation.checkpoints.{failing}", full)
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path, 2, keep=1)
    assert list(tmp_path.iterdir()) == [before]
    assert load(before).card.step == 1


def test_half_written_ones_are_not_seen(tmp_path: Path) -> None:
    folder = tmp_path / checkpoints.FOLDER
    whole = write(folder, 1)
    (folder / ".step-00000002.part").mkdir()
    assert find(tmp_path, "latest") == whole
    checkpoints.remove_partial(folder)
    assert list(folder.iterdir()) == [whole]


def test_a_run_that_goes_on_from_before_sets_later_ones_aside(tmp_path: Path) -> None:
    """They are neither the latest nor counted, and what comes instead is not removed for them."""
    for step in (3, 7, 8):
        write(tmp_path, step, keep=9)
    aside = checkpoints.set_aside(tmp_path, 3)
    assert [path.name for path in aside] == ["set-aside-step-00000007", "set-aside-step-00000008"]
    assert all(load(path).card.step > 3 for path in aside)
    write(tmp_path, 4, keep=1)
    assert [path.name for path in present(tmp_path)] == ["step-00000004"]
    write(tmp_path, 8, keep=9)
    assert len(checkpoints.set_aside(tmp_path, 4)) == 1


def test_a_missing_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trainer.resume: no checkpoint in .*checkpoints"):
        find(tmp_path, "latest")
    with pytest.raises(UserError, match=r"no checkpoint there"):
        find(tmp_path, str(tmp_path / "elsewhere"))


@pytest.mark.parametrize("file", [checkpoints.WEIGHTS, checkpoints.OPTIMIZER, checkpoints.CARD])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, file: str) -> None:
    path = write(tmp_path, 1)
    (path / file).write_bytes(b"half")
    with pytest.raises(UserError, match="step-00000001: not a whole checkpoint"):
        load(path)


def test_another_layout_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, 1)
    card = json.loads((path / checkpoints.CARD).read_text())
    (path / checkpoints.CARD).write_text(json.dumps(card | {"format": 99}))
    with pytest.raises(UserError, match="another version of mcm"):
        load(path)


def test_another_backbone_is_refused_by_name(tmp_path: Path, recipe_of) -> None:
    checkpoint = load(write(tmp_path, 1, recipe=recipe_of()))
    check_fits(checkpoint, recipe_of(), BACKBONE)
    with pytest.raises(UserError, match=r"another backbone \(toy; differing: network\)"):
        check_fits(checkpoint, recipe_of(), BACKBONE | {"network": "xyz"})


@pytest.mark.parametrize(
    ("section", "value", "named"),
    [
        ("student", {"rank": 8}, "student.rank is 64 there and 8 in the recipe"),
        ("motion", {"representation": "raw"}, "motion.representation is 'learn' there and 'raw'"),
        ("consistency", {"ema_decay": 0.0}, "consistency.ema_decay is 'above 0' there and '0'"),
        ("critic", {"width": 16}, "critic.width is 8 there and 16"),
        ("clip_critic", {"weight": 0.5}, "clip_critic.representation is None there and 'raw'"),
        ("critic", {"weight": 0.0}, "critic.weight is 'above 0' there and '0'"),
    ],
)
def test_another_structure_is_refused_by_name(
    tmp_path: Path, recipe_of, section: str, value: dict, named: str
) -> None:
    checkpoint = load(write(tmp_path, 1, recipe=recipe_of()))
    with pytest.raises(UserError, match=named):
        check_fits(checkpoint, recipe_of(**{section: value}), BACKBONE)


def test_rates_and_lengths_may_change(tmp_path: Path, recipe_of) -> None:
    checkpoint = load(write(tmp_path, 1, recipe=recipe_of()))
    longer = recipe_of(optimizer={"lr": 1e-9}, trainer={"steps": 99}, critic={"weight": 0.7})
    check_fits(checkpoint, longer, BACKBONE)


def test_the_start_counts_only_where_it_is_made_anew(tmp_path: Path, recipe_of) -> None:
    checkpoint = load(write(tmp_path, 1, recipe=recipe_of()))
    check_fits(checkpoint, recipe_of(student={"interpolate": 0.5}), BACKBONE)
    check_fits(checkpoint, recipe_of(trainer={"seed": 9}), BACKBONE)
    other = recipe_of(student={"interpolate": 0.5}, trainer={"seed": 9})
    with pytest.raises(UserError, match=r"trainer.seed is \d+ there and 9"):
        check_fits(checkpoint, other, BACKBONE)
