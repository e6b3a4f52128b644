"""Critics of a network's last hidden layer, which read its bias or its rows' groups there."""

import jax
import jax.numpy as jnp
import optax

from metanet.data.tabular import Table


def new_critic(inputs: int, width: int, outputs: int, key: jax.Array) -> dict[str, jax.Array]:
    """The parameters of a critic with two hidden layers."""
    keys = jax.random.split(key, 3)

    def matrix(key, rows, columns):
        return jax.random.normal(key, (rows, columns)) / jnp.sqrt(rows)

    return {
        "first": matrix(keys[0], inputs, width), "first_bias": jnp.zeros(width),
        "second": matrix(keys[1], width, width), "second_bias": jnp.zeros(width),
        "last": matrix(keys[2], width, outputs), "last_bias": jnp.zeros(outputs),
    }  # fmt: skip


def predicted_bias(critic: dict[str, jax.Array], hidden: jax.Array, weight: jax.Array) -> jax.Array:
    """The bias [] that a critic predicts of a mini-batch from its last hidden layer.

    The authors' critic reads the rows one next to the other; this one the mean of a layer on each,
    as no order of rows means anything.

    Args:
      hidden: [rows, sources];  weight: [rows].
    """
    rows = jax.nn.relu(hidden @ critic["first"] + critic["first_bias"][None])
    batch = (weight[:, None] * rows).mean(0)  # [width]
    batch = jax.nn.relu(batch @ critic["second"] + critic["second_bias"])
    return (batch @ critic["last"] + critic["last_bias"])[0]


def group_cross_entropy(critic: dict[str, jax.Array], hidden: jax.Array, batch: Table) -> jax.Array:
    """The cross-entropy (nats) [] of a critic that predicts the groups of rows.

    From their last hidden layer [rows, sources] and their labels, as equalised odds compare rows of
    equal labels.
    """
    rows = jnp.concatenate([hidden, jax.nn.one_hot(batch.y, 2)], 1)
    rows = jax.nn.relu(rows @ critic["first"] + critic["first_bias"][None])
    rows = jax.nn.relu(rows @ critic["second"] + critic["second_bias"][None])
    logits = rows @ critic["last"] + critic["last_bias"][None]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch.group).mean()


def group_entropy(table: Table, pool: jax.Array) -> jax.Array:
    """The entropy (nats) [] of the group given the label, of the rows `pool` of a table."""
    y, group = table.y[pool], table.group[pool]
    cells = jax.nn.one_hot(y, 2).T @ jax.nn.one_hot(group, table.n_groups)  # [2, groups]
    share = cells / cells.sum(1, keepdims=True)
    return -(cells * jnp.log(jnp.where(cells > 0, share, 1.0))).sum() / cells.sum()
