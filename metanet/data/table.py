"""A table of samples as arrays: what models are trained, edited and judged on."""

import jax
import numpy as np
from flax import struct

Array = np.ndarray | jax.Array


class Table(struct.PyTreeNode):
    """One split, or a sample of it; a pytree of arrays on the host or a device.

    Attributes:
      x: [rows, features] float32, standardised.
      y: [rows] int32, the class.
      group: [rows] int32, the protected attribute.
      weight: [rows] float32 with mean 1, the factor of a row in means over the data: 1 unless rows
        were sampled unevenly.
      n_groups: the number of groups; static.
    """

    x: Array
    y: Array
    group: Array
    weight: Array
    n_groups: int = struct.field(pytree_node=False)
