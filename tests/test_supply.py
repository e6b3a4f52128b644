"""What comes from outside: no code in data, locked packages, checks of CI that are there."""

import ast
import pathlib
import re
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for folder in ("metanet", "experiments", "configs", "benchmarks", "examples", "docs")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
# Modules that run what they read, by the first part of their names.
UNPICKLING = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
# Where code is imported by a name. Paths of configs are code; those of files go by `check_known`.
BY_NAME = {
    "metanet/__init__.py",  # the functions that the package has in front
    "metanet/dotted.py",
    "metanet/interop/imported.py",  # frameworks
    "metanet/objectives/base.py",  # metanet's own modules of objectives
    "experiments/launch.py",  # --imports
    "experiments/search.py",  # --spaces
    "experiments/reproduce.py",  # configs of the repository
}


def unsafe(source):
    """What a module does that runs, or may run, code in data."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] in UNPICKLING}
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in UNPICKLING:
            found.add(node.module)
        if isinstance(node, (ast.Name, ast.Attribute)) and ast.unparse(node) in SHELLS:
            found.add(ast.unparse(node))
        if isinstance(node, ast.ImportFrom) and node.module in ("os", "subprocess"):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & SHELLS
        if isinstance(node, ast.Call):
            found |= _unsafe_call(node)
    return found


def _unsafe_call(node):
    called = ast.unparse(node.func)
    name = called.rpartition(".")[2]
    options = {one.arg: ast.unparse(one.value) for one in node.keywords}
    if called in ("eval", "exec", "builtins.eval", "builtins.exec") or name == "read_pickle":
        return {called}
    if options.get("allow_pickle", "False") != "False" or options.get("shell", "False") != "False":
        return {called}
    if called.startswith("torch.") and name == "load" and options.get("weights_only") != "True":
        return {called}
    if called in ("np.load", "numpy.load") and len(node.args) > 1:  # by place: not looked into
        return {called}
    safe = options.get("Loader", "").endswith("SafeLoader")
    return {called} if called in ("yaml.load", "yaml.unsafe_load") and not safe else set()


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "def f():\n    from joblib import load", "import dill as d", "eval(x)",
        "exec(x)", "os.system(x)", "from os import system", "run = os.popen",
        "np.load(p, 'r', True)",
        "np.load(p, allow_pickle=True)", "np.load(p, allow_pickle=some)", "torch.load(p)",
        "torch.load(p, weights_only=False)", "subprocess.run(x, shell=True)", "yaml.load(f)",
        "pd.read_pickle(p)", "np.save(p, x, allow_pickle=True)", "subprocess.getoutput(x)",
    ],
)  # fmt: skip
def test_what_runs_code_in_data_is_found(source):
    assert unsafe(source)


@pytest.mark.parametrize(
    "source",
    [
        "import pickletools", "module.eval()", "jax.eval_shape(f)",
        "np.load(p, allow_pickle=False)",
        "torch.load(p, weights_only=True)", "subprocess.run(x)", "yaml.load(f, Loader=SafeLoader)",
    ],
)  # fmt: skip
def test_what_runs_none_is_not(source):
    assert not unsafe(source)


@pytest.mark.parametrize("name", FILES)
def test_no_module_runs_code_in_data(name):
    assert unsafe(FILES[name]) == set()


def test_code_is_imported_by_name_in_few_places():
    said = re.compile("import_module|__import__|runpy")
    found = {name for name, source in FILES.items() if said.search(source)}
    assert found == BY_NAME
    assert len(FILES) > 200


def test_what_bandit_skips_has_a_reason():
    noted = [
        line
        for source in FILES.values()
        for line in source.splitlines()
        if "nosec" in line and "nosec" not in line.partition("#")[0]
    ]
    assert len(noted) >= 7
    for line in noted:
        assert re.search(r"# nosec B\d{3}( B\d{3})* # \w+ .{10,}", line), line
    text = (ROOT / "pyproject.toml").read_text()
    for code in tomllib.loads(text)["tool"]["bandit"]["skips"]:
        assert re.search(rf"^# {code}: .{{20,}}$", text, flags=re.MULTILINE), code


def test_ci_installs_by_hash_and_runs_bandit():
    makefile, ci = (ROOT / "Makefile").read_text(), (ROOT / ".ci" / "run").read_text()
    assert "make .venv/.installed-locked" in ci and "step bandit make bandit" in ci
    locked = makefile.partition(".venv/.installed-locked:")[2].partition("\n\n")[0]
    assert "--require-hashes -r requirements.lock" in locked and "--no-deps -e ." in locked
    assert "-r metanet experiments configs benchmarks" in makefile
    lock = (ROOT / "requirements.lock").read_text()
    packages = re.split(r"^(?=[\w.-]+(?:\[[\w,-]+\])?==)", lock, flags=re.MULTILINE)[1:]
    assert len(packages) > 50
    for package in packages:
        assert "--hash=sha256:" in package, package.partition(" ")[0]
