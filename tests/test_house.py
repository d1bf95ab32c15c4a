"""What the project promises about itself: set-up commands, recipes, imports, versions."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import mcm
from mcm.cli.failures import EXTRAS
from mcm.recipe import resolve

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
PINS = dict(
    line.split("==") for line in (ROOT / "requirements.lock").read_text().split() if "==" in line
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_writes_where_its_name_says(recipe: Path) -> None:
    name = recipe.relative_to(ROOT / "recipes").with_suffix("").as_posix()
    assert resolve(recipe).trainer.output == f"outputs/{name}"


def test_shipped_recipes_are_found() -> None:
    assert {"fluent-mcm", "fluent-mcm-hq", "fluent-smoke"} <= {path.stem for path in RECIPES}


def test_make_targets_of_the_readme_exist() -> None:
    named = set(re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    offered = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named <= offered


def test_ci_runs_make_test_and_nothing_else() -> None:
    script = ROOT / ".ci" / "run"
    lines = [line for line in script.read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "set -euo pipefail"
    assert lines[-1] == "make test"
    assert len(lines) == 3
    assert os.access(script, os.X_OK)


def test_make_test_builds_the_documentation_strictly() -> None:
    rules = (ROOT / "Makefile").read_text()
    assert re.search(r"^test:.*\bdocs\b", rules, re.MULTILINE)
    assert re.search(r"^docs: .*\n\t.*mkdocs build --strict", rules, re.MULTILINE)
    assert re.search(r"-e '\.\[.*\bdocs\b.*\]'", rules)


def test_lock_pins_every_dependency_within_its_range() -> None:
    pins = {canonical(name): version for name, version in PINS.items()}
    extras = PROJECT["optional-dependencies"]
    for text in [
        *PROJECT["dependencies"],
        *extras["dev"],
        *extras["docs"],
        *extras["fluent"],
        *extras["serve"],
        *extras["ui"],
    ]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[canonical(requirement.name)]), text


def test_lock_holds_pins_only() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", line) for line in lines)
    assert len(PINS) == len(lines)


def test_lock_installs_on_the_oldest_python_promised() -> None:
    oldest = PROJECT["requires-python"].removeprefix(">=") + ".0"
    checked, refusing = 0, []
    for name in PINS:
        try:
            wanted = metadata(name)["Requires-Python"]
        except PackageNotFoundError:
            continue
        checked += 1
        if wanted and not SpecifierSet(wanted).contains(oldest):
            refusing.append(f"{name} wants Python {wanted}")
    assert checked > len(PINS) / 2
    assert not refusing


def test_extras_named_in_errors_are_offered() -> None:
    offered = {
        canonical(Requirement(text).name): extra
        for extra, texts in PROJECT["optional-dependencies"].items()
        for text in texts
    }
    assert {module: offered[canonical(module)] for module in EXTRAS} == EXTRAS


def test_import_is_light() -> None:
    code = "import sys, mcm, mcm.recipe, mcm.cli; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {"torch", "diffusers", "transformers", "accelerate", "peft", "av", "webdataset"}
    assert heavy & set(result.stdout.split()) == set()


def test_public_names_load_when_asked_for() -> None:
    assert mcm.UserError.__module__ == "mcm.errors"
    assert mcm.Recipe.__name__ == "Recipe"
    assert set(mcm.__all__) <= set(dir(mcm))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = mcm.nonsense


def test_version_is_told_by_the_changelog() -> None:
    assert f"## {mcm.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target
