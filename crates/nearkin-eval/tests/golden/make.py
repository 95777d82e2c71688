"""Makes retrieval.json beside this file: retrieval metrics as PML's AccuracyCalculator computes them.

Version, checked below: pytorch-metric-learning 2.9.0 (any recent PyTorch and NumPy; the file was made with
torch 2.15.0 and numpy 2.4.6). faiss is not needed: the neighbours come from PML's own CustomKNN.

    pip install torch numpy pytorch-metric-learning==2.9.0
    python make.py

A list of {"name", "distance", "dim", "k", "query", "query_labels", "reference", "reference_labels",
"precision_at_1", "r_precision", "mean_average_precision_at_r"}. Points are row-major short decimals to be
read as f32. "reference" and "reference_labels" are null where the queries search one another, each leaving
itself out. k is what AccuracyCalculator was given (null: all neighbours); both choices are exact.
Queries whose label has no (other) reference are left out of every mean.

Two checks are asserted: a plain f64 NumPy version of the three metrics agrees within 1e-6, and no query has
two references of which one is kin and one is not within 1e-6 of the same distance, so rank order cannot flip.
"""

import json
import pathlib
from importlib.metadata import version

import numpy as np
import torch
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

wanted = "2.9.0"
assert version("pytorch-metric-learning") == wanted, f"found {version('pytorch-metric-learning')}, want {wanted}"

METRICS = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
DISTANCES = {"cosine": CosineSimilarity(), "euclidean": LpDistance(normalize_embeddings=False, p=2, power=1)}

ASKED = (("cosine", None), ("euclidean", "max_bin_count"))


def points(rng, centres, counts, spread):
    """counts[c] points around centre c, shuffled."""
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    x = centres[labels] + spread * rng.normal(size=(len(labels), centres.shape[1]))
    return np.round(x, 4).astype(np.float32), labels


def plainly(name, distance, query, query_labels, reference, reference_labels):
    """The same three metrics in f64, straight from their definitions."""
    alone = reference is None
    q = query.astype(np.float64)
    r = q if alone else reference.astype(np.float64)
    reference_labels = query_labels if alone else reference_labels
    if distance == "cosine":
        q, r = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, r))
    d = np.linalg.norm(q[:, None] - r[None], axis=2)
    means = []
    for i in range(len(q)):
        others = np.arange(len(r)) != i if alone else np.full(len(r), True)
        order = np.argsort(d[i][others])
        hit = (reference_labels[others] == query_labels[i])[order]
        near = np.diff(d[i][others][order]) < 1e-6
        assert not (near & (hit[1:] != hit[:-1])).any(), f"{name}: near tie at query {i}"
        count = hit.sum()
        if count:
            precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
            means.append((hit[0], hit[:count].mean(), (precision * hit)[:count].sum() / count))
    return np.mean(np.array(means, dtype=np.float64), axis=0)


def case(name, distance, k, query, query_labels, reference=None, reference_labels=None):
    calculator = AccuracyCalculator(include=METRICS, k=k, device=torch.device("cpu"), knn_func=CustomKNN(DISTANCES[distance]), kmeans_func=lambda *_: None)
    found = calculator.get_accuracy(query, query_labels, reference, reference_labels)
    expected = plainly(name, distance, query, query_labels, reference, reference_labels)
    assert np.allclose([found[m] for m in METRICS], expected, atol=1e-6), (name, found, expected)
    flat = lambda x: None if x is None else [float(str(v)) for v in x.ravel()]
    whole = lambda x: None if x is None else [int(v) for v in x]
    return {
        "name": name, "distance": distance, "dim": query.shape[1], "k": k,
        "query": flat(query), "query_labels": whole(query_labels),
        "reference": flat(reference), "reference_labels": whole(reference_labels),
        **{m: float(f"{found[m]:.9g}") for m in METRICS},
    }


cases = []
for seed, dim, counts, spread in (
    (1, 4, [10, 8, 6, 4, 2], 0.8),
    (2, 6, [20, 15, 9, 5, 3, 2, 1, 1], 1.0),  # two lone labels
    (3, 8, [40, 30, 20, 12, 9, 5, 2, 1, 1], 1.2),
):
    rng = np.random.default_rng(seed)
    query, labels = points(rng, rng.normal(size=(len(counts), dim)), counts, spread)
    for distance, k in ASKED:
        cases.append(case(f"self_n{sum(counts)}_{distance}", distance, k, query, labels))

# Queries apart from references: class sizes differ, and label 5 of the queries has no reference at all.
for seed, dim, query_counts, counts in ((4, 5, [6, 5, 9, 4, 3, 3], [9, 2, 14, 1, 7, 0]), (5, 8, [12, 8, 6, 2, 1, 1], [3, 16, 20, 9, 22, 0])):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(counts), dim))
    query, query_labels = points(rng, centres, query_counts, 1.0)
    reference, reference_labels = points(rng, centres, counts, 1.0)
    for distance, k in ASKED:
        cases.append(case(f"apart_n{len(query)}_{len(reference)}_{distance}", distance, k, query, query_labels, reference, reference_labels))

assert len({c["name"] for c in cases}) == len(cases)
lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
(pathlib.Path(__file__).parent / "retrieval.json").write_text("[\n" + lines + "\n]\n")
