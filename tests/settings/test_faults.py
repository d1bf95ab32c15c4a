from pathlib import Path

import pytest

from mcm.errors import UserError
from mcm.recipe import resolve


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "model: {teacher: fluent}\ndata: {videos: videos}\ntrainer: {output: out, steps: 10}\n"
    )
    return file


def fault(file: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        resolve(file, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "path", "nearest"),
    [
        ("optimizer.l=1", "optimizer.l", "optimizer.lr"),
        ("optimizer.learning_rate=1", "optimizer.learning_rate", "optimizer.lr"),
        ("optimiser.lr=1", "optimiser", "optimizer"),
        ("critic.wieght=2", "critic.wieght", "critic.weight"),
        ("grid_points=4", "grid_points", "consistency.grid_points"),
        ("lr=1e-5", "lr", "critic.lr or clip_critic.lr or optimizer.lr"),
        ("trainer.validation.step=[1]", "trainer.validation.step", "trainer.validation.steps"),
    ],
)
def test_unknown_key_names_path_and_nearest(
    recipe_file: Path, override: str, path: str, nearest: str
) -> None:
    assert fault(recipe_file, override) == (
        f"override: {path}: unknown key; the nearest valid key is {nearest}"
    )


def test_unknown_key_far_from_all_lists_the_section(recipe_file: Path) -> None:
    message = fault(recipe_file, "optimizer.zzz=1")
    assert message.endswith(
        "valid keys here: lr, weight_decay, betas, grad_clip, schedule, warmup_steps"
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.steps=many", "trainer.steps: got 'many', expected a valid integer"),
        ("trainer.steps=1.5", "trainer.steps: got 1.5, expected a valid integer"),
        ("trainer.steps=true", "trainer.steps: got True, expected a valid integer"),
        ("student.rank=0", "student.rank: got 0, expected a number greater than or equal to 1"),
        ("trajectories.real_fraction=1.1", "expected a number less than or equal to 1"),
        ("trajectories.real_fraction=-0.1", "expected a number greater than or equal to 0"),
        ("optimizer.lr=.nan", "optimizer.lr: got nan, expected a finite number"),
        ("optimizer.lr='1e-5'", "optimizer.lr: got '1e-5', expected a valid number"),
        ("optimizer.lr.x=1", "optimizer.lr: got {'x': 1}, expected a valid number"),
        ("data.size=[128]", "data.size: got [128], expected one value more"),
        ("data.size=[1,2,3]", "data.size: got [1, 2, 3], expected at most 2 items"),
        ("critic=3", "critic: got 3, expected a valid section of keys"),
        ("motion.representation=lern", "'freqh' or 'learn'"),
        ("model.device=gpu", "model.device: got 'gpu', expected auto, cpu, mps, cuda, cuda:N"),
        ("trainer.output=", "trainer.output: got None, expected a valid string"),
        (
            "consistency.guidance=[8,7]",
            "consistency.guidance: got [8, 7], expected its least number first",
        ),
        ("clip_critic.noise=[0.7,0]", "clip_critic.noise: got [0.7, 0], expected its least"),
        ("consistency.time_weights=[0,0]", "consistency.time_weights: got [0, 0], which has no"),
        ("consistency.grid_points=1", "consistency.grid_points: got 1, expected a number greater"),
        (
            "trajectories.self_generation_steps=21",
            "got 21, which has 21, more than consistency.grid",
        ),
        ("motion.weight=0", "motion.weight: got 0, which leaves nothing to learn"),
        ("consistency.image_weight=1", "consistency.image_weight: got 1, which needs images"),
        ("optimizer.warmup_steps=11", "got 11, which is more than trainer.steps"),
        ("trainer.validation.steps=[4, 51]", "trainer.validation.steps.1: got 51"),
        ("student.init=[]", "student.init: got [], expected a valid string, or at least 1 item"),
        ("student.init=3", "student.init: got 3, expected a valid string, or a list"),
        ("student.init_auxiliary=true", "got True, which needs a student to go on from"),
        ("data.size=96x128", "data.size: got '96x128', expected a list"),
        ("trainer.steps=010", "trainer.steps: got '010', expected a valid integer"),
        ("trainer.steps=1:30", "trainer.steps: got '1:30', expected a valid integer"),
        ("trainer.seed=99999999999999999999", "expected a number less than 9223372036854775808"),
        ("critic.size=7", "critic.size: got 7, expected a number greater than or equal to 32"),
        (f"trainer.validation.seeds=[{2**64}]", "trainer.validation.seeds.0: got 184467440737"),
        ("student.rank=99999999", "student.rank: got 99999999, expected a number less than or"),
    ],
)
def test_wrong_value_names_path_value_and_expectation(
    recipe_file: Path, override: str, message: str
) -> None:
    found = fault(recipe_file, override)
    assert message in found
    assert found.startswith("override: ")
    assert "\n" not in found


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["consistency.grid_points=2", "consistency.time_weights=[1, 1, 1]"],
            "consistency.time_weights: got [1, 1, 1], which has more parts than grid_points",
        ),
        (
            ["consistency.segments=2", "trajectories.self_generation_steps=[2, 3]"],
            "trajectories.self_generation_steps: got [2, 3], which has 3, no multiple of "
            "consistency.segments; such a student is for 2 steps",
        ),
    ],
)
def test_values_that_do_not_go_together(
    recipe_file: Path, overrides: list[str], message: str
) -> None:
    assert message in fault(recipe_file, *overrides)


def test_every_fault_is_told_with_its_origin(recipe_file: Path) -> None:
    recipe_file.write_text("model: {}\ndata: {videos: 3}\ntrainer: {output: out, steps: 10}\n")
    assert fault(recipe_file, "student.rank=0").splitlines() == [
        f"{recipe_file}: model.teacher: missing; give it in the recipe or as model.teacher=value",
        "override: student.rank: got 0, expected a number greater than or equal to 1",
        f"{recipe_file}: data.videos: got 3, expected a valid string",
    ]
