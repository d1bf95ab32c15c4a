"""Time from starting a cold server to the first interaction with its page in headless Chromium.

    python -m benchmarks.page
    python -m benchmarks.page --model fluent-mcm --rounds 5

Needs Chromium on the PATH (Debian: apt-get install chromium), which runs before the clock does.
Each round starts a server of its own. `listens` is the time from its start until it listens, models
loaded; `usable` from opening the page, for the first time, until a prompt is typed and the button
can be pressed. Prints every round and the medians; exits with 1 if `usable` is over 3 seconds.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

START = "from mcm.cli import main; main()"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MOST_SECONDS = 3.0


def measure(browser: Any, model: str) -> tuple[float, float]:
    """Return the seconds until a new server listens, and from there until its page is usable."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["serve", model, "-o", folder, "--port", "0"]
        begin = time.monotonic()
        server = subprocess.Popen(
            [sys.executable, "-c", START, *words], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            listens = time.monotonic() - begin
            return listens, until_usable(browser, line.split()[-1])
        finally:
            server.terminate()
            server.wait()


def until_usable(browser: Any, address: str) -> float:
    """Return the seconds from opening a page until its first interaction."""
    context = browser.new_context()
    page = context.new_page()
    begin = time.monotonic()
    page.goto(address, wait_until="commit")
    page.get_by_label("Prompt", exact=True).fill("a star going up")
    page.get_by_role("button", name="Generate").click(trial=True)
    seconds = time.monotonic() - begin
    context.close()
    return seconds


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="fluent-mcm", help="embedded name or folder")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("no Chromium on the PATH; as root: apt-get install chromium", file=sys.stderr)
        return 2
    from playwright.sync_api import sync_playwright

    rounds = []
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=FLAGS)
        for number in range(options.rounds):
            rounds.append(measure(browser, options.model))
            print(f"{number + 1:<7} listens {rounds[-1][0]:6.2f} s, usable {rounds[-1][1]:6.2f} s")
        browser.close()
    listens, usable = (statistics.median(times) for times in zip(*rounds, strict=True))
    print(f"{'median':<7} listens {listens:6.2f} s, usable {usable:6.2f} s")
    return 0 if usable <= MOST_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
