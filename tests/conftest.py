"""All tests run on four host devices, and an unintended broadcast is an error.

Most of a test's time is compilation: programs are compiled without optimisation, once for all
workers. Tests of numbers that optimisation could change turn it on again.
"""

import importlib.metadata
import os
import pathlib

# Older emitters, one module: half the compilation. Here, before jax starts, for commands under test
# too; only where these are known, since an unknown flag ends the process.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    quick = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quick}"

import jax

CACHE = pathlib.Path(__file__).parent.parent / ".pytest_cache" / "jax"

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
