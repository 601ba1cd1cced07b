"""The web page with many objects and samples: first paint, update after a change, memory, requests to the storage.

    python tests/bench/lab_page.py [--objects 1000] [--samples 100000]

Objects are written by hand, as runs leave them. The browser is Chromium. Prints a table and JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from lab_site import write_object
from playwright.sync_api import Page, expect, sync_playwright

PORT = 8123
REASON = {"stage": "render", "reason": "ContractNotMet", "message": "depth is constant in the middle of the picture"}


def write(root: Path, objects: int, samples: int) -> None:
    """A folder with this many objects, one of them a data set of so many samples."""
    for number in range(objects - 1):
        lost = [{"sample": f"sample{each}", **REASON} for each in range(number % 4)]
        write_object(root, f"object-{number:04d}", samples=20, failures=lost)
    lost = [{"sample": f"sample{each}", **REASON} for each in range(samples // 50)]
    write_object(root, "data-set", samples=samples, failures=lost, kind="DatasetJob")


def megabytes(process: int) -> float:
    """Resident memory of a process, with what it shares counted in part."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1]) / 1024


def first_paint(page: Page, path: str) -> float:
    """Seconds until the first contentful paint of a page."""
    page.goto(f"http://127.0.0.1:{PORT}{path}")
    script = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1"
    # The page's policy forbids waiting for an expression, which is an eval.
    while (found := float(page.evaluate(script))) < 0:
        page.wait_for_timeout(10)
    return found / 1000


def measure(root: Path, objects: int) -> dict[str, float]:
    command = [sys.executable, "-m", "scenewright.cli.main", "serve", str(root), "--port", str(PORT)]
    begun = time.monotonic()
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    found: dict[str, float] = {}
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/healthz", timeout=1).read()
                break
            except OSError:
                time.sleep(0.05)
        found["ready, s"] = time.monotonic() - begun
        with sync_playwright() as playwright:
            executable = shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=executable, chromium_sandbox=False)
            page = browser.new_page()
            first_paint(page, "/models")  # starts the browser's processes
            for name, path in (
                ("overview", "/"),
                ("object", "/objects/data-set"),
                ("samples, first look", "/samples/data-set"),
                ("samples, page 2000", "/samples/data-set?page=2000"),
                ("samples, search", "/samples/data-set?words=val"),
                ("gallery", "/gallery"),
            ):
                found[f"first paint of {name}, s"] = first_paint(page, path)
                if path == "/":
                    expect(page.locator("#list")).to_contain_text(f"{objects} objects")
            page.goto(f"http://127.0.0.1:{PORT}/")
            waits = []
            for number in range(5):
                write_object(root, f"new-{number}", samples=3)
                begun = time.monotonic()
                expect(page.locator("#list")).to_contain_text(f"new-{number}", timeout=20_000)
                waits.append(time.monotonic() - begun)
            found["update after a change, worst of 5, s"] = max(waits)
            browser.close()
        found["memory of the server, MB"] = megabytes(server.pid)
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        found["memory of its storage process, MB"] = sum(megabytes(int(each)) for each in children)
        ticks = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
        found["CPU time of the server, s"] = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    finally:
        server.terminate()
        server.wait(30)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), options.objects, options.samples)
        found = measure(Path(folder), options.objects)
    for name, value in found.items():
        print(f"| {name} | {value:.2f} |")
    print(json.dumps({"objects": options.objects, "samples": options.samples, **found}))


if __name__ == "__main__":
    main()
