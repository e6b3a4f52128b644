"""A tabular dataset whose causes, redundancies and biases are known: a structural causal model."""

import numpy as np

from metanet.data.tabular import Raw

BIASED = ("group", "proxy_a", "proxy_b")
CAUSES = ("cause_a", "cause_b", "cause_c")
REDUNDANT = ("copy_a", "copy_b")
IRRELEVANT = ("noise_a", "noise_b")


def synthetic(seed: int = 0, rows: int = 6000) -> Raw:
    """Draws `rows` samples with 10 features, a binary label and one binary group.

    With e an independent standard normal variable at each use, and s the logistic function:

        group   ~ Bernoulli(0.4)
        proxy_a = group + 0.6 e                 proxy_b = 0.8 e - group
        cause_a = e    cause_b = e              cause_c ~ Uniform(-1.5, 1.5)
        copy_a  = cause_a + 0.3 e               copy_b  = cause_b + 0.3 e
        noise_a = e                             noise_b ~ Uniform(-1, 1)
        label   ~ Bernoulli(s(3 cause_a + 2 cause_b + 2 cause_a cause_c + 1.5 group - 2.8))

    So group and its proxies (BIASED) differ by group, CAUSES determine the label together with the
    group, each of REDUNDANT is a noisy copy of the cause with its letter, and IRRELEVANT is
    independent of everything. About three labels in ten are positive and the best possible accuracy
    is about 0.88.
    """
    # The second word keeps this stream apart from that of the split of the same seed.
    rng = np.random.default_rng([seed, 1])
    group = (rng.random(rows) < 0.4).astype(np.float64)
    e = rng.standard_normal((7, rows))
    proxy_a, proxy_b = group + 0.6 * e[0], 0.8 * e[1] - group
    cause_a, cause_b, cause_c = e[2], e[3], rng.uniform(-1.5, 1.5, rows)
    copy_a, copy_b = cause_a + 0.3 * e[4], cause_b + 0.3 * e[5]
    noise_a, noise_b = e[6], rng.uniform(-1, 1, rows)
    logit = 3 * cause_a + 2 * cause_b + 2 * cause_a * cause_c + 1.5 * group - 2.8
    label = rng.random(rows) < 1 / (1 + np.exp(-logit))
    biased, causes = (group, proxy_a, proxy_b), (cause_a, cause_b, cause_c)
    redundant, irrelevant = (copy_a, copy_b), (noise_a, noise_b)
    return Raw(
        name="synthetic",
        x=np.stack(biased + causes + redundant + irrelevant, axis=1),
        y=label.astype(np.int64),
        groups={"group": group.astype(np.int64)},
        features=BIASED + CAUSES + REDUNDANT + IRRELEVANT,
        classes=("negative", "positive"),
    )
