"""PyTorch modules as networks, and edited networks as modules."""

import copy
import dataclasses

import jax
import numpy as np
import pytest
from helpers import edited_network

from metanet.interop.pytorch import from_torch
from metanet.interop.verify import logits

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional
prune = pytest.importorskip("torch.nn.utils.prune")
X = np.random.default_rng(1).normal(size=(40, 5)).astype(np.float32)


def settled(module):
    """`module` in evaluation with statistics and affine parameters that are not neutral."""
    generator = torch.Generator().manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2.0, generator=generator)
        if isinstance(layer, nn.BatchNorm1d | nn.LayerNorm):
            for parameter in layer.parameters():
                parameter.data.uniform_(0.5, 1.5, generator=generator)
    return module.eval()


def outputs(module, x=X):
    with torch.no_grad():
        return module(torch.from_numpy(x).to(next(module.parameters()).dtype)).double().numpy()


def check(module, wanted_activation, *, head=lambda z: z, tolerance=1e-5):
    """Logits agree; unedited parameters have their bits; an edited module computes the edit."""
    before = copy.deepcopy(module.eval().state_dict())
    read = from_torch(module)
    assert read.network.activation == wanted_activation
    np.testing.assert_allclose(head(logits(read.network, X)), outputs(module), atol=tolerance)
    same = read.restore(read.network)
    assert same is not module and same.state_dict().keys() == before.keys()
    other = edited_network(read.network)
    new = read.restore(other)
    np.testing.assert_allclose(head(logits(other, X)), outputs(new), atol=tolerance)
    for key, value in before.items():
        assert torch.equal(same.state_dict()[key], value)
        assert torch.equal(module.state_dict()[key], value)
    return read, new


class Skips(nn.Module):
    def __init__(self, norm=nn.Identity):
        super().__init__()
        self.first, self.second, self.skip = nn.Linear(5, 8), nn.Linear(8, 7), nn.Linear(5, 7)
        self.norms = nn.ModuleList([norm(8), norm(7)])
        self.out = nn.Linear(7, 3)

    def forward(self, x):
        h = F.silu(self.norms[0](self.first(x)))
        return self.out(
            F.silu(self.norms[1](self.second(F.dropout(h, training=self.training)) + self.skip(x)))
        )


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (nn.ReLU(inplace=True), "relu"),
        (nn.LeakyReLU(), "leaky_relu"),
        (nn.GELU(), "gelu_erf"),
        (nn.GELU(approximate="tanh"), "gelu"),
        (nn.SiLU(), "silu"),
        (nn.Tanh(), "tanh"),
    ],
)
def test_every_activation(activation, name):
    torch.manual_seed(0)
    check(nn.Sequential(nn.Linear(5, 8), activation, nn.Dropout(), nn.Linear(8, 3)), name)


class Functional(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.a, self.b, self.function = nn.Linear(5, 8), nn.Linear(8, 3), function

    def forward(self, x):
        return self.b(self.function(self.a(x)))


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (F.relu, "relu"),
        (lambda x: x.clamp(min=0), "relu"),
        (lambda x: x.tanh(), "tanh"),
        (lambda x: x * torch.sigmoid(x), "silu"),
        (lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)), "gelu_erf"),
        (lambda x: F.gelu(x, approximate="tanh"), "gelu"),
        (F.leaky_relu, "leaky_relu"),
    ],
)
def test_an_activation_however_it_is_written(function, name):
    torch.manual_seed(0)
    check(Functional(function), name)


@pytest.mark.parametrize(
    ("norm", "kind"),
    [
        (nn.BatchNorm1d, "batch"),
        (lambda n: nn.BatchNorm1d(n, affine=False), "batch"),
        (nn.LayerNorm, "layer"),
        (lambda n: nn.LayerNorm(n, eps=1e-2), "layer"),
        (lambda n: nn.LayerNorm(n, elementwise_affine=False), "layer"),
    ],
)
def test_normalisations_and_skips(norm, kind):
    torch.manual_seed(0)
    read, _ = check(settled(Skips(norm)), "silu")
    assert read.network.spec.norm == kind and read.network.spec.skips == ((0, 2),)


