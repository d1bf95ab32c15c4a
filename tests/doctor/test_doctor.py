"""Forecasts beside the same step with values."""

import gc
from pathlib import Path

import pytest
import torch
from tests.backbones.tiny import make_tiny_animatediff
from tests.backbones.tiny_families import make_tiny
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from typer.testing import CliRunner

from mcm.backbones.adapters import save_adapter
from mcm.backbones.loading import load_backbone
from mcm.cli.doctor import app
from mcm.distillation.begin import add_variants
from mcm.distillation.learner import Learner
from mcm.doctor.doctor import GIB, Forecast, account, forecast
from mcm.doctor.ledger import Ledger
from mcm.doctor.sketch import all_networks, make_batch, make_objective, sketch
from mcm.doctor.step import update
from mcm.doctor.timing import predict_seconds
from mcm.errors import UserError
from mcm.settings import Recipe


def recipe_of(teacher: Path, **sections: dict[str, object]) -> Recipe:
    given: dict[str, dict[str, object]] = {
        "model": {"teacher": str(teacher), "device": "cpu", "dtype": "float32"},
        "student": {"rank": 4, "alpha": 4.0},
        "data": {"videos": "none"},
        "critic": {"weight": 0.1, "backbone": "scratch", "width": 8, "size": 32},
        "trajectories": {"real_fraction": 0.0},
        "trainer": {"output": "none", "steps": 1, "batch_size": 2, "mixed_precision": "no"},
    }
    for name, values in sections.items():
        given[name] = given.get(name, {}) | values
    return Recipe.model_validate(given)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_animatediff(tmp_path_factory.mktemp("teacher"), "kl", "epsilon")


def real_account(recipe: Recipe) -> Ledger:
    """Return the account of the second step of the real model."""
    backbone = load_backbone(recipe.model.teacher, "cpu", "float32")
    add_variants(backbone, recipe)
    batch = make_batch(backbone, recipe)
    objective = make_objective(backbone, recipe)
    backbone.codec.free_encoder()
    ledger = Ledger()
    for module in (objective, *all_networks(backbone), backbone.codec.autoencoder):
        ledger.hold(module)
    learner, generator = Learner.of(objective, recipe), torch.Generator().manual_seed(0)
    gc.collect()
    with ledger:
        for _ in range(2):
            ledger.restart()
            update(objective, learner, batch, recipe, generator)
    return ledger


@pytest.mark.parametrize("image_weight", [0.0, 1.0])
def test_a_step_without_values_is_the_real_step(teacher: Path, image_weight: float) -> None:
    """The same bytes at the peak, the same operations on the same shapes."""
    images = {"videos": "none", "images": "none", "image_batch_size": 6}
    recipe = recipe_of(teacher, data=images, consistency={"image_weight": image_weight})
    real = real_account(recipe)
    drawn, _ = account(sketch(recipe), recipe)
    assert drawn.peak == pytest.approx(real.peak, rel=0.05)
    heavy = [
        {o: n for o, n in ledger.operations.items() if "convolution" in str(o.function)}
        for ledger in (drawn, real)
    ]
    assert heavy[0] == heavy[1]


