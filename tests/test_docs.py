"""The documentation's hook and its command line."""

import json
import re
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import yaml

from mcm.cli import COMMANDS
from mcm.evaluation.metric import digits

ROOT = Path(__file__).resolve().parents[1]


def built_page() -> str:
    spec = spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None and spec.loader is not None
    hooks = module_from_spec(spec)
    spec.loader.exec_module(hooks)
    page: str = hooks.on_page_markdown((ROOT / "docs" / "reference" / "cli.md").read_text())
    return page


def test_every_command_is_on_the_page_with_its_options() -> None:
    page = built_page()
    assert re.findall(r"^## `mcm ([a-z]+)`$", page, re.MULTILINE) == list(COMMANDS)
    assert "### `mcm data cache`" in page
    edit = page.partition("## `mcm edit`")[2].partition("## `mcm verify`")[0]
    for option in ("--strength <float>`: How much may change", "--mask", "--start", "--frames"):
        assert option in edit
    assert "Exit codes" in page


def test_every_extra_is_in_the_instructions() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    table = (ROOT / "docs" / "how-to" / "install.md").read_text()
    for extra in extras["optional-dependencies"]:
        assert f"| `{extra}` |" in table


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    named = set(re.findall(r"[\w/-]+\.md", str(yaml.safe_load(text)["nav"])))
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    pieces = {page for page in there if page.startswith("results/")}
    assert named == there - pieces
    texts = "".join((ROOT / "docs" / page).read_text() for page in named)
    assert all(f'--8<-- "{piece}"' in texts for piece in pieces)


ROWS = {
    "FVD, `fluent-mcm`": ("fluent-mcm", "fvd"),
    "FVD, plain consistency distillation (LCM), trained alike": ("lcm", "fvd"),
    "FID to clean stills, `fluent-mcm-hq`": ("fluent-mcm-hq", "fid_image"),
    "FID to clean stills, two stages: adapt the teacher, then distil": ("two-stage", "fid_image"),
}
"""Label and metric of every row of the table in README."""


def test_the_figures_of_the_readme_are_those_of_the_results() -> None:
    found: dict[tuple[str, str, int], str] = {}
    for path in sorted((ROOT / "docs" / "results").glob("fluent-1-512*.json")):
        for run in json.loads(path.read_text())["runs"]:
            for metric, result in run["results"].items():
                if result["count"]:
                    key = (run["label"], metric, run["steps"])
                    found[key] = digits(result["value"])
    table = re.findall(r"^\| (F[^|]+) \|(.+)\|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert [title for title, _ in table] == list(ROWS)
    for title, cells in table:
        expected = [found.get((*ROWS[title], steps), "–") for steps in (1, 2, 4, 8)]
        assert [cell.strip() for cell in cells.split("|")] == expected, title
