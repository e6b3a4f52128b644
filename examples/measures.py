"""What both examples measure, in numpy, of a framework's own probabilities."""

import argparse

import numpy as np


def arguments(editor: str, require: str):
    """The command line: --editor and --require."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--editor", default=editor)
    parser.add_argument("--require", default=require)
    parser.add_argument("--out", default="edited")
    return parser.parse_args()


def jsd(p: np.ndarray, q: np.ndarray) -> float:
    """The mean Jensen-Shannon divergence (nats) of probabilities [rows, classes]."""
    p, q = np.clip(p, 1e-12, 1), np.clip(q, 1e-12, 1)
    m = (p + q) / 2
    return float(((p * np.log(p / m) + q * np.log(q / m)).sum(1) / 2).mean())


def features_read(outputs, x: np.ndarray) -> int:
    """The number of columns of x [rows, features] that `outputs` of x changes with."""

    def changed(column: int) -> np.ndarray:
        other = x.copy()
        other[:, column] = other[::-1, column]
        return other

    before = outputs(x)
    return sum(bool((outputs(changed(j)) != before).any()) for j in range(x.shape[1]))


def report(name: str, p: np.ndarray, before: np.ndarray, y: np.ndarray) -> None:
    """Prints accuracy, and the divergence from the original's probabilities."""
    accuracy = float((p.argmax(1) == y).mean())
    print(f"{name}: accuracy {accuracy:.4f}, JSD to the original {jsd(before, p):.4f} nats")
