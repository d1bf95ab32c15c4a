"""Every failure of a command is one message and one exit code."""

import errno
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pydantic
import pytest
import torch

from mcm.cli import main
from mcm.cli.failures import MEMORY_ADVICE
from mcm.errors import UserError


class Count(pydantic.BaseModel):
    n: int


def validation_error() -> Exception:
    with pytest.raises(pydantic.ValidationError) as caught:
        Count.model_validate({"n": "many"})
    return caught.value


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Make `mcm info` raise an error."""

    def arm(error: BaseException) -> None:
        def describe() -> dict[str, str]:
            raise error

        module: Any = ModuleType("mcm.environment")
        module.describe = describe
        monkeypatch.setitem(sys.modules, "mcm.environment", module)

    return arm


def outcome(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        main(arguments or ["info"])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert isinstance(caught.value.code, int)
    return caught.value.code, captured.err


ALLOCATOR = "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("steps: got 0, expected 1 to 50"), 2, "mcm: steps: got 0, expected 1 to 50\n"),
        (validation_error(), 2, "1 validation error for Count n Input should be a valid integer"),
        (OSError(errno.ENOSPC, "No space left on device", "a.mp4"), 1, "mcm: a.mp4: the disk is"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 1, "mcm: the disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), 1, "the disk is full"),
        (PermissionError(errno.EACCES, "denied", "/out"), 1, "mcm: /out: no permission"),
        (OSError(errno.EROFS, "Read-only file system", "/out"), 1, "mcm: /out: no permission"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), 1, "mcm: x: No such"),
        (OSError("Unable to load weights"), 1, "mcm: Unable to load weights\n"),
        (MemoryError(), 1, "mcm: out of memory: use a smaller input\n"),
        (torch.OutOfMemoryError("CUDA out of memory."), 1, "mcm: out of memory"),
        (RuntimeError(ALLOCATOR), 1, "mcm: out of memory"),
        (ModuleNotFoundError("no", name="wandb"), 2, "in a clone pip install '.[wandb]'"),
        (EOFError("Ran out of input"), 1, "internal error: EOFError: Ran out of input"),
        (KeyError("x"), 1, "run again with --debug"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_failure_is_told_in_a_line(
    error: Exception,
    code: int,
    message: str,
    failing: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(error)
    found, text = outcome(capsys)
    assert found == code
    assert message in text
    assert "Traceback" not in text


def test_interrupt_exits_130(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(KeyboardInterrupt())
    assert outcome(capsys)[0] == 130


@pytest.mark.parametrize("arguments", [("--debug", "info"), ("info", "--debug")])
def test_debug_lets_the_error_through(
    arguments: tuple[str, ...], failing: Callable[[BaseException], None]
) -> None:
    failing(UserError("told in full"))
    with pytest.raises(UserError, match="told in full"):
        main(arguments)


def test_out_of_memory_names_the_commands_knob(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def generate_files(request: object, **_: object) -> None:
        raise MemoryError

    for name, value in (("generate", generate_files), ("requests", dict)):
        module: Any = ModuleType(f"mcm.sampling.{name}")
        setattr(module, {"generate": "generate_files", "requests": "GenerateRequest"}[name], value)
        monkeypatch.setitem(sys.modules, f"mcm.sampling.{name}", module)
    code, text = outcome(capsys, "generate", "a fox")
    assert (code, text) == (1, f"mcm: out of memory: {MEMORY_ADVICE['generate']}\n")
