"""200 clients at once against `mcm serve`, three SIGKILLs, then 1,000 jobs for the memory.

    python -m benchmarks.serve_load
    python -m benchmarks.serve_load --model fluent-mcm --clients 50

Without a model it takes a tiny one with random weights. Prints a table; exits with 1 if a job was
lost or made twice, or memory grew by more than a tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

START = "from mcm.cli import main; main()"
MOST_GROWTH = 1.1
WARM_UP = 100


@dataclass
class Tally:
    """What the clients saw."""

    accepted: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    refused: int = 0
    broken: int = 0
    faults: int = 0


@dataclass
class Server:
    """A server process that can be killed and started again."""

    model: str
    folder: Path
    port: int = 0
    process: subprocess.Popen[str] | None = None

    def start(self) -> float:
        """Start it and return the seconds until it listens."""
        words = ["serve", self.model, "-o", str(self.folder), "--port", str(self.port)]
        begin = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, *words, "--no-page"], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("serving"), f"the server did not start: {line}"
        self.port = int(line.rsplit(":", 1)[1])
        return time.monotonic() - begin

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @property
    def memory(self) -> float:
        """Resident memory in MB."""
        assert self.process is not None
        return float(psutil.Process(self.process.pid).memory_info().rss) / 2**20


@contextmanager
def running(model: str, folder: Path) -> Iterator[Server]:
    """Run a server until the block ends."""
    server = Server(model, folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


async def client(http: httpx.AsyncClient, server: Server, number: int, jobs: int, t: Tally) -> None:
    """Ask for some clips, one after the other, and wait for each; come back after failures."""
    for one in range(jobs):
        token = f"{id(t)}-{number}-{one}"
        body = {"prompt": f"a star {number}", "steps": 1, "seed": one}
        name = None
        while name is None:
            answer = await send(http, server, "POST", "", t, json=body, token=token)
            if answer is not None and answer.status_code == 200:
                name = str(answer.json()["id"])
                t.accepted.setdefault(name, time.monotonic())
            elif answer is not None and answer.status_code == 429:
                t.refused += 1
                await asyncio.sleep(float(answer.headers["retry-after"]))
        while name not in t.states:
            await asyncio.sleep(0.5)
            answer = await send(http, server, "GET", f"/{name}", t)
            if answer is not None and answer.json().get("status") in ("completed", "failed"):
                t.states[name] = answer.json()["status"]
                t.seconds[name] = time.monotonic() - t.accepted[name]
            elif answer is not None and answer.status_code == 404:
                t.states[name] = "lost"


async def send(
    http: httpx.AsyncClient,
    server: Server,
    method: str,
    path: str,
    t: Tally,
    token: str = "",
    json: dict[str, object] | None = None,
) -> httpx.Response | None:
    """Send a request; ``None`` if the server could not be reached, as when it was killed."""
    url = f"http://127.0.0.1:{server.port}/v1/videos{path}"
    headers = {"idempotency-key": token} if token else {}
    try:
        answer = await http.request(method, url, json=json, headers=headers)
    except httpx.TransportError:
        t.broken += 1
        await asyncio.sleep(0.5)
        return None
    t.faults += answer.status_code >= 500
    return answer


async def load(server: Server, clients: int, jobs: int, kills: int, every: float) -> Tally:
    """Let clients work while the server is killed some times."""
    t = Tally()
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(timeout=120, limits=limits) as http:
        work = [asyncio.create_task(client(http, server, n, jobs, t)) for n in range(clients)]
        for _ in range(kills):
            await asyncio.sleep(every)
            server.kill()
            await asyncio.to_thread(server.start)
        await asyncio.gather(*work)
    return t


def tiny_model() -> str:
    """Return the folder of a tiny student with random weights."""
    from tests.serving.live import tiny_student

    return str(tiny_student())


def main() -> int:
    """Run both parts and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="embedded name or folder of a student")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2, help="of each client while it is killed")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--every", type=float, default=15.0, help="seconds between kills")
    parser.add_argument("--steady", type=int, default=1000, help="jobs of the memory's measure")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running(options.model or tiny_model(), Path(folder)) as server,
    ):
        begin = time.monotonic()
        stormy = asyncio.run(
            load(server, options.clients, options.jobs, options.kills, options.every)
        )
        storm_seconds = time.monotonic() - begin
        made = len(list(Path(folder, "clips").glob("video_*")))
        asyncio.run(load(server, 20, WARM_UP // 20, 0, 0))
        before, begin = server.memory, time.monotonic()
        steady = asyncio.run(load(server, 20, options.steady // 20, 0, 0))
        steady_seconds, after = time.monotonic() - begin, server.memory
    states = list(stormy.states.values()) + list(steady.states.values())
    rows = {
        "clients, jobs each, kills": f"{options.clients}, {options.jobs}, {options.kills}",
        "accepted under kills": len(stormy.accepted),
        "completed under kills": list(stormy.states.values()).count("completed"),
        "clips on disk after kills": made,
        "failed, lost": f"{states.count('failed')}, {states.count('lost')}",
        "answers 429; broken connections": f"{stormy.refused}; {stormy.broken}",
        "answers 5xx": stormy.faults + steady.faults,
        "seconds under kills": f"{storm_seconds:.0f}",
        "jobs a second, steady": f"{len(steady.states) / steady_seconds:.1f}",
        "memory before and after": f"{before:.0f} MB, {after:.0f} MB, {after / before - 1:+.1%}",
    }
    for name, value in rows.items():
        print(f"{name:<34} {value}")
    whole = made == len(stormy.accepted) == options.clients * options.jobs
    good = whole and not states.count("lost") and not stormy.faults + steady.faults
    return 0 if good and after <= MOST_GROWTH * before else 1


if __name__ == "__main__":
    sys.exit(main())
