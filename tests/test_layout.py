"""The layout tells the story: imports go one way, start-up is quick, files speak of the project alone."""

import ast
import inspect
import keyword
import re
import resource
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

import snnkit

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "snnkit"

ORDER = [
    "errors",
    "arrays",
    "settings",
    "threads",
    "cards",
    "neuron",
    "codegen",
    "spiking",
    "synapse",
    "plasticity",
    "network",
    "stream",
    "files",
    "train",
    "liquid",
    "continual",
    "convert",
    "early",
    "deploy",
    "baseline",
    "data",
    "report",
    "cli",
    "__main__",
]
"""Reading order: a part of the package imports only from itself and from those before it."""

HEAVY = {
    "cupy",
    "h5py",
    "lightning_fabric",
    "matplotlib",
    "nir",
    "nirtorch",
    "norse",
    "numba",
    "rich",
    "sklearn",
    "snntorch",
    "spikingjelly",
    "sympy",
    "tonic",
    "torch",
    "typer",
}
HOSTS = {"arxiv.org", "doi.org", "example.org", "www.w3.org"}
"""The only places that prose and code may link to; a data or hardware card names its own source."""

MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = MODULES + [path for folder in ("tests", "examples") for path in sorted((ROOT / folder).rglob("*.py"))]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _texts() -> Iterator[tuple[Path, str]]:
    """Yield every file of the project that people read, with its text."""
    suffixes = {".md", ".txt", ".toml", ".py"}
    for path in sorted(ROOT.iterdir()):
        if path.is_file() and (path.suffix in suffixes or path.name == "Makefile"):
            yield path, path.read_text()
    for folder in ("snnkit", "tests", "examples", "datasets", "hardware"):
        for path in sorted((ROOT / folder).rglob("*")):
            hidden = any(part.startswith((".", "__pycache__")) for part in path.relative_to(ROOT).parts)
            if path.is_file() and not hidden and path.suffix in suffixes | {".html", ".css", ".js"}:
                yield path, path.read_text()


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and absolute dotted name of everything that a source file imports, wherever in the file."""
    package = list(path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def _part(path: Path) -> str:
    """Return the part of the story that a module belongs to: `snnkit/train/loop.py` is in `train`."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@pytest.mark.parametrize("path", [path for path in MODULES if path != PACKAGE / "__init__.py"], ids=_name)
def test_a_module_imports_only_from_parts_before_its_own(path: Path) -> None:
    part = _part(path)
    assert part in ORDER, f"{_name(path)}: give {part!r} its place in ORDER"
    allowed = {*ORDER[: ORDER.index(part) + 1], "__version__"}
    for line, name in _imports(path):
        words = name.split(".")
        if words[0] == "snnkit" and len(words) > 1:
            assert words[1] in allowed, f"{_name(path)}:{line}: {part!r} comes before {words[1]!r}: {name}"
    if part == "cli":
        return  # everything comes before the last part, so it may use the package as a user does
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "snnkit":
            used = f"{_name(path)}:{node.lineno}: snnkit.{node.attr}"
            assert node.attr.startswith("__") or node.attr in allowed, f"{used} comes after {part!r}"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_imports_name_what_they_take(path: Path) -> None:
    for line, name in _imports(path):
        assert not name.endswith(".*"), f"{_name(path)}:{line}: wildcard import of {name[:-2]}"
        root = name.split(".")[0]
        assert root not in {"torchvision", "torchaudio"}, f"{_name(path)}:{line}: {root} is never imported"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{_name(path)} has no docstring"


def test_every_public_name_is_documented() -> None:
    from snnkit.neuron import FAMILIES

    public = {f"snnkit.{name}": getattr(snnkit, name) for name in [*snnkit.__all__, *FAMILIES]}
    for name, module in list(public.items()):
        if inspect.ismodule(module):
            public |= {f"{name}.{entry}": getattr(module, entry) for entry in getattr(module, "__all__", ())}
    described = {k: v for k, v in public.items() if inspect.ismodule(v) or inspect.isroutine(v) or inspect.isclass(v)}
    assert {"snnkit.LIF", "snnkit.Network", "snnkit.errors"} <= set(described)
    for name, value in described.items():
        # A dataclass without a docstring gets its signature for one, and a class inherits its base's.
        written = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
        assert written and not written.startswith(f"{name.split('.')[-1]}("), f"{name} has no docstring"


