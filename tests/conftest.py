"""All tests run on four host devices, and an unintended broadcast is an error.

Most of a test's time is compilation: programs are compiled without optimisation, once for all
workers. Tests of numbers that optimisation could change turn it on again.
"""

import pathlib

import jax

CACHE = pathlib.Path(__file__).parent.parent / ".pytest_cache" / "jax"

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
