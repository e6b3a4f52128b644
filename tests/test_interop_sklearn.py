"""scikit-learn's classifiers as networks, and edited networks as classifiers."""

import copy
import warnings

import numpy as np
import pytest
from scipy import special

from metanet.interop.verify import logits

pytest.importorskip("sklearn")
from helpers import edited_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from metanet.interop.sklearn_models import from_sklearn

X = np.random.default_rng(0).normal(size=(60, 4)) * [1, 2, 3, 4] + [0, 1, 2, 3]


def fitted(model, n_classes=3, dtype=np.float64):
    y = np.digitize(X @ [1, -1, 1, 0.5], [2.0] if n_classes == 2 else [0.0, 4.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X.astype(dtype), np.array(["a", "b", "c"])[y])


def small(activation="relu"):
    return MLPClassifier((6, 5), activation=activation, max_iter=5, random_state=0)


def weights(model):
    classifier = model[-1] if hasattr(model, "steps") else model
    return [*classifier.coefs_, *classifier.intercepts_]


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_classifier_and_back(activation, n_classes, scaled):
    model = small(activation)
    model = fitted(make_pipeline(StandardScaler(), model) if scaled else model, n_classes)
    before = copy.deepcopy(weights(model))
    read = from_sklearn(model)
    assert read.classes == ("a", "b", "c")[:n_classes]
    assert read.network.spec.widths == (4, 6, 5, n_classes)
    rows = np.random.default_rng(1).normal(size=(40, 4))
    for network in (read.network, edited_network(read.network)):
        new = read.restore(network)
        ours = special.softmax(logits(network, rows), -1)
        np.testing.assert_allclose(ours, new.predict_proba(rows), atol=1e-5)
    for old, same, now in zip(
        before, weights(read.restore(read.network)), weights(model), strict=True
    ):
        np.testing.assert_array_equal(old, same)
        np.testing.assert_array_equal(old, now)
    if scaled:
        np.testing.assert_array_equal(new[0].mean_, model[0].mean_)


@pytest.mark.parametrize("options", [{"with_mean": False}, {"with_std": False}])
def test_half_a_scaler(options):
    read = from_sklearn(fitted(make_pipeline(StandardScaler(**options), small())))
    assert read.network.activation == "relu"


def test_the_dtype_and_the_names_of_features_come_back():
    pandas = pytest.importorskip("pandas")
    model = fitted(small(), dtype=np.float32)
    assert from_sklearn(model).restore(from_sklearn(model).network).coefs_[0].dtype == np.float32
    table = pandas.DataFrame(X, columns=list("wxyz"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = small().fit(table, [0, 1] * 30)
    assert from_sklearn(model).features == ("w", "x", "y", "z")


def several_labels():
    return small().fit(X, np.random.default_rng(0).integers(0, 2, (60, 3)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fitted(small("logistic")), "MLPClassifier: found activation logistic, expected"),
        (lambda: fitted(small("identity")), "MLPClassifier: found activation identity"),
        (small, "MLPClassifier: found a model without weights, expected a fitted one"),
        (several_labels, "MLPClassifier: found several labels per row"),
        (MLPRegressor, "MLPRegressor: found MLPRegressor, expected MLPClassifier"),
        (
            lambda: make_pipeline(MinMaxScaler(), small()),
            "Pipeline: found MinMaxScaler, MLPClassifier, expected MLPClassifier, or StandardS",
        ),
        (lambda: make_pipeline(LogisticRegression()), "Pipeline: found LogisticRegression"),
        (
            lambda: fitted(MLPClassifier((), max_iter=5, random_state=0)),
            r"coefs_\[0\]: found no hidden layer",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_other_models_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        from_sklearn(make())
