"""What the first process without compiled code does in its first minute: FLUX Fill, full size, random weights, one GPU.

    python tests/bench/first_minute.py [--size 800] [--steps 25] [--precision fp8] [--seconds 120] [--in-place] [--tiny]
        [--json FILE]

The cache is empty. By default the run begins eagerly, a child process compiles, and a later fill changes over.
--in-place compiles at the first fill. Seconds count from the loaded weights. Fills run one after the other until two
compiled ones are done or --seconds are over, all with one seed, which shows how far eager and compiled code differ.
Each is printed on standard error as it ends. Exit code 1 if the network was never compiled, or the caches lack what
the child compiled. Prints JSON.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_STARTED = time.perf_counter()

import numpy as np  # noqa: E402
import torch  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parent))
from benchmarks import show  # noqa: E402
from compile_cache import _sizes  # noqa: E402
from flux_fill import _request, random_flux_fill  # noqa: E402
from torch._dynamo.utils import counters  # noqa: E402

_COMPILED_FILLS = 2


def measured(options: argparse.Namespace, cache: Path) -> dict[str, Any]:
    """Loads, and fills until enough is known."""
    began = time.perf_counter()
    sizes = {"steps": options.steps, **_sizes(options.tiny)}
    inpainter = random_flux_fill(options.precision, cache_dir=cache, beside=not options.in_place, **sizes)
    _synchronise()
    loaded, beside = time.perf_counter(), inpainter._beside
    request, fills, pictures = _request(options.size), list[dict[str, Any]](), list[np.ndarray]()

    def seconds() -> float:
        return round(time.perf_counter() - loaded, 2)

    most, before = {"main": 0.0, "gpu": 0.0}, _gpu_of_others()
    while True:
        begin = seconds()
        pictures.append(inpainter.fill(*request, seed=7))
        _synchronise()
        compiled = beside is None or beside.compiled
        fills.append({"begun": begin, "seconds": round(seconds() - begin, 2), "compiled": compiled})
        if beside is not None and beside._child is not None:
            most["main"] = max(most["main"], _main_memory(beside._child._process.pid))
            most["gpu"] = max(most["gpu"], _gpu_of_others() - before)
        print(fills[-1], file=sys.stderr, flush=True)
        kinds = [fill["compiled"] for fill in fills]
        if kinds.count(True) >= _COMPILED_FILLS or time.perf_counter() - _STARTED > options.seconds:
            break
        if options.tiny:
            # Leaves the CPU to the child.
            time.sleep(1)
    eager = [picture for picture, fill in zip(pictures, fills, strict=True) if not fill["compiled"]]
    fast = [picture for picture, fill in zip(pictures, fills, strict=True) if fill["compiled"]]
    found = {name: count for kind in ("inductor", "aot_autograd") for name, count in counters[kind].items()}
    inpainter.release()
    return {
        "device": "cpu" if options.tiny else torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "in_place": options.in_place,
        "import_seconds": round(began - _STARTED, 1),
        "load_seconds": round(loaded - began, 1),
        "first_fill_done": fills[0]["seconds"],
        "change_over": next((fill["begun"] for fill in fills if fill["compiled"]), None),
        "first_compiled_fill_seconds": next((fill["seconds"] for fill in fills if fill["compiled"]), None),
        "eager_fill_seconds": [fill["seconds"] for fill in fills if not fill["compiled"]],
        "compiled_fill_seconds": [fill["seconds"] for fill in fills if fill["compiled"]],
        "fills_done_by_change_over": len(eager),
        "difference_between_kinds": float(np.abs(eager[0] - fast[-1]).max()) if eager and fast else None,
        "difference_within_kinds": max(float(np.abs(each - kind[0]).max()) for kind in (eager, fast) for each in kind),
        "peak_gib": 0.0 if options.tiny else round(torch.cuda.max_memory_allocated() / 2**30, 2),
        "child_gib": {kind: round(most[kind], 2) for kind in most},
        "graphs": counters["stats"]["unique_graphs"],
        "caches": {name: count for name, count in found.items() if "cache" in name},
    }


def _main_memory(process: int) -> float:
    """GiB that the process itself has had at most, without its own processes."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20


def _gpu_of_others() -> float:
    """GiB of the GPU that this process's tensors do not hold."""
    if not torch.cuda.is_available():
        return 0.0
    free, total = torch.cuda.mem_get_info()
    return (total - free - torch.cuda.memory_reserved()) / 2**30


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> int:
    """Measures and prints; 1 if the change-over did not come or did not find its code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=800)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--precision", default="fp8")
    parser.add_argument("--seconds", type=float, default=120.0, help="of the script, after which no fill begins")
    parser.add_argument("--in-place", action="store_true", help="compile at the first fill")
    parser.add_argument("--tiny", action="store_true", help="few weights, on the CPU: tries the script")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.tiny:
        options.size, options.precision = 64, "bf16"
    with tempfile.TemporaryDirectory() as cache:
        found = measured(options, Path(cache))
    show(found, options.json)
    missed = [name for name in found["caches"] if name.endswith("_miss")]
    return int(found["change_over"] is None or (not options.in_place and bool(missed)))


if __name__ == "__main__":
    sys.exit(main())
