"""Verification within hard bounds: another process looks, and is ended when it takes too long.

The native readers of media files cannot be interrupted from within. One process serves file after
file, so that only the first one pays for its start; what ends it costs no more than that one file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from mcm.errors import UserError
from mcm.safety.claims import ManifestReport
from mcm.safety.report import Footage, Report
from mcm.safety.verify import existing

MOST_SECONDS = 60.0
"""Time for a file's manifest, and again for its frames."""
MOST_MEMORY = 4 << 30
"""Bytes of memory of the process."""
_MOST_ANSWER = 64 << 20
_SETTINGS = ("MCM_HOME", "MCM_POLICY")


class Examiner:
    """A process that verifies files, made when it is first needed; `close` ends it."""

    def __init__(self, seconds: float = MOST_SECONDS) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def verify(self, path: str | Path) -> Report:
        """Look at a file of any kind; what takes too long is told in the report.

        Raises:
            UserError: There is no such file, or the policy is wrong.
        """
        file = existing(path)
        footage, manifest = Footage(), None
        try:
            pipe = self._started()
            settings = {name: os.environ.get(name) for name in _SETTINGS}
            pipe.send_bytes(json.dumps({"file": str(file), "settings": settings}).encode())
            manifest = ManifestReport(**self._received(pipe))
            footage = Footage.from_dict(self._received(pipe))
        except TimeoutError:
            self.close()
            footage = Footage(unfinished=f"it took more than {self._seconds:g} seconds")
        except (EOFError, OSError):
            self.close()
            footage = Footage(unfinished="a reader broke down over it")
        return Report(str(path), manifest or ManifestReport("unknown", footage.unfinished), footage)

    def close(self) -> None:
        """End the process."""
        if self._process is not None and self._pipe is not None:
            self._pipe.close()
            self._process.kill()
            self._process.wait()
        self._process = self._pipe = None

    def _started(self) -> Connection:
        if self._pipe is not None:
            return self._pipe
        ours, theirs = Pipe()
        command = [sys.executable, "-P", "-m", __name__, str(theirs.fileno())]
        paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env={**os.environ, **paths},
        )
        theirs.close()
        self._pipe = ours
        return ours

    def _received(self, pipe: Connection) -> dict[str, Any]:
        if not pipe.poll(self._seconds):
            raise TimeoutError
        answer: dict[str, Any] = json.loads(pipe.recv_bytes(_MOST_ANSWER))
        if "error" in answer:
            raise UserError(answer["error"])
        return answer


def serve(pipe: Connection) -> None:
    """Answer one file after the other, until nobody asks any more."""
    from mcm.safety.inspection import inspect_manifest
    from mcm.safety.policy import active_policy
    from mcm.safety.verify import look

    while True:
        asked = json.loads(pipe.recv_bytes())
        for name, value in asked["settings"].items():
            os.environ.pop(name, None)
            os.environ |= {name: value} if value is not None else {}
        try:
            file = Path(asked["file"])
            manifest = inspect_manifest(file, active_policy().provenance)
            pipe.send_bytes(json.dumps(asdict(manifest)).encode())
            pipe.send_bytes(json.dumps(asdict(look(file))).encode())
        except UserError as error:
            pipe.send_bytes(json.dumps({"error": str(error)}).encode())


def _main() -> None:
    import resource

    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    with suppress(EOFError, OSError):
        serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    _main()
