"""A folder of networks of scikit-learn and PyTorch, trained on Adult as their users would.

python examples/zoo_adult.py [--count=40] [--out=zoo]

Every second one is scikit-learn's; all differ in shape, activation, rates and length of training.
"""

import argparse
import pathlib

import numpy as np
import torch
from pytorch_adult import train
from sklearn.neural_network import MLPClassifier
from torch import nn

from metanet.data import load
from metanet.interop.files import write
from metanet.interop.pytorch import from_torch
from metanet.interop.sklearn_models import from_sklearn

ACTIVATIONS = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh)
NORMS = (None, nn.BatchNorm1d, nn.LayerNorm)


def of_sklearn(rng: np.random.Generator, hidden: tuple[int, ...], x, y):
    model = MLPClassifier(
        hidden,
        activation=str(rng.choice(["relu", "tanh"])),
        alpha=float(10 ** rng.uniform(-5, -2)),
        learning_rate_init=float(10 ** rng.uniform(-3.3, -2)),
        max_iter=60,
        early_stopping=True,
        random_state=int(rng.integers(1000)),
    )
    return from_sklearn(model.fit(x, y))


def of_torch(rng: np.random.Generator, hidden: tuple[int, ...], x, y):
    torch.manual_seed(int(rng.integers(1000)))
    activation, norm = rng.choice(ACTIVATIONS), NORMS[rng.integers(len(NORMS))]
    dropout, layers, width = float(rng.choice([0.0, 0.1, 0.2])), [], x.shape[1]
    for size in hidden:
        layers += [nn.Linear(width, size)] + ([norm(size)] if norm else []) + [activation()]
        layers, width = layers + ([nn.Dropout(dropout)] if dropout else []), size
    epochs = int(rng.integers(5, 30))
    return from_torch(train(nn.Sequential(*layers, nn.Linear(width, 1)), x, y, epochs))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--out", default="zoo")
    asked = parser.parse_args()
    data, out = load("adult", "sex", 0), pathlib.Path(asked.out)
    out.mkdir(exist_ok=True)
    for number in range(asked.count):
        rng = np.random.default_rng(number)
        hidden = tuple(np.sort(rng.choice([8, 16, 32], rng.integers(1, 5))).tolist())
        make, name = ((of_sklearn, "sklearn"), (of_torch, "torch"))[number % 2]
        path = out / f"{name}_{number:03}.npz"
        if not path.exists():
            write(make(rng, hidden, data.train.x, data.train.y), path)
            print(f"{path}: {hidden}", flush=True)


if __name__ == "__main__":
    main()