def test_batch_norms_of_inputs_after_activations_and_of_outputs():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.BatchNorm1d(5), nn.Linear(5, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(),
        nn.BatchNorm1d(8), nn.Linear(8, 6), nn.ReLU(), nn.BatchNorm1d(6), nn.Linear(6, 3),
        nn.BatchNorm1d(3),
    )  # fmt: skip
    _, new = check(settled(module), "relu")
    assert new[1].bias is None  # the batch norm's shift takes it


def test_weights_alone_are_edited_behind_a_batch_norm_with_an_offset():
    torch.manual_seed(0)
    layers = [nn.BatchNorm1d(5), nn.Linear(5, 8), nn.Tanh(), nn.BatchNorm1d(8), nn.Linear(8, 3)]
    read = from_torch(settled(nn.Sequential(*layers)))
    weights = tuple(0.5 * weight for weight in read.network.params.weights)
    params = read.network.params.replace(weights=weights)
    other = dataclasses.replace(read.network, params=params)
    np.testing.assert_allclose(outputs(read.restore(other)), logits(other, X), atol=1e-5)


def test_dropped_weights_are_exactly_zero_behind_normalisations():
    torch.manual_seed(0)
    read = from_torch(settled(Skips(nn.BatchNorm1d)))
    other = edited_network(read.network)
    assert torch.equal(read.restore(other).second.weight == 0,
                       torch.from_numpy(other.params.weights[2].T == 0))  # fmt: skip


def test_a_bias_is_added_where_an_edit_needs_one():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 8, bias=False), nn.Tanh(), nn.Linear(8, 3, bias=False))
    read, new = check(module, "tanh")
    assert new[0].bias is not None and read.restore(read.network)[0].bias is None


def _softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


@pytest.mark.parametrize(
    ("last", "head"),
    [
        (nn.Softmax(dim=-1), _softmax),
        (nn.LogSoftmax(dim=1), lambda z: np.log(_softmax(z))),
    ],
)
def test_a_softmax_at_the_end_is_cut_off_and_kept(last, head):
    torch.manual_seed(0)
    check(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3), last), "relu", head=head)


class Spelled(nn.Module):
    """Functions and methods in place of modules."""

    def __init__(self, head):
        super().__init__()
        self.a, self.b, self.skip, self.c = (
            nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(5, 8), nn.Linear(8, 3)
        )  # fmt: skip
        self.head = head

    def forward(self, x):
        x = torch.flatten(x, 1)
        h = self.a(x).relu()
        z = torch.add(self.b(F.dropout(h, p=0.1, training=self.training)), self.skip(x))
        return self.head(self.c(torch.relu_(z)))


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (lambda z: z.softmax(-1), _softmax),
        (lambda z: F.softmax(z, dim=1), _softmax),
        (lambda z: F.log_softmax(z, 1), lambda z: np.log(_softmax(z))),
        (lambda z: z, lambda z: z),
    ],
)
def test_functions_and_methods(head, wanted):
    torch.manual_seed(0)
    check(Spelled(head), "relu", head=wanted)


@pytest.mark.parametrize("sigmoid", [False, True])
def test_one_logit_becomes_two_and_one_again(sigmoid):
    torch.manual_seed(0)
    layers = [nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1)]
    module = nn.Sequential(*layers, *([nn.Sigmoid()] if sigmoid else []))

    def head(z):
        z = z[:, 1:] - z[:, :1]
        return 1 / (1 + np.exp(-z)) if sigmoid else z

    read, new = check(module, "relu", head=head)
    assert read.network.spec.widths == (5, 8, 2) and new[2].weight.shape == (1, 8)
    assert not read.network.params.weights[-1][:, 0].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_come_back(dtype):
    torch.manual_seed(0)
    module = settled(Skips(nn.BatchNorm1d)).to(dtype)
    tolerance = 1e-5 if dtype is torch.float64 else 0.2
    _, new = check(module, "silu", tolerance=tolerance)
    assert {p.dtype for p in new.parameters()} == {dtype}
    if dtype is torch.float16:
        read = from_torch(module)
        params = jax.tree.map(lambda leaf: 0 * leaf + 1e5, read.network.params)
        with pytest.raises(ValueError, match=r"not finite in torch.float16"):
            read.restore(dataclasses.replace(read.network, params=params))


