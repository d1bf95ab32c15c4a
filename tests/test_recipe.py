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


@pytest.mark.parametrize("override", ["optimizer.lr", "=1", "optimizer..lr=1", ".lr=1"])
def test_override_without_key_or_value(recipe_file: Path, override: str) -> None:
    assert "expected key=value" in fault(recipe_file, override)


def test_override_that_is_not_yaml(recipe_file: Path) -> None:
    assert "override 'data.size=[1': not valid YAML" in fault(recipe_file, "data.size=[1")


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
