from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from mcm.errors import UserError
from mcm.recipe import dump, keys, resolve, save
from mcm.settings import Recipe

LEAST = """
model: {teacher: fluent}
data: {videos: videos}
trainer: {output: out, steps: 10}
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    file = tmp_path / "recipe.yaml"
    file.write_text(LEAST)
    return file


def fault(file: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        resolve(file, overrides)
    return str(caught.value)


def test_least_recipe_takes_the_documented_defaults(recipe_file: Path) -> None:
    recipe = resolve(recipe_file)
    assert recipe.consistency.grid_points == 20
    assert recipe.consistency.ema_decay == 0.95
    assert recipe.motion.representation == "learn"
    assert recipe.critic.weight == 0
    assert recipe.trainer.validation.steps == (1, 2, 4, 8)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("optimizer.lr=1e-5", "optimizer.lr", 1e-5),
        ("optimizer.lr=2", "optimizer.lr", 2.0),
        ("data.size=[96, 128]", "data.size", (96, 128)),
        ("data.images=null", "data.images", None),
        ("data.images=", "data.images", None),
        ("consistency.guidance=[6,16]", "consistency.guidance", (6.0, 16.0)),
        ("critic.text_conditioned=false", "critic.text_conditioned", False),
        ("trainer.output=a=b", "trainer.output", "a=b"),
        ("trainer.validation={seeds: [3]}", "trainer.validation.seeds", (3,)),
        ("model.device=cuda:1", "model.device", "cuda:1"),
        ("trainer.mixed_precision=no", "trainer.mixed_precision", "no"),
    ],
)
def test_override_is_read_as_yaml(
    recipe_file: Path, override: str, key: str, value: object
) -> None:
    found: object = resolve(recipe_file, [override])
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value
    assert type(found) is type(value)


def test_last_override_wins_and_keeps_its_neighbours(recipe_file: Path) -> None:
    recipe = resolve(recipe_file, ["trainer.seed=3", "optimizer.lr=1e-3", "optimizer.lr=1e-4"])
    assert recipe.optimizer.lr == 1e-4
    assert (recipe.trainer.seed, recipe.trainer.steps) == (3, 10)


def test_an_anchor_may_be_merged_into_a_section(recipe_file: Path) -> None:
    text = "critic: &one {weight: 0.5, loss: hinge}\nclip_critic: {<<: {weight: 2.0}, width: 8}\n"
    recipe_file.write_text(LEAST + text)
    recipe = resolve(recipe_file)
    assert (recipe.clip_critic.weight, recipe.clip_critic.width) == (2.0, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]: 1", "key ('a',) is no name|key ['a'] is no name"),
        ("x: 2020-99-99", "not valid YAML: month must be in 1..12"),
        ("x: !!int abc", "not valid YAML"),
        ("x: !!bool maybe", "not valid YAML"),
        ('base: "a\\0b"', "base: 'a\\x00b' is no path of a file"),
        ("x: " + "[" * 5000, "not valid YAML"),
    ],
)
def test_what_is_no_recipe_is_told(recipe_file: Path, text: str, message: str) -> None:
    recipe_file.write_text(f"{text}\n")
    found = fault(recipe_file)
    assert any(one in found for one in message.split("|"))
    assert found.startswith(str(recipe_file))


def test_a_base_that_is_a_loop_of_links_is_told(recipe_file: Path) -> None:
    (recipe_file.parent / "loop.yaml").symlink_to("loop.yaml")
    recipe_file.write_text("base: loop.yaml\n")
    assert "loop.yaml" in fault(recipe_file)


def test_exponent_without_point_is_a_number_in_files_too(recipe_file: Path) -> None:
    recipe_file.write_text(LEAST + "optimizer: {lr: 5e-6, betas: [0.9, 1e-3]}\n")
    assert resolve(recipe_file).optimizer.lr == 5e-6


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


@pytest.mark.parametrize("override", ["optimizer.lr", "=1", "optimizer..lr=1", ".lr=1"])
def test_override_without_key_or_value(recipe_file: Path, override: str) -> None:
    assert "expected key=value" in fault(recipe_file, override)


def test_override_that_is_not_yaml(recipe_file: Path) -> None:
    assert "override 'data.size=[1': not valid YAML" in fault(recipe_file, "data.size=[1")


def test_every_fault_is_told_with_its_origin(recipe_file: Path) -> None:
    recipe_file.write_text("model: {}\ndata: {videos: 3}\ntrainer: {output: out, steps: 10}\n")
    assert fault(recipe_file, "student.rank=0").splitlines() == [
        f"{recipe_file}: model.teacher: missing; give it in the recipe or as model.teacher=value",
        "override: student.rank: got 0, expected a number greater than or equal to 1",
        f"{recipe_file}: data.videos: got 3, expected a valid string",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {teacher: a\n", "not valid YAML"),
        ("model: {teacher: a}\nmodel: {teacher: b}\n", "line 2: not valid YAML: key 'model' is"),
        ("- a\n- b\n", "expected sections"),
        ("- a list\n", "expected sections"),
        ("model: !!python/object:os.system {}\n", "not valid YAML"),
    ],
)
def test_file_that_is_no_recipe(recipe_file: Path, text: str, message: str) -> None:
    recipe_file.write_text(text)
    found = fault(recipe_file)
    assert message in found
    assert str(recipe_file) in found


def test_missing_file_folder_and_binary(tmp_path: Path) -> None:
    assert "no such file" in fault(tmp_path / "absent.yaml")
    assert "not a recipe" in fault(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"\xff\xfe\x00\x81")
    assert "not a recipe" in fault(tmp_path / "clip.mp4")


def test_base_gives_what_the_recipe_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(LEAST)
    child = tmp_path / "sub" / "child.yaml"
    child.parent.mkdir()
    child.write_text("base: ../base.yaml\ntrainer: {steps: 20}\noptimizer: {betas: [0.5, 0.9]}\n")
    recipe = resolve(child, ["trainer.seed=4"])
    assert (recipe.trainer.steps, recipe.trainer.seed, recipe.trainer.output) == (20, 4, "out")
    assert recipe.optimizer.betas == (0.5, 0.9)


def test_base_of_a_base_and_wrong_base(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(LEAST)
    (tmp_path / "b.yaml").write_text("base: a.yaml\n")
    (tmp_path / "c.yaml").write_text("base: b.yaml\ntrainer: {seed: 5}\n")
    (tmp_path / "d.yaml").write_text("base: [a.yaml]\n")
    assert resolve(tmp_path / "b.yaml") == resolve(tmp_path / "a.yaml")
    assert resolve(tmp_path / "c.yaml") == resolve(tmp_path / "a.yaml", ["trainer.seed=5"])
    (tmp_path / "a.yaml").write_text(LEAST + "base: c.yaml\n")
    assert "leads back to itself" in fault(tmp_path / "c.yaml")
    assert "expected the path of a recipe" in fault(tmp_path / "d.yaml")


def test_guidance_weights_are_the_papers(recipe_file: Path) -> None:
    recipe = resolve(recipe_file, ["consistency.guidance=[6, 16]"])
    assert recipe.consistency.guidance_weights == (5.0, 15.0)
    assert resolve(recipe_file).consistency.guidance_weights is None


def test_recipe_cannot_be_changed(recipe_file: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        resolve(recipe_file).optimizer.lr = 1.0  # type: ignore[misc]


positive = st.floats(min_value=1e-300, max_value=1e300, allow_nan=False)
texts = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


@given(
    lr=positive,
    weight=st.floats(min_value=0, max_value=1e6),
    seed=st.integers(min_value=0, max_value=2**63 - 1),
    teacher=texts,
    prompts=st.lists(texts, max_size=3),
)
@example(lr=1.0, weight=0.0, seed=0, teacher="0E0", prompts=["1e-5"])
def test_dump_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory,
    lr: float,
    weight: float,
    seed: int,
    teacher: str,
    prompts: list[str],
) -> None:
    values = {
        "model": {"teacher": teacher},
        "data": {"videos": "v"},
        "motion": {"weight": weight},
        "critic": {"weight": 1.0},
        "optimizer": {"lr": lr},
        "trainer": {"output": "o", "steps": 1, "seed": seed, "validation": {"prompts": prompts}},
    }
    recipe = Recipe.model_validate(values)
    file = tmp_path_factory.mktemp("dump") / "recipe.yaml"
    file.write_text(dump(recipe), encoding="utf-8")
    assert resolve(file) == recipe


def test_save_writes_a_recipe_that_resolves_equal(recipe_file: Path, tmp_path: Path) -> None:
    recipe = resolve(recipe_file, ["optimizer.lr=3e-7"])
    target = save(recipe, tmp_path / "new" / "folder")
    assert target == tmp_path / "new" / "folder" / "recipe.yaml"
    assert resolve(target) == recipe
    assert [file.name for file in target.parent.iterdir()] == ["recipe.yaml"]


def test_keys_are_those_of_a_full_dump(recipe_file: Path) -> None:
    def walk(values: dict[str, object], prefix: str = "") -> set[str]:
        found = {prefix + key for key in values}
        for key, value in values.items():
            if isinstance(value, dict):
                found |= walk(value, f"{prefix}{key}.")
        return found

    assert set(keys()) == walk(yaml.safe_load(dump(resolve(recipe_file))))


def test_every_field_is_documented() -> None:
    for section in Recipe.model_fields.values():
        fields = getattr(section.annotation, "model_fields", {})
        assert section.description
        assert [name for name, field in fields.items() if not field.description] == []