def test_another_architecture_is_not_restored():
    torch.manual_seed(0)
    read = from_torch(Skips())
    other = dataclasses.replace(read.network, activation="relu")
    with pytest.raises(ValueError, match=r"expected .* with silu, as it was read"):
        read.restore(other)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        h = F.relu(self.a(x))
        return self.c(h + F.relu(self.b(h)))


class Branching(Residual):
    def forward(self, x):
        h = F.relu(self.a(x))
        return self.c(h if h.sum() > 0 else -h)


class Twice(Residual):
    def forward(self, x):
        h = F.relu(self.a(x))
        return self.c(F.relu(self.b(F.relu(self.b(h)))))


class LateSum(Residual):
    def __init__(self):
        super().__init__()
        self.norm, self.skip = nn.BatchNorm1d(8), nn.Linear(5, 8)

    def forward(self, x):
        return self.c(F.relu(self.norm(self.a(x)) + self.skip(x)))


class Hidden(Residual):
    """Dropout that torch.fx shows, but that evaluation does not turn off."""

    def forward(self, x):
        return self.c(F.dropout(F.relu(self.a(x))))


def tied():
    module = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    module[2].weight = module[0].weight
    return module


def pruned():
    module = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    prune.l1_unstructured(module[0], "weight", 0.5)
    return module


def not_finite():
    module = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    module[2].weight.data[0, 0] = torch.nan
    return module


def dead():
    module = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    module[1].weight.data[3] = 0
    return module


def sequence(*layers):
    return lambda: nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (sequence(nn.Linear(5, 8), nn.Linear(8, 3)), "^1: found it directly after 0, expected an"),
        (sequence(nn.Linear(5, 3)), "^0: found no hidden layer"),
        (
            sequence(
                nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)
            ),
            "^2: found activation tanh after it, expected relu as in 0",
        ),
        (
            sequence(
                nn.Linear(5, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(),
                nn.Linear(8, 3),
            ),
            "^3: found normalisation none after it, expected layer as in 0",
        ),
        (
            sequence(nn.Linear(5, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 3)),
            "^2: found a layer normalisation elsewhere, expected it before an activation",
        ),
        (
            sequence(nn.Linear(5, 8), nn.ELU(), nn.Linear(8, 3)),
            "^1: found an activation that no network has, expected one of relu",
        ),
        (
            sequence(nn.Linear(5, 8), nn.LeakyReLU(0.2), nn.Linear(8, 3)),
            "^1: found an activation that no network has",
        ),
        (sequence(nn.Conv1d(5, 8, 1), nn.ReLU()), "^0: found Conv1d, expected Linear"),
        (sequence(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3), nn.Sigmoid()),
         "^3: found a sigmoid of 3 outputs"),
        (sequence(nn.Linear(5, 8), nn.Softmax(-1), nn.Linear(8, 3)),
         "^2: found an operation after 1"),
        (sequence(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3), nn.Softmax(0)),
         "^3: found Softmax, expected"),
        (sequence(nn.Linear(5, 8), nn.ReLU()), "^1: found an activation or normalisation at the"),
        (sequence(nn.Linear(5, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.ReLU(),
                  nn.Linear(8, 3)), "^1: found no running statistics"),
        (Residual, r"^add: found an operation on the outputs of a, b \(a residual connection"),
        (Branching, "^Branching: found what torch.fx cannot trace"),
        (Twice, "^b: found parameter b.weight again, expected no tied weights"),
        (LateSum, "^add: found a sum after norm, expected sums before a normalisation"),
        (Hidden, "^model: found outputs that are .* from the network's"),
        (tied, "^2: found parameter 0.weight again, expected no tied weights"),
        (pruned, "^0: found hooks, expected none: make pruning"),
        (not_finite, "^2: found a number that is not finite"),
        (dead, "^1: found scale 0 at neuron 3"),
    ],
)  # fmt: skip
def test_what_no_network_is_like_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        from_torch(make())
