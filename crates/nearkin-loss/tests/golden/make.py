"""Makes the golden values beside this file: losses and their gradients, as peers compute them.

Versions, checked below: pytorch-metric-learning 2.9.0, lightly 1.5.26 (any recent PyTorch and NumPy;
the files were made with torch 2.15.0 and numpy 2.4.6).

    pip install torch numpy pytorch-metric-learning==2.9.0 lightly==1.5.26
    python make.py

Writes, beside itself, lists of
    {"name", "loss", "settings", "labels", "dim", "embeddings", "value", "gradient"}
where embeddings (row-major, labels × dim) are short decimals to be read as f32, and value and gradient
(of the raw, unnormalised embeddings) are computed in f64 from those f32 and kept with 9 digits.

Every batch keeps away from ties and kinks (asserted): the hardest positive and negative of each anchor
stand alone, and no hinge is within 1e-3 of zero. The only exceptions are the cases named tie_*.
"""

import json
import pathlib
from importlib.metadata import version

import numpy as np
import torch
from lightly.loss import NTXentLoss as LightlyNTXent
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import NTXentLoss, TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import AvgNonZeroReducer, MeanReducer

for package, wanted in {"pytorch-metric-learning": "2.9.0", "lightly": "1.5.26"}.items():
    assert version(package) == wanted, f"{package}: found {version(package)}, want {wanted}"

HERE = pathlib.Path(__file__).parent
REDUCERS = {"mean": MeanReducer, "avg_non_zero": AvgNonZeroReducer}


def batch(seed, labels, dim, spread=0.55):
    """Points around one centre a label, as short decimals that f32 holds the same way everywhere."""
    rng = np.random.default_rng(seed)
    centres = {label: rng.normal(size=dim) for label in sorted(set(labels))}
    points = [centres[label] + spread * rng.normal(size=dim) for label in labels]
    return labels, np.round(np.array(points), 4).astype(np.float32)


def nine_digits(values):
    return [float(f"{v:.9g}") for v in np.ravel(values)]


def case(name, loss, settings, labels, embeddings, value_of):
    x = torch.tensor(embeddings, dtype=torch.float64, requires_grad=True)
    value = value_of(x)
    (gradient,) = torch.autograd.grad(value, x)
    assert torch.isfinite(value) and torch.isfinite(gradient).all(), name
    return {
        "name": name,
        "loss": loss,
        "settings": settings,
        "labels": list(labels),
        "dim": embeddings.shape[1],
        "embeddings": [float(str(v)) for v in embeddings.ravel()],
        "value": nine_digits(value.item())[0],
        "gradient": nine_digits(gradient.numpy()),
    }


def nt_xent(name, labels, embeddings, temperature):
    settings = {"temperature": temperature, "distance": "cosine"}
    loss = NTXentLoss(temperature=temperature)
    return case(name, "nt_xent", settings, labels, embeddings, lambda x: loss(x, torch.tensor(labels)))


def two_views(name, samples, embeddings, temperature):
    """SimCLR's layout: the first views of all samples, then their second views; labels = sample index."""
    labels = list(range(samples)) * 2
    settings = {"temperature": temperature, "distance": "cosine", "layout": "two_views"}
    loss = LightlyNTXent(temperature)
    result = case(name, "nt_xent", settings, labels, embeddings, lambda x: loss(x[:samples], x[samples:]))
    peer = nt_xent(name, labels, embeddings, temperature)
    assert np.allclose(result["value"], peer["value"], rtol=1e-7), "lightly and PML disagree on " + name
    assert np.allclose(result["gradient"], peer["gradient"], rtol=1e-6, atol=1e-8), name
    return result


def triplet(name, labels, embeddings, margin, normalize=True, reducer="avg_non_zero", soft=False):
    """Batch-hard triplets; soft=True is softplus(d_ap − d_an + margin) in place of the hinge."""
    settings = {"margin": margin, "distance": "lp2", "normalize": normalize, "reducer": reducer, "soft": soft, "miner": "batch_hard"}
    distance = LpDistance(normalize_embeddings=normalize, p=2, power=1)
    loss = TripletMarginLoss(margin=margin, smooth_loss=soft, distance=distance, reducer=REDUCERS[reducer]())
    miner = BatchHardMiner(distance=distance)
    kin = torch.tensor(labels)
    if not name.startswith("tie_"):
        keep_off_ties(name, embeddings, labels, margin, normalize, soft)
    return case(name, "triplet_margin", settings, labels, embeddings, lambda x: loss(x, kin, miner(x, kin)))


