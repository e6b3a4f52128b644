"""The graphs that editors read: jraph's named tuple, which only this module imports.

jraph's last release is of 2022. Should it no longer import beside a newer jax, a NamedTuple of the
same seven fields here takes its place (see docs/design.md).
"""

from jraph import GraphsTuple

__all__ = ["GraphsTuple"]
