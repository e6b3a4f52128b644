"""All tests run on four host devices, and an unintended broadcast is an error."""

import jax

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
