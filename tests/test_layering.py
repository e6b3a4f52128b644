"""Imports flow one way: from experiments, configs and the code of docs down to metanet.core."""

import ast
import pathlib
import re
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# The longest matching prefix of a module's name decides; equal numbers may import one another.
LEVELS = {
    "metanet.core": 0,
    "metanet.storage": 0.1,
    "metanet.devices": 0.2,
    "metanet.dotted": 0.2,
    "metanet.settings": 0.4,
    "metanet.data": 1,
    "metanet.mlp": 1.0,
    "metanet.mlp.trainer": 1.5,
    "metanet.mlp.population": 1.5,
    "metanet.mlp.online": 1.5,
    "metanet.probes": 1.7,
    "metanet.interop": 1.6,
    "metanet.graphs": 2,
    "metanet.editor": 3,
    "metanet.objectives": 4,
    "metanet.scalarise": 4,
    "metanet.training": 5,
    "metanet.evaluation": 6,
    "metanet.report": 6.5,
    "metanet.pipeline": 7,
    "metanet.methods": 8,
    "metanet.editing": 8.5,
    "metanet.certificates": 8.6,
    "experiments": 9,
    "configs": 9,
    "docs": 9,
}
GRAPHS_TUPLE = "metanet.graphs.graphs_tuple"  # the only module that imports jraph
OF_GRAPHS = ("metanet.graphs", "metanet.editor", "metanet.methods", "metanet.evaluation")


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    name_of(path): path
    for folder in ("metanet", "experiments", "configs", "docs")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def imports_of(name, source):
    """The modules that the module called `name` imports, wherever in it the statement is."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            # `from package import module` imports the module, other names are of the package.
            found |= {item if item in FILES else node.module for item in names}
    return found


IMPORTS = {name: imports_of(name, path.read_text()) for name, path in FILES.items()}
every_module = pytest.mark.parametrize("name", IMPORTS)


def under(name, prefixes):
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def level(name):
    prefixes = [prefix for prefix in LEVELS if under(name, [prefix])]
    assert prefixes, f"{name} is at no level"
    return LEVELS[max(prefixes, key=len)]


def ours(name):
    return {other for other in IMPORTS[name] if under(other, ["metanet", "experiments", "configs"])}


def test_imports_are_found():
    source = "import a.b\ndef f():\n    from c import d\n    from metanet.mlp import trainer\n"
    assert imports_of("x", source) == {"a.b", "c", "metanet.mlp.trainer"}
    assert len(FILES) > 30
    assert "metanet.core" in ours("metanet.editor.model")


@every_module
def test_a_module_imports_no_higher_level(name):
    if name == "metanet":
        assert IMPORTS[name] == {"importlib"}
        return
    higher = sorted(other for other in ours(name) if level(other) > level(name))
    assert not higher, f"{name} imports {higher}"


def test_no_package_imports_one_that_imports_it():
    """Of those at one level too."""
    edges = {}
    for name in FILES:
        package = ".".join(name.split(".")[:2])
        others = {".".join(other.split(".")[:2]) for other in ours(name)}
        edges.setdefault(package, set()).update(others - {package})
    while edges:
        free = [package for package, others in edges.items() if not others & edges.keys()]
        assert free, f"a cycle is among {sorted(edges)}"
        for package in free:
            del edges[package]


@every_module
def test_only_experiments_and_configs_see_a_config_dict(name):
    if under(name, ["metanet"]):
        assert not [other for other in IMPORTS[name] if under(other, ["ml_collections", "absl"])]


@every_module
def test_graphs_are_an_affair_of_few_packages(name):
    if GRAPHS_TUPLE in IMPORTS[name]:
        assert under(name, OF_GRAPHS)


def test_one_module_imports_jraph():
    """Also of tests, benchmarks and examples: one line to change if jraph no longer imports."""
    folders = ("metanet", "experiments", "configs", "docs", "benchmarks", "examples", "tests")
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    imports = {name_of(path): imports_of(path.name, path.read_text()) for path in paths}
    found = {name for name, others in imports.items() if any(under(o, ["jraph"]) for o in others)}
    assert len(paths) > 250 and found == {GRAPHS_TUPLE}


def test_no_source_file_is_long():
    long = {name: len(path.read_text().splitlines()) for name, path in FILES.items()}
    assert {name: count for name, count in long.items() if count > 300} == {}


@every_module
def test_no_code_switches_on_the_task_or_on_a_method_s_name(name):
    """Labels are labels: what differs between tasks is in a config."""
    source = FILES[name].read_text()
    assert not re.search(r"""(\.task|\["task"\])\s*(==|!=|in\b)""", source)
    if under(name, ["metanet.methods"]):
        assert "startswith" not in source


def test_the_code_of_the_docs_uses_the_package_from_its_front():
    """What docs show imports nothing private and no module of ours below experiments."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for block in re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL):
            for name in imports_of(path.name, block):
                assert not any(part.startswith("_") for part in name.split(".")), path
                assert not under(name, ["experiments.launch", "tests", "benchmarks"]), path


def test_only_the_package_is_installed_and_every_extra_has_code():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["packages"]["find"]["include"] == ["metanet*"]
    assert set(project["project"]["optional-dependencies"]) == {
        "baselines", "benchmarks", "docs", "interop", "parquet", "search", "tests",
    }  # fmt: skip
    assert (ROOT / "metanet" / "py.typed").exists()