def test_what_a_teacher_wears_is_in_the_account(teacher: Path, tmp_path: Path) -> None:
    """Its weights and its share of the teacher's step, without its file's values."""
    dresser = load_backbone(teacher, "cpu", "float32")
    dresser.add_adapter("looks", 8, 8.0)
    looks = save_adapter(dresser, "looks", tmp_path)
    bare = recipe_of(teacher)
    model = {"teacher": str(teacher), "device": "cpu", "dtype": "float32", "adapter": str(looks)}
    recipe = recipe_of(teacher, model=model, student={"init": [str(looks), str(looks)]})
    real = real_account(recipe_of(teacher, model=model))
    drawn, without = (account(sketch(one), one)[0] for one in (recipe, bare))
    assert drawn.peak == pytest.approx(real.peak, rel=0.05)
    counts = [_convolutions(ledger) for ledger in (drawn, real, without)]
    assert counts[0] == counts[1] > counts[2]


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("model", {"family": "wan"}, "model.family: got wan, but .* is of family animatediff"),
        ("data", {"size": (33, 33)}, "data.size: 33x33 .* does not fit the latent grid"),
        ("student", {"init": "/nope"}, "student.init: no embedded model or folder '/nope'"),
    ],
)
def test_what_no_run_would_take_is_refused(
    teacher: Path, section: str, change: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        sketch(recipe_of(teacher, **{section: change}))


def _convolutions(ledger: Ledger) -> int:
    return sum(n for o, n in ledger.operations.items() if "convolution" in str(o.function))


@pytest.mark.parametrize("family", ["modelscope", "wan-2.2", "fluent-dit", "ltx", "cogvideox"])
def test_every_family_can_be_drawn(family: str, tmp_path: Path) -> None:
    """Images too, which are clips of one frame."""
    images = {"videos": "none", "images": "none"}
    sections = {"data": images, "consistency": {"image_weight": 1.0}, "trainer": {"batch_size": 1}}
    recipe = recipe_of(make_tiny(family, tmp_path), **sections)
    found = forecast(recipe, budget=None)
    assert found.peak > found.weights > 0
    assert found.seconds is None


def test_what_needs_memory_is_told(teacher: Path) -> None:
    plain: dict[str, dict[str, object]] = {
        "critic": {"weight": 0.0},
        "trajectories": {"real_fraction": 1.0},
    }
    usual, larger, spared = (
        forecast(recipe_of(teacher, trainer=trainer, **plain), budget=None)
        for trainer in ({}, {"batch_size": 4}, {"gradient_checkpointing": True})
    )
    assert usual.weights == larger.weights == spared.weights
    working = [found.peak - found.weights for found in (spared, usual, larger)]
    assert working[0] < 0.8 * working[1]
    assert working[2] == pytest.approx(2 * working[1], rel=0.2)


def test_the_account_follows_births_and_deaths() -> None:
    with Ledger() as ledger:
        a = torch.ones(1000)
        b = a + a
        del a
        assert (ledger.live, ledger.peak) == (4000, 8000)
        view = b.view(10, 100)
        assert ledger.live == 4000
        del b, view
        assert (ledger.live, ledger.peak) == (0, 8000)


def test_seconds_grow_with_the_work() -> None:
    x = torch.ones(256, 256)
    seconds = []
    for count in (200, 2000):
        with Ledger() as ledger:
            for _ in range(count):
                torch.mm(x, x)
        seconds.append(predict_seconds(ledger.operations, budget=5.0))
    assert seconds[1] == pytest.approx(10 * seconds[0], rel=0.6)


def test_a_spent_budget_guesses_products_by_products_and_the_rest_by_the_rest() -> None:
    """What is not tried was once as slow, byte by byte, as a product: nine times the truth."""
    x = torch.ones(512, 512)
    with Ledger() as ledger:
        for width in range(128, 512, 8):
            torch.mm(x[:width], x)
            x[:width] + 1.0
            x[:, :width].mul(2.0).sin()
    hasty, thorough = (predict_seconds(ledger.operations, budget) for budget in (0.1, 20.0))
    assert hasty == pytest.approx(thorough, rel=0.6)


@pytest.mark.parametrize(("attention", "products"), [(False, 1 + 2), (True, 2 + 5)])
def test_the_account_knows_the_flops_of_products(attention: bool, products: int) -> None:
    q = torch.ones(2, 3, 64, 16, requires_grad=True)
    with Ledger() as ledger:
        if attention:
            with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                functional.scaled_dot_product_attention(q, q, q).sum().backward()
        else:
            (q @ q.transpose(2, 3)).sum().backward()
    flops = sum(one.flops * count for one, count in ledger.operations.items())
    assert flops == products * 2 * 2 * 3 * 64 * 64 * 16


def test_the_command_prints_a_forecast(tmp_path: Path) -> None:
    teacher = make_tiny("fluent-dit", tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"model: {{teacher: {teacher}, device: cpu, dtype: float32}}\n"
        "data: {videos: none}\ntrainer: {output: none, steps: 1}\n"
    )
    done = CliRunner().invoke(app, [str(path), "trainer.batch_size=1", "--no-time"])
    assert done.exit_code == 0, done.output
    assert "peak memory" in done.output
    assert not (tmp_path / "none").exists()


def test_too_little_memory_names_the_knobs() -> None:
    lines = Forecast(GIB, 3 * GIB, GIB // 2, 2.0).lines(available=GIB)
    assert lines[1].endswith("3.50 GiB")
    assert "trainer.gradient_checkpointing=true" in lines[-1]
    assert len(Forecast(GIB, 3 * GIB, 0, None).lines(available=9 * GIB)) == 4


def test_a_folder_that_lacks_a_component_is_told(tmp_path: Path) -> None:
    folder = make_tiny("modelscope", tmp_path)
    for path in (folder / "vae").iterdir():
        path.unlink()
    (folder / "vae").rmdir()
    with pytest.raises(UserError, match=r"component vae .* is missing"):
        forecast(recipe_of(folder), budget=None)


def test_weights_that_are_half_there_are_told(tmp_path: Path) -> None:
    folder = make_tiny("modelscope", tmp_path)
    (weights,) = (folder / "vae").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-64])
    with pytest.raises(UserError, match=r"component vae .* cannot be loaded"):
        forecast(recipe_of(folder), budget=None)
