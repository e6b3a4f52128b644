"""Models linearised on rows: what their weights read, and what their neurons do to the output."""

import jax
import jax.numpy as jnp
from flax import struct

from metanet.graphs.padded import PARAMETERS, PaddedMLP, logits_from, source_values
from metanet.graphs.topology import Template

_TINY = 1e-12  # of denominators: probabilities that underflow have no information


class Linearised(struct.PyTreeNode):
    """One model on rows, with C classes; products of `values` and `bias` are weights' derivatives.

    Derivatives are of C - 1 numbers per row whose squares sum to the Fisher information of the
    softmax output, see `fisher_root`: a change of them has a JS divergence (nats) of an eighth of
    its square, to second order.

    Attributes:
      logits: [rows, C].
      values: [rows, sources], which the weights of a source are multiplied with.
      bias, scale, shift: [rows, C - 1, targets], derivatives by these parameters of every neuron.
        Where the model has no layer normalisation, those by scales and shifts are 0.
    """

    logits: jax.Array
    values: jax.Array
    bias: jax.Array
    scale: jax.Array
    shift: jax.Array


def fisher_root(p: jax.Array) -> jax.Array:
    """A matrix R [C - 1, C] with R' R = diag(p) - p p', for probabilities p [C].

    Row i is the variance of class i against the later classes: the Cholesky factor of a multinomial
    covariance (Tanabe and Sagae 1992), transposed.
    """
    later = jnp.cumsum(p[::-1])[::-1]  # [C], the sum of p from a class on
    rest = later[1:]  # [C - 1]
    # Never of 0, where the root has no derivative: learned probes are moved along it.
    scale = jnp.sqrt(p[:-1] * rest / jnp.maximum(later[:-1], _TINY) + _TINY**2)
    against = jnp.triu(p[None] / jnp.maximum(rest, _TINY)[:, None], 1)
    return scale[:, None] * (jnp.eye(len(p))[:-1] - against)


def residual(logits: jax.Array, teacher: jax.Array) -> jax.Array:
    """What a change is to cancel for the JS divergence (nats) to the teacher's outputs to fall.

    Of logits [rows, C]: [rows, C - 1]. With J half the derivatives in `Linearised`, J' residual is
    the gradient of the divergence, summed over rows, and J' J its Hessian at the teacher. The
    derivative by the logits is R' R log(q / m) / 2, R the root of the Fisher information, q the
    outputs and m their mean with the teacher's.
    """
    log_q, log_p = jax.nn.log_softmax(logits), jax.nn.log_softmax(teacher)
    apart = log_q - (jnp.logaddexp(log_p, log_q) - jnp.log(2.0))  # [rows, C]
    return jnp.einsum("rpc,rc->rp", jax.vmap(fisher_root)(jnp.exp(log_q)), apart)


def linearise(template: Template, model: PaddedMLP, x: jax.Array) -> Linearised:
    """The model on x [rows, features]."""
    nodes = {name: getattr(model, name) for name in PARAMETERS[1:]}
    # A copy for every row, [rows, targets]: then one backward pass has the derivatives of all rows.
    nodes = {k: jnp.broadcast_to(leaf, (len(x), len(leaf))) for k, leaf in nodes.items()}

    def forward(nodes):
        changed = model.replace(**nodes)
        values = source_values(template, changed, x)
        return logits_from(template, changed, values), values

    out, pull, values = jax.vjp(forward, nodes, has_aux=True)
    roots = jax.vmap(fisher_root)(jax.nn.softmax(out))  # [rows, C - 1, C]
    (slopes,) = jax.vmap(pull, in_axes=1, out_axes=1)(roots)  # [rows, C - 1, targets] each
    return Linearised(out, values, **slopes)
