"""All tests run on four host devices, and an unintended broadcast is an error.

Most of a test's time is compilation: programs are compiled without optimisation, once for all
workers. Tests of numbers that optimisation could change turn it on again.
"""

import gc
import importlib.metadata
import os
import pathlib

# Older emitters, one module: half the compilation. Here, before jax starts, for commands under test
# too; only where these are known, since an unknown flag ends the process.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    quick = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quick}"

# One compilation cache, also of commands under test.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    cache = pathlib.Path(__file__).parent.parent / ".pytest_cache" / "jax"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
# A twentieth of the time would go to the stack of calls that every operation remembers, and to
# looking for garbage among the many objects of a trace.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")

import jax

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_disable_most_optimizations", True)
gc.set_threshold(100_000, 50, 50)

# What takes longest begins first (with --no-loadscope-reorder), so that workers end together.
LONGEST = ("reproduce", "processes", "editor", "run", "edit", "training", "population", "search",
           "fairness_edits", "refine")  # fmt: skip


skipped = set()  # tests, and files that skip all of theirs


def pytest_addoption(parser):
    parser.addoption(
        "--skipped", action="store_true",
        help="only what the last run skipped, such as tests of packages that are there since",
    )  # fmt: skip


def pytest_runtest_logreport(report):
    if report.skipped:
        skipped.add(report.nodeid)


pytest_collectreport = pytest_runtest_logreport


def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):  # the process that hears of all reports
        session.config.cache.set("metanet/skipped", sorted(skipped))


def pytest_collection_modifyitems(config, items):
    """Puts the files of LONGEST first, each whole, in the order of the rest."""
    if config.getoption("skipped"):
        last = set(config.cache.get("metanet/skipped", []))
        items[:] = [one for one in items if {one.nodeid, one.nodeid.split("::")[0]} & last]
    rank = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))
