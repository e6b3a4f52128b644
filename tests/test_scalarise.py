"""Scalarisations: exact Pareto optimal search on its authors' toy problem and against a solver."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metanet import scalarise
from metanet.scalarise import epo_weights

N = 10
AT = np.ones(N) / np.sqrt(N)
RAYS = [(np.cos(t), np.sin(t)) for t in np.linspace(0.15, np.pi / 2 - 0.15, 6)]


def concave(x):
    """The toy problem of Mahapatra and Rajan (2020, section 5.1): its front is concave."""
    return jnp.stack([1 - jnp.exp(-((x - a) ** 2).sum()) for a in (AT, -AT)])


def convex(x):
    return jnp.stack([((x - a) ** 2).sum() for a in (AT, -AT)])


def three(x):
    corners = 0.7 * np.eye(3)
    return jnp.stack([1 - jnp.exp(-((x[:3] - corner) ** 2).sum()) for corner in corners])


def descend(objectives, weights_of, start, steps=400, rate=0.1):
    """x after steps along the normalised direction m * sum of weight * gradient."""

    @jax.jit
    def step(x, decay):
        losses, gradients = objectives(x), jax.jacobian(objectives)(x)
        weights = weights_of(losses, gradients @ gradients.T)
        direction = len(losses) * weights @ gradients
        return x - rate * decay * direction

    x = jnp.asarray(start, jnp.float32)
    for i in range(steps):
        x = step(x, jnp.float32(1 - i / steps))
    return np.asarray(objectives(x))


@pytest.mark.parametrize("objectives", [concave, convex])
@pytest.mark.parametrize("ray", RAYS)
def test_search_ends_where_preference_times_loss_is_even(objectives, ray):
    start = np.random.default_rng(0).uniform(-0.2, 0.2, N)
    preference = jnp.asarray(ray, jnp.float32)

    def weights_of(losses, gram):
        return epo_weights(losses, gram, preference)

    losses = descend(objectives, weights_of, start)
    products = losses * np.asarray(ray)
    assert products[0] == pytest.approx(products[1], rel=0.05)
    # On the front: x = s * AT for some s.
    along = np.linspace(-1, 1, 4001)
    front = np.array([objectives(s * AT) for s in along[::40]])
    gap = np.abs(front - losses[None]).max(1).min()
    assert gap < 0.02


def test_linear_scalarisation_ends_at_an_extreme_of_a_concave_front():
    start = np.random.default_rng(0).uniform(-0.2, 0.2, N)
    for ray in RAYS:
        fixed = jnp.asarray(ray, jnp.float32)
        losses = descend(concave, lambda losses, gram, fixed=fixed: fixed, start, 1500, 0.2)
        assert losses.min() < 0.05


def test_three_objectives_are_evened_out_by_the_solver():
    preference = jnp.array([1.0, 2.0, 1.5])

    def weights_of(losses, gram):
        return epo_weights(losses, gram, preference)

    start = 0.1 * np.random.default_rng(1).normal(size=N)
    products = descend(three, weights_of, start, 200, 0.3) * np.asarray(preference)
    np.testing.assert_allclose(products, products.mean(), rtol=0.05)


@pytest.mark.slow
def test_the_closed_form_is_the_solvers_optimum(monkeypatch):
    rng = np.random.default_rng(3)
    closed, programs, descents = scalarise._best_of_two, [], 0

    def keep(*program):
        programs.append([np.asarray(each, np.float64) for each in program])
        return closed(*program)

    monkeypatch.setattr(scalarise, "_best_of_two", keep)
    for _ in range(200):
        gradients = rng.normal(size=(2, 3)) * 10 ** rng.uniform(-2, 1, (2, 1))
        losses, preference = rng.uniform(0.01, 1, 2), rng.uniform(0.1, 1, 2)
        if rng.uniform() < 0.5:  # even products: descent
            losses, descents = 0.3 / preference, descents + 1
        gram = jnp.asarray(gradients @ gradients.T, jnp.float32)
        ours = np.asarray(epo_weights(jnp.float32(losses), gram, jnp.float32(preference)))
        value, rows, bounds = programs[-1]
        assert (rows @ ours - bounds).min() > -1e-5 * np.abs(rows).max()
        assert ours.sum() == pytest.approx(1, abs=1e-6) and (ours >= 0).all()
        best = scalarise._best_of_many(value, rows, bounds)
        assert value @ ours == pytest.approx(value @ best, abs=1e-4 * np.abs(value).max())
    assert 60 < descents < 140


def test_parts_even_out_along_the_gradient_of_their_divergence_from_uniform(monkeypatch):
    rng, programs = np.random.default_rng(8), []

    def keep(value, rows, bounds):
        programs.append(rows)
        return jnp.full(2, 0.5)

    monkeypatch.setattr(scalarise, "_best_of_two", keep)
    for _ in range(20):
        gradients = rng.normal(size=(2, 3)).astype(np.float32)
        losses, preference = rng.uniform(0.1, 1, (2, 2)).astype(np.float32)

        def divergence(losses, preference=preference):
            part = preference * losses / (preference * losses).sum()
            return (part * jnp.log(2 * part)).sum()

        gram = gradients @ gradients.T
        epo_weights(jnp.asarray(losses), jnp.asarray(gram), jnp.asarray(preference))
        found, expected = np.asarray(programs[-1][-1]), gram @ jax.grad(divergence)(losses)
        cosine = found @ expected / np.linalg.norm(found) / np.linalg.norm(expected)
        assert cosine == pytest.approx(1, abs=1e-4)


def test_of_the_steps_that_do_not_raise_the_largest_loss_the_one_that_evens_out_most_is_taken():
    rng = np.random.default_rng(9)
    for _ in range(50):
        gradients = rng.normal(size=(2, 3)).astype(np.float32)
        losses, preference = rng.uniform(0.1, 1, (2, 2)).astype(np.float32)
        part = preference * losses / (preference * losses).sum()
        uneven = (part * np.log(2 * part)).sum()
        gram = gradients @ gradients.T
        toward = gram @ (preference * (np.log(2 * part) - uneven))
        largest, tiny = part.argmax(), 1e-4 * np.abs(gram).max()
        falls = np.linspace(0, 1, 1001)[:, None] * (gram[:, 0] - gram[:, 1]) + gram[:, 1]
        weights = np.linspace(0, 1, 1001)
        # What does not even out rises no faster than along the anchor.
        bound = np.where(toward > 0, -np.inf, toward) if (toward > 0).any() else np.zeros(2)
        bound[largest] = 0.0
        allowed = (falls >= bound - tiny).all(1)
        found = np.asarray(epo_weights(*map(jnp.asarray, (losses, gram, preference))))
        assert (gram @ found >= bound - tiny).all()
        best = np.stack([weights, 1 - weights], 1)[allowed] @ toward
        assert toward @ found >= best.max() - 2e-3 * np.abs(toward).max()


def test_the_largest_of_three_losses_does_not_rise_while_they_even_out():
    rng = np.random.default_rng(10)
    for _ in range(60):
        gradients = rng.normal(size=(3, 3)).astype(np.float32)
        gram = gradients @ gradients.T
        losses, preference = rng.uniform(0.1, 1, (2, 3)).astype(np.float32)
        weights = np.asarray(epo_weights(*map(jnp.asarray, (losses, gram, preference))))
        largest = (preference * losses).argmax()
        assert (gram @ weights)[largest] > -1e-4 * np.abs(gram).max()


def test_weights_of_a_program_without_a_solution_are_still_weights():
    value, rows = np.array([1.0, 0.0]), np.array([[-1.0, 0.0]])
    two = scalarise._best_of_two(jnp.asarray(value), jnp.asarray(rows), jnp.array([0.5]))
    np.testing.assert_array_equal(two, [0, 1])  # the end of the interval that is nearest
    many = scalarise._best_of_many(np.ones(4), np.ones((1, 4)), np.array([2.0]))
    np.testing.assert_allclose(many, 0.25)


def test_a_loss_of_zero_leaves_the_step_to_the_other():
    """A fresh editor's divergence and its gradient are 0: the requirement falls."""
    gram = jnp.array([[0.0, 0.0], [0.0, 1.0]])
    weights = epo_weights(jnp.array([0.0, 0.8]), gram, jnp.array([1.0, 0.01]))
    np.testing.assert_allclose(weights, [0, 1], atol=1e-3)


def test_no_loss_rises_where_products_are_even():
    rng = np.random.default_rng(5)
    for _ in range(20):
        gradients = jnp.asarray(rng.normal(size=(2, 4)), jnp.float32)
        gram = gradients @ gradients.T
        weights = epo_weights(jnp.array([0.5, 0.25]), gram, jnp.array([1.0, 2.0]))
        assert (np.asarray(gram @ weights) > -1e-5).all()


@pytest.mark.parametrize("m", [2, 3, 4])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_gives_no_direction(m, bad):
    gradients = np.random.default_rng(6).normal(size=(m, 5))
    losses, gram = np.full(m, 0.3), gradients @ gradients.T
    weights_of = jax.jit(epo_weights)
    assert np.isfinite(weights_of(losses, gram, np.ones(m))).all()
    for index in range(m):
        lost, steep = losses.copy(), gram.copy()
        lost[index] = steep[index, index] = bad
        assert np.isnan(weights_of(lost, gram, np.ones(m))).all()
        assert np.isnan(weights_of(losses, steep, np.ones(m))).all()
