"""Real servers on a loopback port: in a thread of the test, or in a process of its own."""

import functools
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.backbones.tiny import load_tiny, make_tiny_animatediff
from tests.sampling.fake import make_model

from mcm.backbones.adapters import save_adapter
from mcm.serving import clips
from mcm.serving.config import ServeConfig
from mcm.serving.keys import Keys
from mcm.serving.models import Models, ServedModel
from mcm.serving.room import Room
from mcm.serving.serve import Server, listen


@functools.cache
def tiny_student() -> Path:
    """Return the folder of a tiny AnimateDiff student, `tiny-mcm`, its teacher `tiny` beside it."""
    folder = Path(tempfile.mkdtemp())
    teacher = make_tiny_animatediff(folder / "tiny")
    backbone = load_tiny(teacher)
    backbone.add_adapter("student", 4, 4.0)
    notes = {"base": str(teacher), "original_steps": 20, "timestep_scaling": 4.0}
    return save_adapter(backbone, "student", folder / "tiny-mcm", notes)


def fake_models() -> Models:
    """Return a student and its teacher that cost nothing."""
    student = replace(make_model("student"), name="student")
    teacher = replace(make_model("teacher"), name="teacher")
    return Models(
        [
            ServedModel(student, True, "runs/a b/student", "teacher"),
            ServedModel(teacher, False, "teacher"),
        ]
    )


class Held:
    """Fake models whose student begins a step only when it may."""

    def __init__(self) -> None:
        self.models, self._steps = fake_models(), threading.Semaphore(0)
        backbone: Any = self.models["student"].model.backbone
        self.batches: list[int] = backbone.batches
        self._predict = backbone.predict
        backbone.predict = self._held

    def allow(self, steps: int) -> None:
        """Let some more steps begin."""
        self._steps.release(steps)

    def _held(self, *arguments: Any) -> Any:
        assert self._steps.acquire(timeout=120)
        return self._predict(*arguments)


class SlowWriting:
    """Clips are converted only once it is allowed.

    Attributes:
        begun: Set when the first conversion begins.
        go_on: Set it to allow them.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        write = clips._write_format

        def slowly(folder: Path, kind: str) -> None:
            self.begun.set()
            assert self.go_on.wait(60)
            write(folder, kind)

        monkeypatch.setattr(clips, "_write_format", slowly)


@contextmanager
def running(
    folder: Path, models: Models | None = None, keys: Keys | None = None, **changes: Any
) -> Iterator[Server]:
    """Run a server of fake models, without a page unless asked for."""
    values = {"page": False, "port": 0, **changes}
    config = ServeConfig(models=("student", "teacher"), folder=folder, **values)
    listener = listen(config)
    server = Server(config, models or fake_models(), keys or Keys(), listener, Room(folder))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield server
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def process(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Run `mcm serve` of the tiny student and wait until it listens."""
    arguments = ["serve", str(tiny_student()), "-o", str(folder), "--port", "0", "--no-page"]
    command = [sys.executable, "-c", "from mcm.cli import main; main()", *arguments, *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        lines: list[str] = []
        for line in server.stdout:
            lines.append(line)
            if line.startswith("serving tiny-mcm on "):
                break
        else:
            raise AssertionError("".join(lines))
        try:
            with httpx.Client(base_url=line.split()[-1], timeout=60) as http:
                yield server, http
        finally:
            server.kill()


def wait_until(condition: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)
