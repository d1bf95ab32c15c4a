"""A server killed at once, again and again: no accepted job is lost, none is done twice."""

import os
import signal
import time
from pathlib import Path

from tests.serving.live import process, wait_until

JOBS = 12


def test_accepted_jobs_survive_sigkill_and_are_done_once(tmp_path: Path) -> None:
    ids: list[str] = []
    written: dict[str, int] = {}
    for _ in range(2):
        with process(tmp_path) as (server, http):
            for number in range(JOBS // 2):
                body = {"prompt": f"a star {number}", "steps": 8, "seed": number}
                ids.append(http.post("/v1/videos", json=body).raise_for_status().json()["id"])
            wait_until(lambda: any((tmp_path / "clips").glob("video_*/facts.json")))
            time.sleep(0.2)
            os.kill(server.pid, signal.SIGKILL)
        for file in (tmp_path / "clips").glob("video_*/facts.json"):
            written.setdefault(file.parent.name, file.stat().st_mtime_ns)
    assert 0 < len(written) < JOBS, "the kills came while jobs were waiting"
    with process(tmp_path) as (server, http):

        def counts() -> dict[str, int]:
            found: dict[str, int] = http.get("/health").json()["jobs"]
            return found

        wait_until(lambda: counts()["completed"] == JOBS)
        assert counts() == {"queued": 0, "in_progress": 0, "completed": JOBS, "failed": 0}
        listed = [video["id"] for video in http.get("/v1/videos?limit=100").json()["data"]]
        assert sorted(listed) == sorted(ids)
        for id in ids:
            assert http.get(f"/v1/videos/{id}/content").content[4:8] == b"ftyp"
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=120) in (0, -signal.SIGTERM)
    for id, when in written.items():
        assert (tmp_path / "clips" / id / "facts.json").stat().st_mtime_ns == when, "made twice"
