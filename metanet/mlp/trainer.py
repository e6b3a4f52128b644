"""Trains the members of a family together: vmapped over members, sharded over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec as P

from metanet.core import stream
from metanet.devices import models_mesh, over_models
from metanet.mlp.network import NORM_EPSILON, MLPParams, apply, fold, forward, init, layer_norm
from metanet.mlp.sampling import Family, Members, select
from metanet.mlp.spec import MLPSpec

_MOMENTUM = 0.9  # of batch normalisation's running statistics
_ADAM = optax.scale_by_adam()


def dropout(key: jax.Array, rate: jax.Array, a: jax.Array) -> jax.Array:
    """Inverted dropout of a [rows, n] at a traced `rate`, rounded to 1/256.

    One random byte per entry costs a quarter of the usual random word.
    """
    threshold = jnp.round(rate * 256.0)
    words = jax.random.bits(key, (-(-a.size // 4),), jnp.uint32)
    noise = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[: a.size].reshape(a.shape)
    return jnp.where(noise >= threshold, a * (256.0 / (256.0 - threshold)), 0.0)


def _train_loss(spec, params, member, key, x, y):
    """Cross-entropy (nats) of one batch, and each hidden layer's (mean, variance) over it."""
    statistics = []

    def normalise(layer, z):
        if spec.norm == "none":
            return z
        scale, shift = params.scales[layer - 1], params.shifts[layer - 1]
        if spec.norm == "layer":
            return layer_norm(z, scale, shift)
        mean = z.mean(0)  # [n], over the batch
        centred = z - mean[None]
        variance = (centred**2).mean(0)
        statistics.append((mean, variance))
        gain = scale * jax.lax.rsqrt(variance + NORM_EPSILON)
        return centred * gain[None] + shift[None]

    def drop(layer, a):
        return dropout(jax.random.fold_in(key, layer), member["dropout"], a)

    if spec.norm == "batch":
        # Without effect before batch normalisation: their gradient is rounding noise.
        hidden = jax.lax.stop_gradient(params.biases[:-1])
        params = params.replace(biases=(*hidden, params.biases[-1]))
    logits = forward(spec, params, member["activation"], x, normalise, drop)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    return loss, tuple(statistics)


def member_step(spec: MLPSpec, state: tuple, member: dict, key: jax.Array, x, y) -> tuple:
    """One step of Adam with decoupled weight decay, as torch.optim.AdamW.

    Args:
      state: as `init_member` returns.
      member: activation, dropout, learning_rate and weight_decay, each [].
      key: of dropout;  x, y: the batch, [rows, features] and [rows].
    """
    params, optimiser, running = state
    gradient, batch = jax.grad(_train_loss, argnums=1, has_aux=True)(
        spec, params, member, key, x, y
    )
    update, optimiser = _ADAM.update(gradient, optimiser)
    params = jax.tree.map(
        lambda p, u: p - member["learning_rate"] * (u + member["weight_decay"] * p), params, update
    )
    running = jax.tree.map(lambda r, b: _MOMENTUM * r + (1 - _MOMENTUM) * b, running, batch)
    return params, optimiser, running


def init_member(spec: MLPSpec, key: jax.Array) -> tuple:
    """(parameters, optimiser state, running (mean, variance) of batch normalisation)."""
    params = init(spec, key)
    running: tuple[tuple[jax.Array, jax.Array], ...] = ()
    if spec.norm == "batch":
        widths = [spec.widths[layer] for layer in spec.hidden]
        running = tuple((jnp.zeros(w, jnp.float32), jnp.ones(w, jnp.float32)) for w in widths)
    return params, _ADAM.init(params), running


def folded(spec: MLPSpec, state: tuple) -> MLPParams:
    """The inference parameters of a member in training."""
    params, _, running = state
    return fold(spec, params, tuple(m for m, _ in running), tuple(v for _, v in running))