@pytest.mark.parametrize(
    "package",
    [snnkit, snnkit.convert, snnkit.data, snnkit.deploy, snnkit.report, snnkit.train],
    ids=lambda package: package.__name__,
)
def test_names_that_are_imported_late_are_listed(package) -> None:
    assert set(package.__all__) <= set(dir(package))


def test_code_generation_knows_no_neuron_by_name() -> None:
    from snnkit.neuron import FAMILIES

    names = {word for layer, function in FAMILIES.items() for word in (layer, function.__name__, function().name)}
    names = {name for name in names if not keyword.iskeyword(name)}
    assert names >= {"LIF", "lif"}
    words = re.compile(rf"(?<![A-Za-z0-9])({'|'.join(sorted(names))})(?![A-Za-z0-9])")
    files = sorted(path for path in (PACKAGE / "codegen").rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert files
    for path in files:
        for line, text in enumerate(path.read_text().splitlines(), start=1):
            found = words.search(text)
            assert not found, f"{_name(path)}:{line} names the neuron {found[0]!r}: {text.strip()}"


def test_nothing_importable_is_named_datasets(run_python) -> None:
    assert not [path for folder in ("datasets", "hardware") for path in (ROOT / folder).glob("*.py")]
    found = run_python(
        "-c",
        "import importlib.util as u; s = u.find_spec('datasets'); print(s and s.submodule_search_locations)",
        env={"PYTHONPATH": ""},
    )
    assert str(ROOT) not in found.stdout, "the folder datasets/ can be imported"
    assert found.returncode == 0, found.stderr


def test_files_speak_of_the_project_alone() -> None:
    rules = {
        "a folder of one machine": re.compile(r"(?<![\w.~])/(home|root|work|tmp|mnt|Users)/"),
        "an installer's address": re.compile(r"--(extra-)?index-url|--find-links"),
        "unfinished work": re.compile(r"\b(TODO|FIXME|XXX|HACK)\b"),
        "a blanket suppression": re.compile(r"#\s*type:\s*ignore(?!\[)|#\s*noqa(?!:)"),
    }
    address = re.compile(r"https?://([\w.-]+)")
    upwards = re.compile(r"(?:\.\./)+[\w./-]*")
    for path, text in _texts():
        if path == Path(__file__).resolve():
            continue
        for line, content in enumerate(text.splitlines(), start=1):
            for what, rule in rules.items():
                assert not rule.search(content), f"{_name(path)}:{line} holds {what}: {content.strip()}"
            if not path.is_relative_to(ROOT / "tests"):
                for link in upwards.findall(content):
                    inside = (path.parent / link).resolve().is_relative_to(ROOT)
                    assert inside, f"{_name(path)}:{line} reaches out of the checkout: {link}"
            if path.suffix != ".toml":
                foreign = set(address.findall(content)) - HOSTS
                assert not foreign, f"{_name(path)}:{line} links to {foreign}; allowed are {HOSTS}"


def test_importing_the_package_loads_nothing_heavy(run_python) -> None:
    done = run_python("-c", "import sys, snnkit; print(*sorted(m for m in sys.modules if '.' not in m))")
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stdout.split())


def test_importing_the_package_adds_at_most_half_a_second_to_torch(run_python) -> None:
    done = run_python("-X", "importtime", "-c", "import torch, snnkit")
    assert done.returncode == 0, done.stderr
    took = {
        fields[2].strip(): int(fields[1])
        for line in done.stderr.splitlines()
        if line.startswith("import time:") and (fields := line.split("|"))[1].strip().isdigit()
    }
    assert took["torch"] > 0
    assert took["snnkit"] <= 500_000, f"import snnkit took {took['snnkit']} us after torch"


def test_help_appears_within_half_a_second_and_without_torch(run_python) -> None:
    loaded = run_python("-X", "importtime", "-m", "snnkit", "--help")
    assert loaded.returncode == 0, loaded.stderr
    for command in ("demo", "train", "evaluate", "doctor", "bench", "neuron"):
        assert command in loaded.stdout, f"snnkit --help does not show {command!r}"
    modules = {line.rsplit("|", 1)[1].strip() for line in loaded.stderr.splitlines() if "|" in line}
    assert not modules & {"torch", "numba", "sympy", "h5py", "sklearn", "matplotlib"}

    def processor_seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run_python("-m", "snnkit", "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    # Processor time, not the clock: other tests share the machine.
    took = statistics.median(processor_seconds() for _ in range(5))
    assert took <= 0.5, f"snnkit --help took {took:.2f} s"


def test_the_version_is_the_same_everywhere() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## {re.escape(snnkit.__version__)}\b", changes, re.MULTILINE)
