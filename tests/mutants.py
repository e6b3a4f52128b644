"""How many small faults in the code the tests notice: a mutation score.

python tests/mutants.py [--parts=pareto,newton] [--most=60] [--out=FILE.json] [--again=FILE.json]

Operators and their places are those of cosmic-ray (`pip install cosmic-ray`). Each mutant runs the
tests of its part, but for long ones, in a fork of one process, which has imported what is not
metanet and computed nothing. Of a part with more than `--most` mutants, as many are drawn with seed
0. A mutant that the tests pass survives; it is printed with its line, and either wants a test or
changes nothing that can be seen (docs/faults.md).
"""

import argparse
import fnmatch
import importlib.abc
import importlib.machinery
import json
import os
import pathlib
import signal
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
# Modules, and the tests that are to notice a fault in them.
PARTS = {
    "objectives": ("objectives/*.py scalarise.py", "objectives requirements scalarise "
                   "numerical_safety properties_results"),
    "graphs": ("graphs/*.py", "graphs editor newton probes feature_selection"),
    "edits": ("editor/edits.py editor/relax.py editor/apply.py",
              "editor probes objectives edit fairness_edits"),
    "newton": ("editor/newton.py methods/newton.py", "newton"),
    "pareto": ("evaluation/pareto.py evaluation/levels.py", "evaluation levels comparison "
               "properties_results entries"),
    "statistics": ("evaluation/bootstrap.py evaluation/values.py", "comparison entries "
                   "evaluation claims"),
    "compaction": ("interop/compact.py", "compact"),
    "certificates": ("certificates/*.py", "certificates audit"),
}  # fmt: skip
BINARY = "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Mul Mod_Mul Pow_Mul BitAnd_BitOr"
COMPARED = "Eq_NotEq NotEq_Eq Lt_LtE LtE_Lt Gt_GtE GtE_Gt Is_IsNot IsNot_Is"
UNARY = "Delete_USub Delete_Not Delete_Invert"
OPERATORS = [
    *(f"ReplaceBinaryOperator_{one}" for one in BINARY.split()),
    *(f"ReplaceComparisonOperator_{one}" for one in COMPARED.split()),
    *(f"ReplaceUnaryOperator_{one}" for one in UNARY.split()),
    "NumberReplacer", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr",
    "ReplaceOrWithAnd", "AddNot", "ZeroIterationForLoop",
]  # fmt: skip
FIRST, TIMES = 60.0, 5.0  # a mutant may take so many seconds, and so many times as its tests


class Mutated(importlib.abc.MetaPathFinder):
    """Finds one module whose source is given."""

    def __init__(self, path: pathlib.Path, source: str):
        self.name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        self.path, self.source = str(path), source

    def find_spec(self, fullname, path, target=None):
        if fullname != self.name:
            return None
        loader = _Loader(self.name, self.path)
        loader.code = compile(self.source, self.path, "exec", dont_inherit=True)
        return importlib.machinery.ModuleSpec(self.name, loader, origin=self.path)


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname):
        return self.code


def mutants_of(path: pathlib.Path) -> list[tuple[str, int, str]]:
    """(operator, line, source) of every mutant of a file that compiles."""
    from cosmic_ray.ast import get_ast
    from cosmic_ray.mutating import MutationVisitor, Visitor
    from cosmic_ray.plugins import get_operator

    source, found = path.read_text(), []
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        places = []

        class Places(Visitor):
            def visit(self, node, operator=operator, places=places):
                places += [start for start, _ in operator.mutation_positions(node)]
                return node

        Places().walk(get_ast(source))
        for occurrence, (line, _) in enumerate(places):
            visitor = MutationVisitor(occurrence, operator)
            mutated = visitor.walk(get_ast(source)).get_code()
            try:
                compile(mutated, str(path), "exec")
            except SyntaxError:
                continue
            if mutated != source:
                found.append((name, line, mutated))
    return found


def tested(tests: list[str], seconds: float, mutant: Mutated | None = None) -> str:
    """How tests end in a fork: "passed", "failed" or "timed out"."""
    child = os.fork()
    if not child:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        if mutant is not None:
            sys.meta_path.insert(0, mutant)
        import pytest

        options = ["-x", "-q", "-m", "not long"]
        os._exit(int(pytest.main([*options, *tests])))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, code = os.waitpid(child, os.WNOHANG)
        if found:
            return "passed" if code == 0 else "failed"
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timed out"


def files_of(patterns: str) -> list[pathlib.Path]:
    """The modules of a part."""
    every = sorted((ROOT / "metanet").rglob("*.py"))
    names = {path: path.relative_to(ROOT / "metanet").as_posix() for path in every}
    return [path for path in every
            if any(fnmatch.fnmatch(names[path], one) for one in patterns.split())]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--most", type=int, default=60)
    parser.add_argument("--out", default="mutants.json")
    parser.add_argument("--again", help="an earlier --out, of which the survivors alone are tried")
    asked = parser.parse_args()
    os.chdir(ROOT)
    import flax.linen  # noqa: F401 # what every test imports, once
    import hypothesis  # noqa: F401
    import jax  # noqa: F401
    import optax  # noqa: F401
    import orbax.checkpoint  # noqa: F401
    import pandas  # noqa: F401
    import pytest  # noqa: F401
    import scipy.stats  # noqa: F401

    before = json.loads(pathlib.Path(asked.again).read_text()) if asked.again else {}
    results = {}
    for part in asked.parts.split(","):
        patterns, names = PARTS[part]
        tests = [f"tests/test_{name}.py" for name in names.split()]
        assert tested(tests, 1800) == "passed", f"{part}: the tests fail without a mutant"
        start = time.monotonic()
        tested(tests, 1800)
        limit = FIRST + TIMES * (time.monotonic() - start)
        every = [(path, *one) for path in files_of(patterns) for one in mutants_of(path)]
        order = np.random.default_rng(0).permutation(len(every))[: asked.most]
        drawn = [every[place] for place in order]
        done, survivors, timed_out = 0, [], 0
        if part in before:
            left = before[part]["survivors"]
            done, timed_out = before[part]["killed"], before[part]["timed_out"]
            drawn = [one for one in drawn if described(*one) in left]
            assert len(drawn) == len(left), f"{part}: other code than in {asked.again}"
        for path, name, line, source in drawn:
            ended = tested(tests, limit, Mutated(path, source))
            done, timed_out = done + 1, timed_out + (ended == "timed out")
            if ended == "passed":
                survivors.append(described(path, name, line, source))
                print("survived: {where} {operator}: {was}  ->  {now}".format(**survivors[-1]),
                      flush=True)  # fmt: skip
            # After each: those tried until a run is stopped are drawn from all of them too.
            results[part] = {"mutants": len(every), "tried": done, "killed": done - len(survivors),
                             "timed_out": timed_out, "survivors": survivors}  # fmt: skip
            pathlib.Path(asked.out).write_text(json.dumps(results, indent=1) + "\n")
        print(f"{part}: {done - len(survivors)} of {done} killed, of {len(every)}", flush=True)


def described(path: pathlib.Path, operator: str, line: int, source: str) -> dict[str, str]:
    """A mutant as it is written down."""
    was, now = (text.splitlines()[line - 1].strip() for text in (path.read_text(), source))
    where = f"{path.relative_to(ROOT)}:{line}"
    return {"where": where, "operator": operator, "was": was, "now": now}


if __name__ == "__main__":
    main()
