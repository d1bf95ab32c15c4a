"""The root command: help, lazy loading, start-up time, pinned summaries."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from mcm.cli import COMMANDS, main

HELP = Path(__file__).with_name("help.txt")
HELP_SECONDS = 1.0
"""Processor seconds, twice the 0.5 s that users are promised; busy machines do not change them."""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mcm", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1"},
        check=False,
    )


def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    captured = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, captured.out, captured.err


def test_help_text_is_pinned() -> None:
    assert run("--help").stdout == HELP.read_text()


def test_help_is_fast() -> None:
    run("--help")
    before = os.times()
    assert run("--help").returncode == 0
    after = os.times()
    used = after.children_user - before.children_user
    used += after.children_system - before.children_system
    assert 0 < used < HELP_SECONDS


def test_help_loads_no_heavy_library_and_no_command() -> None:
    code = (
        "import sys\nfrom mcm.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(*sys.modules, sep='\\n', file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(result.stderr.split())
    heavy = {"torch", "numpy", "diffusers", "transformers", "accelerate", "pydantic", "yaml", "av"}
    assert loaded & heavy == set()
    assert loaded & {f"mcm.cli.{name}" for name in COMMANDS} == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_summary_is_the_commands_own(name: str) -> None:
    command = typer.main.get_command(importlib.import_module(f"mcm.cli.{name}").app)
    assert command.help is not None
    assert command.help.split("\n")[0] == COMMANDS[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, name, "--help")
    assert code == 0
    assert out.startswith(f"Usage: mcm {name}")
    assert COMMANDS[name] in " ".join(out.split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, "version")
    assert (code, out) == (0, f"mcm {importlib.import_module('mcm').__version__}\n")


def test_info_names_versions_and_memory(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, "info")
    facts = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert code == 0
    assert facts["torch"] == importlib.import_module("importlib.metadata").version("torch")
    assert facts["processors"] == str(os.cpu_count())
    assert facts["memory"].endswith("GiB free")


def test_mistyped_command_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = called(capsys, "distil")
    assert code == 2
    assert "Did you mean 'distill'" in err


def test_unknown_option_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = called(capsys, "version", "--nonsense")
    assert code == 2
    assert "--nonsense" in err


@pytest.mark.parametrize("minutes", ["0", "-1"])
def test_a_training_of_no_time_is_refused(
    tmp_path: Path, minutes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("judges", "frames", "-o", str(tmp_path / "out"), "--minutes", minutes)
    code, _, err = called(capsys, *words)
    assert (code, (tmp_path / "out").exists()) == (2, False)
    assert "'--minutes'" in err


def test_no_arguments_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = called(capsys)
    assert code == 2
    assert "generate" in out + err
