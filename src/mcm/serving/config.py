"""What `mcm serve` was asked for."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field
from pathlib import Path

from mcm.errors import UserError
from mcm.sampling.options import MOST_STEPS

_LEAST = {
    "port": 0,
    "batch_size": 1,
    "queue_limit": 1,
    "time_limit": 0.001,
    "attempts": 1,
    "grace": 0.0,
    "keep_hours": 0.0,
    "most_steps": 1,
    "most_side": 8,
    "most_prompt": 1,
}
_MOST = {"port": 65535}


@dataclass(frozen=True)
class ServeConfig:
    """The options of `mcm serve`.

    Attributes:
        models: Students and teachers: embedded names, folders or ``NAME=FOLDER``; the first is the
            default.
        folder: Holds the jobs and their clips; a server that starts there again goes on.
        host: Address to listen on.
        port: Port, 0 for any free one.
        keys: File with one API key per line; without it no key is asked for.
        page: Whether to serve the web page.
        batch_size: Jobs of equal settings generated together.
        queue_limit: Jobs that may wait or run; the next is refused.
        time_limit: Seconds that a batch of jobs may run; one over it is made again job by job,
            and a job alone fails; infinity for no limit.
        attempts: How often a job is begun when the server is killed or fails during it.
        grace: Seconds that a running batch gets to finish when the server stops; infinity for as
            many as it takes.
        keep_hours: Hours until a finished job and its clip go; infinity for never.
        most_steps: Steps that a job may ask for.
        most_side: Pixels that a clip may be high or wide.
        most_prompt: Characters that a prompt may have.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps` or `xpu`.
        dtype: `auto`, `float32`, `bfloat16` or `float16`.
    """

    models: tuple[str, ...]
    folder: Path = field(default_factory=lambda: Path("serve"))
    host: str = "127.0.0.1"
    port: int = 8000
    keys: Path | None = None
    page: bool = True
    batch_size: int = 4
    queue_limit: int = 64
    time_limit: float = 600.0
    attempts: int = 3
    grace: float = 20.0
    keep_hours: float = 168.0
    most_steps: int = MOST_STEPS
    most_side: int = 1024
    most_prompt: int = 2000
    device: str = "auto"
    dtype: str = "auto"

    def check(self) -> None:
        """Check the values.

        Raises:
            UserError: One is out of its range, or others could reach a server without keys.
        """
        for name, least in _LEAST.items():
            value = getattr(self, name)
            most = _MOST.get(name, math.inf)
            if not least <= value <= most:  # which NaN is not, either
                wanted = f"{least} or more" if most == math.inf else f"{least} to {most}"
                raise UserError(f"{name}: got {value}, expected {wanted}")
        if self.keys is None and not self.is_local:
            raise UserError(
                f"host: {self.host} can be reached from other machines; give --keys FILE, "
                "or stay on 127.0.0.1"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
