"""Opens and uses 10^5 forged index files under AddressSanitizer and UndefinedBehaviorSanitizer.

    python tests/fuzz/run_asan.py                        builds the extension, then 100,000 forgeries, about 20 minutes
    python tests/fuzz/run_asan.py --count 5000 --seed 7  other ones, fewer
    python tests/fuzz/run_asan.py --build build/asan     keeps the build there, for next time

Needs GCC or Clang, cmake, ninja and pybind11 beside vsearch's own requirements. A forgery is made from its number alone
(`forge.mutated`), and each kind of file gets its share of the numbers from `--seed` on: what is told of a failure is
enough to run it again. The last line says how many were refused and how many opened; the exit status is 0 where every
one ended in one of these two ways.

Python is not built for the sanitizers, so their libraries are loaded before it. Arrays of files are allocated to the
byte here (elsewhere they are aligned, with room around them), so that a step beyond one is seen.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def build(folder: Path) -> None:
    """The extension under sanitizers, and the package around it, in ``folder``/package."""
    import pybind11

    configure = [
        "cmake", "-S", str(ROOT / "csrc"), "-B", str(folder), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug",
        "-DCMAKE_CXX_FLAGS=-O1", "-DVSEARCH_SANITIZE=ON", f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
    ]  # fmt: skip
    subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", str(folder)], check=True)
    package = folder / "package" / "vsearch"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "vsearch", package, ignore=shutil.ignore_patterns("_core*.so", "_core*.pyd", "__pycache__"))
    for extension in folder.glob("_core*.so"):
        shutil.copy2(extension, package)


def library(name: str) -> str:
    """Where the compiler keeps a run-time library."""
    compiler = os.environ.get("CXX", "c++")
    found = subprocess.run([compiler, f"-print-file-name={name}"], check=True, capture_output=True, text=True)
    return found.stdout.strip()


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {
        # libstdc++ too: the sanitizer looks for its `throw` when it starts, before Python has loaded the extension.
        "LD_PRELOAD": f"{library('libasan.so')} {library('libstdc++.so.6')}",
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1:"
        "detect_stack_use_after_return=1:quarantine_size_mb=32",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": os.pathsep.join([str(folder / "package"), str(HERE.parent)]),
        "VSEARCH_THREADS": "2",
    }


def attack(count: int, seed: int) -> None:
    """The child: forgeries of every kind of file in turn."""
    import resource

    import numpy as np
    from fuzz import forge

    from vsearch.kernels import core, info
    from vsearch.storage import container

    container._aligned_empty = lambda entry: np.empty(entry.shape, entry.dtype)
    print(f"{info()['backend']} core, {core.isa()}, {core.__file__}", flush=True)
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.vsx"
        for place, kind in enumerate(forge.KINDS):
            share = count * (place + 1) // len(forge.KINDS) - count * place // len(forge.KINDS)
            forge.saved(kind, path)
            began, held = time.perf_counter(), forge.parts(path)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            ends = forge.attack(held, path, share, seed)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            took = f"{time.perf_counter() - began:.0f} s, peak memory +{peak / 1024:.0f} MiB"
            print(f"{kind:20} {dict(sorted(ends.items()))} {took}", flush=True)
            total += ends
    print(f"{sum(total.values())} forgeries: {dict(sorted(total.items()))}, 0 crashes, 0 wrong answers", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--build", type=Path, help="folder of the build; by default a temporary one")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        attack(options.count, options.seed)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.build or Path(temporary)).resolve()
        build(folder)
        command = [sys.executable, __file__, "--child", f"--count={options.count}", f"--seed={options.seed}"]
        status = subprocess.run(command, env=environment(folder), cwd=temporary, check=False).returncode
    if status:
        print(f"ended with status {status}", file=sys.stderr)
    return int(status != 0)


if __name__ == "__main__":
    sys.exit(main())
