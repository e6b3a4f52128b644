"""Gauss-Newton steps after an edit: what is kept makes up for what was removed.

The JS divergence to the original outputs is, near them, a quarter of the squared change in the
metric of the Fisher information. Every step minimises that quadratic by a few conjugate gradients,
preconditioned by its diagonal, without forming a matrix (Martens 2010, with the Gauss-Newton
matrix of Schraudolph 2002): products with it are products of matrices over rows. A requirement
enters by its gradient, so that it is met at the least divergence: a natural gradient.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from metanet.core import require
from metanet.data.table import Table
from metanet.editor.edits import Edit
from metanet.graphs.linearised import Linearised, linearise, residual
from metanet.graphs.padded import PARAMETERS, PaddedMLP, apply_padded
from metanet.graphs.topology import Template
from metanet.mlp.network import js_divergence

DECISIONS = 0.2  # their temperature
SHRINK = 0.3  # of a step that did not lower the divergence
# A change of one model's parameters, or its derivative by them: weight [sources, targets]; bias,
# scale, shift [targets].
Change = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class NewtonConfig:
    """Gauss-Newton steps on the JS divergence to the original outputs.

    Attributes:
      steps: linearisations; one that does not lower the divergence is shortened and tried again.
      products: conjugate gradients in each.
      points: the rows of `edit` on which it is lowered.
      moments: whether they are drawn from a normal distribution with the mean and covariance of
        `edit` instead, so that nothing else of the data has to be known.
      balanced: whether every cell of (label, group) gives equally many of them.
      requirement: whether lambda * requirement is lowered too; for methods swept over lambda.
      decision_temperature: of the requirement's decisions, as in TrainingConfig.
      damping: over the mean of the quadratic's diagonal.
    """

    steps: int = 3
    products: int = 4
    points: int = 256
    moments: bool = False
    balanced: bool = False
    requirement: bool = False
    decision_temperature: float = DECISIONS
    damping: float = 0.1

    def __post_init__(self):
        for key in ("steps", "products", "points"):
            value = getattr(self, key)
            require(value >= 1, key, value, "at least 1")
        for key in ("damping", "decision_temperature"):
            value = getattr(self, key)
            require(value > 0, key, value, "a number above 0")
        for key in ("balanced", "requirement"):
            ok = not (self.moments and getattr(self, key))
            require(ok, "moments", True, f"False with {key}, which reads labels or groups")
        unread = not self.requirement and self.decision_temperature != DECISIONS
        needs = "requirement, whose decisions it is of"
        require(not unread, "decision_temperature", self.decision_temperature, needs)


# required(the edited model, its logits [rows, C]) -> [] nats, what is added to the divergence.
Required = Callable[[PaddedMLP, jax.Array], jax.Array]


def newton(
    template: Template,
    edit: Edit,
    batch: Table,
    config: NewtonConfig,
    required: Required | None = None,
) -> Edit:
    """The edit of one model with its kept parameters changed; never worse than before on `batch`.

    Args:
      edit: of one model, without leading axes.
      batch: the rows, which count by their weight.
      required: see Required; nothing by default.
    """
    x = jnp.asarray(batch.x)
    share = jnp.asarray(batch.weight) / len(x)  # [rows]
    teacher = apply_padded(template, edit.before, x)  # [rows, C]
    node = edit.after.node.astype(jnp.float32)
    free = {"weight": edit.keep, "bias": node, "scale": node, "shift": node}

    def added(params: Change) -> jax.Array:  # [], nats
        after = edit.after.replace(**params)
        return required(after, apply_padded(template, after, x)) if required else jnp.zeros(())

    def divergence(logits: jax.Array) -> jax.Array:  # [], nats
        return share @ js_divergence(teacher, logits)

    def one_step(state, _):
        best, cost, change = state
        tried = _sum(best, change)
        rows = linearise(template, edit.after.replace(**tried), x)
        more, slope = jax.value_and_grad(added)(tried)
        found = divergence(rows.logits) + more
        better = found < cost
        change = jax.lax.cond(
            better,
            lambda: _solved(rows, teacher, share, slope, free, config),
            lambda: jax.tree.map(lambda leaf: SHRINK * leaf, change),
        )
        return (_choose(better, tried, best), jnp.minimum(found, cost), change), None

    start = {name: getattr(edit.after, name) for name in PARAMETERS}
    nothing = jax.tree.map(jnp.zeros_like, start)
    state, _ = jax.lax.scan(one_step, (start, jnp.inf, nothing), length=config.steps)
    best, cost, change = state
    last = _sum(best, change)
    found = divergence(apply_padded(template, edit.after.replace(**last), x)) + added(last)
    return edit.replace(after=edit.after.replace(**_choose(found < cost, last, best)))


def _sum(params: Change, change: Change) -> Change:
    return jax.tree.map(jnp.add, params, change)


def _choose(first: jax.Array, one: Change, other: Change) -> Change:
    return jax.tree.map(functools.partial(jnp.where, first), one, other)


def _solved(
    rows: Linearised,
    teacher: jax.Array,
    share: jax.Array,
    slope: Change,
    free: Change,
    config: NewtonConfig,
) -> Change:
    """The change of the free parameters that conjugate gradients find for the quadratic's least.

    The quadratic (nats) is the sum over rows of share |J d + residual|^2 / 2, and slope' d +
    damping |d|^2 / 2, with J and the residual of `linearised.residual`.
    """
    slopes = {name: 0.5 * getattr(rows, name) for name in PARAMETERS[1:]}  # [rows, C - 1, targets]

    def product(change: Change) -> jax.Array:  # J d, [rows, C - 1]
        into = rows.values @ change["weight"] + change["bias"][None]  # [rows, targets]
        total = jnp.einsum("rct,rt->rc", slopes["bias"], into)
        return total + sum(slopes[name] @ change[name] for name in PARAMETERS[2:])

    def transposed(outer: jax.Array) -> Change:  # J' (share u), of the free parameters
        outer = share[:, None] * outer
        each = {name: jnp.einsum("rct,rc->rt", slopes[name], outer) for name in slopes}
        sums = {name: leaf.sum(0) for name, leaf in each.items()}
        found = {"weight": rows.values.T @ each["bias"]} | sums
        return jax.tree.map(jnp.multiply, found, free)

    squares = {name: share[:, None] * (leaf**2).sum(1) for name, leaf in slopes.items()}
    diagonal = {"weight": (rows.values**2).T @ squares["bias"]}
    diagonal |= {name: leaf.sum(0) for name, leaf in squares.items()}
    diagonal = jax.tree.map(jnp.multiply, diagonal, free)
    damping = config.damping * _mean(diagonal)
    scale = jax.tree.map(lambda leaf: 1.0 / (leaf + damping), diagonal)

    def one_product(state, _):
        change, gap, direction, size = state
        pushed = product(direction)
        curved = _along(transposed(pushed), damping, direction)
        length = size / jnp.maximum(_dot(direction, curved), 1e-30)
        change, gap = _along(change, length, direction), _along(gap, -length, curved)
        scaled = jax.tree.map(jnp.multiply, scale, gap)
        after = _dot(gap, scaled)
        direction = _along(scaled, after / jnp.maximum(size, 1e-30), direction)
        return (change, gap, direction, after), None

    towards = transposed(residual(rows.logits, teacher))
    gap = jax.tree.map(lambda one, own, is_free: -(one + own * is_free), towards, slope, free)
    scaled = jax.tree.map(jnp.multiply, scale, gap)
    nothing = jax.tree.map(jnp.zeros_like, gap)
    state = nothing, gap, scaled, _dot(gap, scaled)
    return jax.lax.scan(one_product, state, length=config.products)[0][0]


def _along(start: Change, length: jax.Array, direction: Change) -> Change:
    return jax.tree.map(lambda a, b: a + length * b, start, direction)


def _dot(one: Change, other: Change) -> jax.Array:
    return jnp.stack([jnp.vdot(one[name], other[name]) for name in PARAMETERS]).sum()


def _mean(diagonal: Change) -> jax.Array:
    """Of the entries that are not 0."""
    total = sum(leaf.sum() for leaf in diagonal.values())
    count = sum((leaf > 0).sum() for leaf in diagonal.values())
    return jnp.maximum(total / jnp.maximum(count, 1), 1e-20)