def _train(spec: MLPSpec, batch_size: int, epochs: int, members, order_key, train, select_data):
    """One device's members: checkpoints [M, 3, ...] and accuracies [M, 3] (jitted by `program`)."""
    n_steps = train.x.shape[0] // batch_size
    init_keys, keys = jax.vmap(jax.random.split)(members["key"]).T  # [M] each
    state = jax.vmap(functools.partial(init_member, spec))(init_keys)
    first = jax.vmap(functools.partial(folded, spec))(state)
    # [M, 3, ...]: what is due after an epoch is overwritten then.
    snapshots = jax.tree.map(lambda leaf: jnp.repeat(leaf[:, None], 3, axis=1), first)
    step = jax.vmap(functools.partial(member_step, spec), in_axes=(0, 0, 0, None, None))

    def epoch(carry, index):
        # All members of a family see the same batches: rows are gathered once for all of them.
        order = jax.random.permutation(jax.random.fold_in(order_key, index), train.x.shape[0])
        batches = order[: n_steps * batch_size].reshape(n_steps, batch_size)

        def body(state, item):
            rows, step_index = item  # [batch_size], []
            step_keys = jax.vmap(lambda key: jax.random.fold_in(key, step_index))(keys)  # [M]
            return step(state, members, step_keys, train.x[rows], train.y[rows]), None

        state, snapshots = carry
        indices = index * n_steps + jnp.arange(n_steps)
        state, _ = jax.lax.scan(body, state, (batches, indices))
        now = jax.vmap(functools.partial(folded, spec))(state)
        due = members["snapshots"] == index + 1  # [M, 3]

        def keep(old, new):
            return jnp.where(due.reshape(due.shape + (1,) * (new.ndim - 1)), new[:, None], old)

        return (state, jax.tree.map(keep, snapshots, now)), None

    (_, snapshots), _ = jax.lax.scan(epoch, (state, snapshots), jnp.arange(epochs))

    def accuracy(params, activation):
        logits = apply(spec, params, activation, select_data.x)
        return (logits.argmax(-1) == select_data.y).mean()

    per_checkpoint = jax.vmap(jax.vmap(accuracy, in_axes=(0, None)))
    return snapshots, per_checkpoint(snapshots, members["activation"])


def program(family: Family, epochs: int):
    """The jitted training of one family on this process's devices."""
    body = functools.partial(_train, family.spec, family.batch_size, epochs)
    specs = (P("models"), P(), P(), P())
    return jax.jit(over_models(body, models_mesh(), specs, P("models")))


def member_arrays(members: Members, seed: int) -> dict[str, jax.Array]:
    """The hyperparameters and keys of M members, as `program` takes them: [M, ...]."""
    arrays = {k: jnp.asarray(v) for k, v in vars(members).items() if k != "experiment"}
    key = jax.vmap(lambda i: stream(seed, "member", i))(jnp.asarray(members.experiment))
    return arrays | {"key": key}


def train_family(
    family: Family, members: Members, epochs: int, data, seed: int, index: int
) -> tuple[MLPParams, jax.Array]:
    """Trains M members of a family; returns at once, with results still being computed.

    Args:
      data: tabular data; trained on `train`, accuracies on `select`.
      seed, index: the population's seed and the family's index in its catalogue. A member's
        randomness depends on the seed and its experiment's number, the order of the batches on the
        seed and the family's index.

    Returns:
      Inference parameters [M, 3, ...] of the early, middle and last checkpoint, and their
      accuracies [M, 3].
    """
    count = len(members.experiment)
    n_devices = models_mesh().size
    # Whole shares for all devices; the first members again, whose results are cut off.
    padded = select(members, np.arange(-(-count // n_devices) * n_devices) % count)
    order_key = stream(seed, "member order", index)
    arrays = member_arrays(padded, seed)
    results = program(family, epochs)(arrays, order_key, data.train, data.select)
    return jax.tree.map(lambda leaf: leaf[:count], results)
