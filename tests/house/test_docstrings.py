"""Every public name explains itself: a summary, its parameters by name, and an example that runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest

import vsearch

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(vsearch.__path__, "vsearch.")
    if module.name not in {"vsearch.__main__", "vsearch._core"}
)
PUBLIC = sorted(name for name in vsearch.__all__ if name != "__version__")


def members(name: str) -> Iterator[tuple[str, Any]]:
    """The public object and, for a class, its public methods and properties."""
    thing = getattr(vsearch, name)
    yield name, thing
    if inspect.isclass(thing):
        for label, member in inspect.getmembers(thing):
            own = any(label in vars(base) for base in thing.__mro__ if base.__module__.startswith("vsearch"))
            if own and not label.startswith("_") and (callable(member) or isinstance(member, property)):
                yield f"{name}.{label}", member


def parameters(thing: Any) -> list[str]:
    if isinstance(thing, property):
        return []
    signature = inspect.signature(thing)
    return [name.lstrip("*") for name in signature.parameters if name not in {"self", "cls"}]


def faults(label: str, thing: Any) -> Iterator[str]:
    text = inspect.getdoc(thing) or ""
    summary = text.split("\n\n")[0].strip()
    if not summary or not summary.endswith((".", "?", ":")):
        yield f"{label}: needs a summary sentence"
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return
    words = set(re.findall(r"\w+", text))
    for name in parameters(thing):
        if name not in words:
            yield f"{label}: parameter `{name}` is not described"
    if "." in label or inspect.isabstract(thing):
        return
    if parameters(thing) and not re.search(r"^Parameters\n-+\n", text, re.MULTILINE):
        yield f"{label}: needs a Parameters section"
    if not re.search(r"^Examples\n-+\n(.|\n)*>>> ", text, re.MULTILINE):
        yield f"{label}: needs an Examples section that runs"


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_is_documented(name: str) -> None:
    found = [fault for label, thing in members(name) for fault in faults(label, thing)]
    assert not found, "\n".join(found)


def imported(module: str) -> Any:
    """A module; the test is left out where what it adapts to is not installed."""
    try:
        return importlib.import_module(module)
    except vsearch.MissingExtraError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("module", MODULES)
def test_module_says_what_it_is(module: str) -> None:
    assert (imported(module).__doc__ or "").strip()


@pytest.mark.parametrize("module", ["vsearch", *MODULES])
def test_examples_give_what_they_show(module: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # examples may save files
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.testmod(imported(module), optionflags=flags).failed == 0


#: Modules of which users import names that `vsearch` itself does not have.
FACES = [
    "vsearch.evaluate",
    "vsearch.evaluate.formats",
    "vsearch.index.filter",
    "vsearch.index.io",
    "vsearch.quantize.limits",
    "vsearch.quantize.transform_learnt",
    "vsearch.quantize.transforms",
]


def shown(module: str) -> Iterator[tuple[str, Any]]:
    """The public objects of a module: what it lists, else what it defines."""
    face = importlib.import_module(module)
    for name in getattr(face, "__all__", None) or [name for name in vars(face) if not name.startswith("_")]:
        thing = getattr(face, name)
        if callable(thing) and (hasattr(face, "__all__") or getattr(thing, "__module__", "") == module):
            yield f"{module}.{name}", thing


PASTED = [pair for module in ("vsearch", *FACES) for pair in shown(module)]


@pytest.mark.parametrize(("name", "thing"), PASTED, ids=[name for name, _ in PASTED])
def test_examples_run_when_pasted(name: str, thing: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    for test in doctest.DocTestFinder().find(thing, name, globs={"__name__": "__main__"}):
        assert doctest.DocTestRunner(optionflags=flags).run(test).failed == 0, test.name
