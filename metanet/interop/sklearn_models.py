"""Networks from scikit-learn's classifiers."""

import copy
import warnings

import numpy as np

from metanet.interop.folding import Arrays, cast, imported
from metanet.interop.imported import Imported, framework, refused
from metanet.interop.parts import Norm, Parameter, affine
from metanet.interop.sequence import Dense, logits_of
from metanet.interop.verify import verify

_ACTIVATIONS = ("relu", "tanh")


def from_sklearn(model) -> Imported:
    """The network of a fitted `MLPClassifier`, or of `Pipeline(StandardScaler, MLPClassifier)`.

    A scaler is folded into the first layer, and its inverse into the weights on the way back: the
    scaler itself stays.

    Args:
      model: it is not changed; its hidden activation is relu or tanh.

    Returns:
      Its `restore` gives a model like this one; `classes` and `features` are named where the model
      knows them.

    Raises:
      UserError: scikit-learn is not installed.
      ValueError: another model, one that is not fitted, or one of several labels; names the step.
    """
    classifier, scaler = _steps(model)
    name = type(classifier).__name__
    if not hasattr(classifier, "coefs_"):
        raise refused(name, "a model without weights", "a fitted one")
    if classifier.activation not in _ACTIVATIONS:
        raise refused(name, f"activation {classifier.activation}", "relu or tanh")
    one_logit = classifier.coefs_[-1].shape[1] == 1
    if classifier.out_activation_ != ("logistic" if one_logit else "softmax"):
        raise refused(name, "several labels per row", "classes that exclude one another")
    blocks = {
        (layer, layer + 1): Dense(
            f"coefs_[{layer}]",
            Parameter(f"coefs_[{layer}]", weight.astype(np.float64)),
            Parameter(f"intercepts_[{layer}]", bias.astype(np.float64)),
        )
        for layer, (weight, bias) in enumerate(
            zip(classifier.coefs_, classifier.intercepts_, strict=True)
        )
    }

    def write(arrays: Arrays):
        result = copy.deepcopy(model)
        target, _ = _steps(result)
        for role in ("coefs_", "intercepts_"):
            old = getattr(classifier, role)
            keys = [f"{role}[{layer}]" for layer in range(len(old))]
            new = [cast(key, arrays[key], a.dtype) for key, a in zip(keys, old, strict=True)]
            setattr(target, role, new)
        return result

    names = [str(label) for label in classifier.classes_]
    result = imported(
        logits_of(blocks, classifier.activation, scaler=_folded(scaler)),
        write,
        classes=tuple(names),
        features=tuple(str(each) for each in getattr(model, "feature_names_in_", ())),
    )

    def outputs(rows: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():  # of rows without the names of their features
            warnings.simplefilter("ignore")
            probabilities = model.predict_proba(rows)
        return probabilities[:, 1:] if one_logit else probabilities

    verify(result.network, outputs, "sigmoid" if one_logit else "softmax")
    return result


def _steps(model):
    """(the classifier, the scaler before it or None)."""
    neural = framework("sklearn.neural_network")
    pipeline, preprocessing = framework("sklearn.pipeline"), framework("sklearn.preprocessing")
    steps = [step for _, step in model.steps] if isinstance(model, pipeline.Pipeline) else [model]
    kinds = [type(step) for step in steps]
    if kinds == [neural.MLPClassifier]:
        return steps[0], None
    if kinds == [preprocessing.StandardScaler, neural.MLPClassifier]:
        return steps[1], steps[0]
    found = ", ".join(kind.__name__ for kind in kinds)
    raise refused(type(model).__name__, found, "MLPClassifier, or StandardScaler before it")


def _folded(scaler) -> Norm | None:
    """(x - mean) / scale of a StandardScaler."""
    if scaler is None:
        return None
    if not hasattr(scaler, "n_features_in_"):
        raise refused("StandardScaler", "one without statistics", "a fitted one")
    gain, mean = np.ones(scaler.n_features_in_), np.zeros(scaler.n_features_in_)
    if scaler.scale_ is not None:
        gain = 1 / np.asarray(scaler.scale_, np.float64)
    if scaler.with_mean:
        mean = np.asarray(scaler.mean_, np.float64)
    return affine("StandardScaler", gain, -mean * gain, None)
