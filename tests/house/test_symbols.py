"""No ISA unit may give the linker a function that the rest of the program could end up calling.

An inline function compiled with AVX-512 flags and shared by name (a weak symbol) can be the one copy that the linker
keeps for everybody, and then the whole extension dies on an older CPU. Optimised builds hide it by inlining, so each
unit is compiled here without optimisation and its weak symbols are read.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from repository import ROOT

CSRC = ROOT / "csrc"


def units() -> dict[str, list[str]]:
    """Flags of each ISA unit of this machine's architecture, read from cmake/isa.cmake; the scalar unit has none."""
    text = (CSRC / "cmake" / "isa.cmake").read_text(encoding="utf-8")
    x86, arm = text.split('elseif(vsearch_processor MATCHES "aarch64', 1)
    branch = x86 if platform.machine().lower() in {"x86_64", "amd64"} else arm
    variables = dict(re.findall(r"set\((\w+_flags) ([^)\"]+)\)", x86))
    found = {}
    for file, flags in re.findall(r'add_isa_unit\((\w+)\.cpp "([^"]*)"', branch):
        for _ in range(3):
            flags = re.sub(r"\$\{(\w+)\}", lambda match: variables[match[1]], flags)
        found[file] = flags.replace(";", " ").split()
    return found


def weak_symbols(compiler: str, source: Path, flags: list[str], folder: Path) -> list[str]:
    target = folder / f"{source.stem}.o"
    command = [compiler, "-std=c++17", "-O0", "-fPIC", "-fvisibility=hidden", f"-I{CSRC}", *flags, "-c", str(source)]
    subprocess.run([*command, "-o", str(target)], check=True)
    listing = subprocess.run(["nm", "-C", str(target)], check=True, capture_output=True, text=True).stdout
    symbols = [line.split(maxsplit=2) for line in listing.splitlines() if re.match(r"[0-9a-f]+ [A-Za-z] ", line)]
    return [name for _, kind, name in symbols if kind in "WVu"]


def test_isa_units_share_no_weak_symbols(tmp_path: Path) -> None:
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None or platform.system() != "Linux":
        # Without a compiler the install has no ISA units; outside Linux, nm speaks another dialect.
        assert platform.system() != "Linux" or find_spec("vsearch._core") is None
        return
    guarded = {unit: flags for unit, flags in units().items() if unit != "scalar"}
    assert guarded
    with ThreadPoolExecutor(2) as pool:
        isa = CSRC / "kernels" / "isa"
        jobs = {
            unit: pool.submit(weak_symbols, compiler, isa / f"{unit}.cpp", flags, tmp_path)
            for unit, flags in guarded.items()
        }
    faults = []
    for unit, job in jobs.items():
        own = re.match(r"avx2|avx512|neon", unit)
        assert own is not None
        faults += [f"{unit}: {name}" for name in job.result() if f"vsearch::{own[0]}" not in name]
    assert not faults, "\n".join(faults)

    shared = tmp_path / "shared.cpp"
    shared.write_text("inline int twice(int x) { return 2 * x; }\nint four() { return twice(2); }\n", "utf-8")
    assert weak_symbols(compiler, shared, [], tmp_path) == ["twice(int)"]