def keep_off_ties(name, embeddings, labels, margin, normalize, soft):
    x = embeddings.astype(np.float64)
    if normalize:
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    labels = np.array(labels)
    for i in range(len(x)):
        kin = labels == labels[i]
        positives = np.sort(distance[i, kin & (np.arange(len(x)) != i)])[::-1]
        negatives = np.sort(distance[i, ~kin])
        for hardest in (positives, negatives):
            assert len(hardest) < 2 or abs(hardest[0] - hardest[1]) > 1e-4, f"{name}: near tie at anchor {i}"
        if len(positives) and len(negatives) and not soft:
            assert abs(positives[0] - negatives[0] + margin) > 1e-3, f"{name}: kink at anchor {i}"


def write(file, cases):
    assert len({c["name"] for c in cases}) == len(cases)
    lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
    (HERE / file).write_text("[\n" + lines + "\n]\n")


small = batch(1, [0, 0, 1, 1, 2, 2], 3)
lone = batch(2, [3, 0, 1, 0, 1, 0, 2, 1, 0, 2, 1, 0], 4)  # unequal counts; label 3 has no positive
large = batch(3, [0] * 7 + [1] * 6 + [2] * 5 + [3] * 3 + [4] * 2 + [5], 8, spread=0.9)
one_label = batch(4, [7] * 6, 3)
strangers = batch(5, [0, 1, 2, 3, 4, 5], 3)
batches = {"small": small, "lone": lone, "large": large}

cases = [nt_xent(f"{b}_t{t}", *batches[b], t) for b in batches for t in (0.07, 0.5)]
cases.append(nt_xent("no_negatives_gives_zero", *one_label, 0.07))
cases.append(nt_xent("no_positives_gives_zero", *strangers, 0.07))
write("nt_xent.json", cases)

# Second views lie near the first, but not for all samples.
cases = []
for seed, samples, dim in ((6, 3, 3), (7, 8, 5), (8, 12, 8)):
    labels, embeddings = batch(seed, list(range(samples)) * 2, dim, spread=0.4)
    cases += [two_views(f"n{samples}_t{t}", samples, embeddings, t) for t in (0.1, 0.5)]
write("nt_xent_two_views.json", cases)

cases = [
    triplet(f"lone_m{m}_{'unit' if n else 'raw'}_{r}", *lone, m, n, r)
    for m in (0.05, 0.2, 1.0) for n in (True, False) for r in REDUCERS
]
cases += [triplet(f"{b}_m0.2_{'unit' if n else 'raw'}_avg_non_zero", *batches[b], 0.2, n) for b in ("small", "large") for n in (True, False)]
cases += [
    triplet(f"{b}_soft_m{m}_{'unit' if n else 'raw'}", *batches[b], m, n, "mean", soft=True)
    for b, m in (("small", 0.0), ("lone", 0.0), ("lone", 0.2), ("large", 0.0)) for n in (True, False)
]
inactive = [i for i, c in enumerate(cases) if c["settings"]["reducer"] == "avg_non_zero" and cases[i - 1]["value"] != c["value"]]
assert inactive, "no case tells the two reducers apart"
cases.append(triplet("no_negatives_gives_zero", *one_label, 0.2))
cases.append(triplet("no_positives_gives_zero", *strangers, 0.2))

# Samples 1 and 2 are one point, and so are 4 and 5: for anchor 0 they are equally hard positives, for anchor 3
# equally hard negatives (and the other way about). The lowest index takes the force, so sample 2 gets none.
labels, embeddings = batch(9, [0, 0, 0, 1, 1, 1], 3)
embeddings[2], embeddings[5] = embeddings[1], embeddings[4]
cases.append(triplet("tie_two_pairs_of_duplicates", labels, embeddings, 1.0, normalize=False))
# Kin in one point: the only positive is at distance 0 and exerts no force; the negatives still do.
labels, embeddings = batch(10, [0, 0, 1, 2], 3)
embeddings[1] = embeddings[0]
cases.append(triplet("tie_positive_at_distance_zero", labels, embeddings, 4.0, normalize=False))
write("triplet_margin_batch_hard.json", cases)
