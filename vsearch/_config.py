"""What is running here: backend, instruction set, threads."""

from __future__ import annotations

import sys

from vsearch import kernels
from vsearch._threads import default_threads


def show_config() -> None:
    """Prints the backend, the instruction set and the number of threads that vsearch uses.

    Examples
    --------
    >>> import vsearch as vs
    >>> vs.show_config()  # doctest: +ELLIPSIS
    vsearch ...
    """
    from vsearch import __version__

    facts = kernels.info()
    units: dict[str, list[str]] = {}
    for kernel, unit in facts["kernels"].items():
        units.setdefault(unit, []).append(kernel)
    print(f"vsearch {__version__}, Python {sys.version.split()[0]}, numpy {_numpy_version()}")
    print(f"backend  {facts['backend']}")
    print(f"ISA      {facts['isa']} (this CPU offers {', '.join(facts['isas'])})")
    print(f"threads  {default_threads()}")
    for unit, names in units.items():
        print(f"kernels  {unit}: {', '.join(names)}")


def _numpy_version() -> str:
    import numpy

    return numpy.__version__
