"""Makes the golden values beside this file: losses, their gradients and mined tuples, as peers compute them.

    pip install torch==2.15.0 pytorch-metric-learning==2.9.0 lightly==1.5.26
    python make.py                      # about a minute on one core

README.md says what the files hold and which formulas the peers compute. PML is pytorch-metric-learning. Everything is
computed in f64 (also what PML would put in f32 by default: the beta of MarginLoss, the AP of SmoothAP) from f32 inputs, and kept with
9 digits. Asserted for every case: the gradient is smooth around the batch (no hinge, bin or arg-max switches) at least within
1e-5 of each row's size, mostly within 1e-3 (the run ends with the list of the nearer ones), and the value does not hang on rounding.
Only on `duplicates` and `ties` (exact ties by design) the gradient may be null.

Where PML is wrong or surprising, and what is done here. "Fixed" = the case of the plain name holds the published formula (PML's code with
the smallest change, the classes and functions under "fixes" below), and a second case, its name ending in _pml and marked peer_is_wrong,
holds what PML returns as it is.
 1. AngularLoss normalises anchors and positives but multiplies by UN-normalised negatives, with or without references: fixed (embeddings
    are normalised before the call). Its negatives are all samples of other labels, whatever the miner chose.
 2. SmoothAPLoss ignores the labels and takes consecutive blocks of (number of classes) rows for the classes: fixed (sorted by class, with
    faked labels). Right as it is only where there are as many members a class as classes (`square`).
 3. GeneralizedLiftedStructureLoss counts an empty log-sum-exp as 0, not −∞, so anchors without positives (or negatives) have a loss: fixed
    (0 for them). LiftedStructureLoss does the same for mined positives without a negative: fixed.
 4. LiftedStructureLoss and TripletMarginLoss(swap=True) with references compare or look up unlike indices: left out.
 5. GenericPairLoss returns 0 for exactly one positive and one negative pair: fixed (both pairs given twice).
 6. DynamicSoftMarginLoss differentiates through its histogram, and so through earlier batches (a second backward() fails): fixed (the
    histogram is detached). u = d_ap − d_an ≥ 1.6 crashes with the default bins: such batches are left out.
 7. ClassWeightedReducer multiplies a column of losses by a row of weights, giving all products, for the losses that return a column
    (multi_similarity, circle, both lifted structures, angular, tuplet_margin): fixed (flattened). PerAnchorReducer raises for the
    last three and lifted_structure.
 8. CrossBatchMemory keeps a sample's own copy as a positive when the batch is a single sample: marked, not fixed.
 9. HistogramLoss crashes for a cosine of exactly 1 (duplicates: left out). It indexes with a list of lists, which PyTorch warns about: the
    indices are made a tuple here, with the same result in torch 2.15.
10. NCALoss is NaN if no sample has a positive (strangers): left out. Samples whose p underflows to 0 are dropped from the mean.
11. TupletMarginLoss takes acos without clamping: at duplicates NaN or noise, so no gradient there.
Not marked, as they are choices:
12. ProxyNCALoss has the positive's proxy in the denominator (as ProxyNCA++), and its tuples' weights count anchors only.
13. NPairsLoss and NormalizedSoftmaxLoss use DotProductSimilarity, which normalises by default in v2.
14. ProxyAnchorLoss adds (weight − 1) inside the exponent: a sample of weight 0 is only damped by 1/e.
15. SupConLoss (and NTXentLoss) is 0 for a batch of one class; published SupCon is not.
16. AngularMiner works on raw embeddings although it demands a normalising distance, and adds 1e-6 to each coordinate's difference.
17. ZeroMeanRegularizer sums the coordinates of one sample, not a coordinate over the batch.
18. HistogramLoss takes its pairs from triplets: negative pairs of two samples without positives are left out.
19. PNPLoss, HistogramLoss and DynamicSoftMarginLoss ignore the reducer.
20. PNPLoss clamps its exponent to ±50, NTXentLoss adds the smallest positive float inside its log: beyond that the gradient is 0.
21. CircleLoss detaches both factors, RankedListLoss and IntraPairVarianceLoss detach nothing.
22. KoLeoLoss at duplicates is dominated by eps, at ties its neighbour is arbitrary: value only.
23. lp distance 0 has gradient 0, and a positive pair of duplicates is not counted by the avg_non_zero reducer.
24. HDCMiner cuts its list anywhere among equal distances, and (i, j) and (j, i) are equal: only unambiguous cuts are kept.
25. SNRDistance is infinite for a row without variance (in `ties`): left out. In `ties` some hinges are exactly at their kink, so that the
    count of avg_non_zero and divisor hangs on rounding: left out.
"""

import itertools
import sys
import warnings
from importlib.metadata import version

import numpy as np
import torch
from lightly.loss import DCLLoss, DCLWLoss, KoLeoLoss
from lightly.loss import NTXentLoss as LightlyNTXent
from pytorch_metric_learning import distances, losses, miners, reducers, regularizers
from pytorch_metric_learning.losses import histogram_loss
from recording import LEFT_OUT, NEAREST_KINKS, Inputs, LossFile, evaluate, nine_digits, short, to_tensor, write, write_batches

# lightly 1.6.0 gives the same files byte for byte.
for package, wanted in {"torch": ["2.15.0"], "pytorch-metric-learning": ["2.9.0"], "lightly": ["1.5.26", "1.6.0"]}.items():
    assert version(package).split("+")[0] in wanted, f"{package}: found {version(package)}, want {wanted}"

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
warnings.filterwarnings("ignore", message="To copy construct from a tensor")
warnings.filterwarnings("ignore", message="Values of Tp or Tn")
unpatched_pairs = histogram_loss.filter_pairs
histogram_loss.filter_pairs = lambda *tensors: tuple(unpatched_pairs(*tensors))

# ---------------------------------------------------------------------------------------------------- batches


def points(rng, labels, centres, spread):
    return np.array([centres[label] + spread * rng.normal(size=len(centres[label])) for label in labels])


def batch(seed, labels, dim, spread=0.55, ref_labels=None):
    """Points around one centre a label, as short decimals."""
    rng = np.random.default_rng(seed)
    centres = {label: rng.normal(size=dim) for label in sorted(set(labels) | set(ref_labels or []))}
    made = {"labels": labels, "x": np.round(points(rng, labels, centres, spread), 4).astype(np.float32), "singular": False}
    if ref_labels:
        made |= {"ref_labels": ref_labels, "ref_x": np.round(points(rng, ref_labels, centres, spread), 4).astype(np.float32)}
    return made


def far(seed):
    made = batch(seed, [0, 1, 2] * 3 + [0], 4, spread=0.8)
    x = made["x"] / np.linalg.norm(made["x"], axis=1, keepdims=True) * np.geomspace(0.01, 100, 10)[:, None]
    made["x"] = np.array([float(f"{v:.4g}") for v in x.ravel()]).reshape(x.shape).astype(np.float32)
    return made


def duplicates(seed):
    """Rows 0, 1 coincide (one class), and so do 2, 4 (two classes) and 5, 7 (two classes)."""
    made = batch(seed, [0, 0, 0, 1, 1, 1, 2, 2], 4)
    for copy, of in ((1, 0), (4, 2), (7, 5)):
        made["x"][copy] = made["x"][of]
    return made | {"singular": True}


def ties():
    """A small integer lattice: no duplicates, no parallel rows, but many equal distances, also after normalising."""
    x = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [-1, 1, 0], [1, 1, 1], [-1, 0, 1], [1, 2, 0]]
    return {"labels": [0, 0, 1, 1, 0, 1, 2, 2, 2, 3], "x": np.array(x, dtype=np.float32), "singular": True}


BATCHES = {
    "small": batch(101, [0, 0, 1, 1, 2, 2], 3),
    "lone": batch(102, [3, 0, 1, 0, 1, 0, 2, 1, 0, 2, 1, 0], 4),  # unequal counts; label 3 has one member
    "large": batch(103, [0] * 7 + [1] * 6 + [2] * 5 + [3] * 3 + [4] * 2 + [5], 8, spread=0.9),
    "one_class": batch(4, [7] * 6, 3),
    "strangers": batch(5, [0, 1, 2, 3, 4, 5], 3),
    "hermits": batch(111, [0, 0, 1, 2], 3),  # two samples without kin
    "duplicates": duplicates(9),
    "ties": ties(),
    "two_views": batch(107, list(range(8)) * 2, 6, spread=0.4),  # the first views of all samples, then their second views
    "far": far(112),  # norms from 0.01 to 100
    "cross": batch(113, [0, 1, 2, 0, 1, 5, 3], 5, ref_labels=[0, 0, 1, 1, 2, 4, 4, 1, 2, 6, 3]),
    "balanced": batch(14, [0] * 4 + [1] * 4 + [2] * 4, 6, spread=1.3),
    "square": batch(15, [0] * 3 + [1] * 3 + [2] * 3, 4, spread=1.0),  # as many members a class as classes
}
NUM_CLASSES = 8

EVERYWHERE = ["small", "lone", "large", "one_class", "strangers", "hermits", "duplicates", "ties", "far", "cross"]
SOME = ["small", "lone", "duplicates", "cross"]
FEW = ["small", "lone"]

# ---------------------------------------------------------------------------------------------------- builders


def distance_of(s):
    name = s["distance"]
    if name == "lp":
        return distances.LpDistance(normalize_embeddings=s["normalize"], p=s["p"], power=s["power"])
    if name == "cosine":
        return distances.CosineSimilarity()
    kind = {"dot": distances.DotProductSimilarity, "snr": distances.SNRDistance}[name]
    return kind(normalize_embeddings=s["normalize"])


LP = {"distance": "lp", "p": 2, "power": 1, "normalize": True}
LP2 = LP | {"power": 2}
RAW = LP | {"normalize": False}
RAW2 = LP2 | {"normalize": False}
COSINE = {"distance": "cosine"}
DOT = {"distance": "dot", "normalize": True}
RAW_DOT = {"distance": "dot", "normalize": False}
SNR = {"distance": "snr", "normalize": True}

REDUCERS = {
    "mean": reducers.MeanReducer,
    "avg_non_zero": reducers.AvgNonZeroReducer,
    "sum": reducers.SumReducer,
    "per_anchor": reducers.PerAnchorReducer,
    "threshold": reducers.ThresholdReducer,
    "divisor": reducers.DivisorReducer,
}
# Settings that say something else than a constructor's argument.
NOT_ARGUMENTS = {"distance", "p", "power", "normalize", "reducer", "loss", "earlier", "class_weights", "low", "high", "num_classes"}

# name → (class, default settings in words of PML's arguments, default reducer, the attribute with trained weights)
LOSSES = {
    "contrastive": (losses.ContrastiveLoss, LP | {"pos_margin": 0, "neg_margin": 1}, "avg_non_zero", None),
    "snr_contrastive": (losses.SignalToNoiseRatioContrastiveLoss, SNR | {"pos_margin": 0, "neg_margin": 1}, "avg_non_zero", None),
    "margin": (losses.MarginLoss, LP | {"margin": 0.2, "nu": 0, "beta": 1.2, "learn_beta": False}, "divisor", "beta"),
    "triplet_margin": (losses.TripletMarginLoss, LP | {"margin": 0.05, "swap": False, "smooth_loss": False}, "avg_non_zero", None),
    "lifted_structure": (losses.LiftedStructureLoss, LP | {"neg_margin": 1, "pos_margin": 0}, "mean", None),
    "generalized_lifted_structure": (losses.GeneralizedLiftedStructureLoss, LP | {"neg_margin": 1, "pos_margin": 0}, "mean", None),
    "multi_similarity": (losses.MultiSimilarityLoss, COSINE | {"alpha": 2, "beta": 50, "base": 0.5}, "mean", None),
    "circle": (losses.CircleLoss, COSINE | {"m": 0.4, "gamma": 80}, "avg_non_zero", None),
    "n_pairs": (losses.NPairsLoss, DOT, "mean", None),
    "angular": (losses.AngularLoss, LP | {"alpha": 40}, "mean", None),
    "nca": (losses.NCALoss, LP2 | {"softmax_scale": 1}, "mean", None),
    "nt_xent": (losses.NTXentLoss, COSINE | {"temperature": 0.07}, "mean", None),
    "sup_con": (losses.SupConLoss, COSINE | {"temperature": 0.1}, "avg_non_zero", None),
    "fast_ap": (losses.FastAPLoss, LP2 | {"num_bins": 10}, "mean", None),
    "smooth_ap": (losses.SmoothAPLoss, COSINE | {"temperature": 0.01}, "mean", None),
    "histogram": (losses.HistogramLoss, COSINE | {"n_bins": 100}, None, None),
    "ranked_list": (losses.RankedListLoss, LP | {"margin": 0.4, "Tn": 2, "imbalance": 0.5, "alpha": 1.2, "Tp": 0}, "mean", None),
    "tuplet_margin": (losses.TupletMarginLoss, COSINE | {"margin": 5.73, "scale": 64}, "mean", None),
    "pnp": (losses.PNPLoss, COSINE | {"b": 2, "alpha": 1, "anneal": 0.01, "variant": "O"}, None, None),
    "intra_pair_variance": (losses.IntraPairVarianceLoss, COSINE | {"pos_eps": 0.01, "neg_eps": 0.01}, "mean", None),
    "dynamic_soft_margin": (
        losses.DynamicSoftMarginLoss,
        LP | {"min_val": -2.0, "num_bins": 10, "momentum": 0.01},
        None,
        None,
    ),
    "proxy_nca": (losses.ProxyNCALoss, LP2 | {"softmax_scale": 1}, "mean", "proxies"),
    "proxy_anchor": (losses.ProxyAnchorLoss, COSINE | {"margin": 0.1, "alpha": 32}, "divisor", "proxies"),
    "soft_triple": (losses.SoftTripleLoss, COSINE | {"centers_per_class": 3, "la": 20, "gamma": 0.1, "margin": 0.01}, "mean", "fc"),
    "arc_face": (losses.ArcFaceLoss, COSINE | {"margin": 28.6, "scale": 64}, "mean", "W"),
    "sub_center_arc_face": (losses.SubCenterArcFaceLoss, COSINE | {"margin": 28.6, "scale": 64, "sub_centers": 3}, "mean", "W"),
    "cos_face": (losses.CosFaceLoss, COSINE | {"margin": 0.35, "scale": 64}, "mean", "W"),
    "sphere_face": (losses.SphereFaceLoss, COSINE | {"margin": 4, "scale": 1}, "mean", "W"),
    "large_margin_softmax": (losses.LargeMarginSoftmaxLoss, COSINE | {"margin": 4, "scale": 1}, "mean", "W"),
    "normalized_softmax": (losses.NormalizedSoftmaxLoss, DOT | {"temperature": 0.05}, "mean", "W"),
}
TAKES_REFERENCES = {
    "contrastive", "snr_contrastive", "margin", "triplet_margin", "generalized_lifted_structure", "multi_similarity", "circle", "angular",
    "nca", "nt_xent", "sup_con", "tuplet_margin", "intra_pair_variance", "dynamic_soft_margin",
}  # fmt: skip


# Fixes: PML's losses as published (see the docstring). None = as PML.


class DetachedHistogram(losses.DynamicSoftMarginLoss):
    def update_histogram(self, data):
        super().update_histogram(data.detach())


class GeneralizedLifted(losses.GeneralizedLiftedStructureLoss):
    def _compute_loss(self, mat, pos_mask, neg_mask):
        made = super()._compute_loss(mat, pos_mask, neg_mask)
        whole = pos_mask.any(dim=1, keepdim=True) & neg_mask.any(dim=1, keepdim=True)
        made["loss"]["losses"] = made["loss"]["losses"] * whole
        return made


class Lifted(losses.LiftedStructureLoss):
    def _compute_loss(self, pos_pairs, neg_pairs, indices_tuple):
        made = super()._compute_loss(pos_pairs, neg_pairs, indices_tuple)
        a1, p, a2, _ = indices_tuple
        if torch.is_tensor(made["loss"]["losses"]):
            whole = torch.isin(a1, a2) | torch.isin(p, a2)
            made["loss"]["losses"] = made["loss"]["losses"] * whole.unsqueeze(1)
        return made


class FlatClassWeighted(reducers.ClassWeightedReducer):
    def element_reduction_helper(self, losses, indices, labels):
        return super().element_reduction_helper(losses.flatten(), indices, labels)


FIXED = {
    "dynamic_soft_margin": DetachedHistogram,
    "generalized_lifted_structure": GeneralizedLifted,
    "lifted_structure": Lifted,
}
RETURNS_A_COLUMN = {"multi_similarity", "circle", "lifted_structure", "generalized_lifted_structure", "angular", "tuplet_margin"}


def build(loss_name, s, w=None, as_pml=False):
    """The loss of these settings, with its trained weights (one a row) replaced by the tensor w."""
    kind, _, default_reducer, attribute = LOSSES[loss_name]
    if not as_pml:
        kind = FIXED.get(loss_name, kind)
    arguments = {k: v for k, v in s.items() if k not in NOT_ARGUMENTS}
    if s.get("reducer", default_reducer) != default_reducer:
        own = {k: s[k] for k in ("class_weights", "low", "high") if k in s}
        if "class_weights" in own:
            weighted = reducers.ClassWeightedReducer if as_pml else FlatClassWeighted
            arguments["reducer"] = weighted(torch.tensor(own["class_weights"]))
        else:
            arguments["reducer"] = REDUCERS[s["reducer"]](**own)
    if w is not None and attribute != "beta":
        arguments |= {"num_classes": NUM_CLASSES, "embedding_size": w.shape[1]}
    elif w is not None and w.numel() > 1:
        arguments["num_classes"] = NUM_CLASSES
    loss = kind(distance=distance_of(s), **arguments)
    if default_reducer and "reducer" not in arguments:
        used = loss.reducer
        used = next(iter(used.reducers.values())) if isinstance(used, reducers.MultipleReducers) else used
        assert type(used) is REDUCERS[default_reducer], (loss_name, type(used))
    if w is not None:
        old = getattr(loss, attribute)
        value = w.flatten() if attribute == "beta" else w.t() if attribute in ("W", "fc") else w
        assert old.shape == value.shape, (loss_name, old.shape, value.shape)
        delattr(loss, attribute)  # a Parameter cannot be set to a tensor that has a history
        setattr(loss, attribute, value)
    return loss


def caller(loss_name, s, made, tuples=None, labels=None, as_pml=False):
    """value_of(x, ref_x, w) for one batch."""
    labels = torch.tensor(made["labels"] if labels is None else labels)
    ref_labels = torch.tensor(made["ref_labels"]) if "ref_labels" in made else None
    chosen = None if tuples is None else as_tensors(tuples)
    if tuples is not None and not as_pml and one_pair_each(loss_name, tuples):
        chosen = tuple(torch.cat([c, c]) for c in chosen)

    def value_of(x, ref_x, w):
        loss = build(loss_name, s, w, as_pml)
        if s.get("earlier"):
            other = BATCHES[s["earlier"]]
            loss(to_tensor(other["x"]), torch.tensor(other["labels"]))
        if loss_name == "angular" and not as_pml:
            x = torch.nn.functional.normalize(x)
            ref_x = None if ref_x is None else torch.nn.functional.normalize(ref_x)
        return loss(x, labels, chosen, ref_x, ref_labels)

    return value_of


def as_tensors(tuples):
    keys = ("a1", "p", "a2", "n") if tuples["kind"] == "pairs" else ("a", "p", "n")
    return tuple(torch.tensor(tuples[k], dtype=torch.long) for k in keys)


def as_lists(mined):
    """Lexicographically sorted; the two kinds of pairs apart."""

    def sort(*columns):
        rows = sorted(zip(*[c.tolist() for c in columns]))
        return [list(c) for c in zip(*rows)] if rows else [[] for _ in columns]

    if len(mined) == 3:
        a, p, n = sort(*mined)
        return {"kind": "triplets", "a": a, "p": p, "n": n}
    (a1, p), (a2, n) = sort(*mined[:2]), sort(*mined[2:])
    return {"kind": "pairs", "a1": a1, "p": p, "a2": a2, "n": n}


FILES = {}


def file_of(name):
    if name not in FILES:
        FILES[name] = LossFile(name)
        print(name, file=sys.stderr)
    return FILES[name]


def proxies(file, made, rows_a_class=1):
    """Names (and makes, once) the file's weights for the batch's dimension."""
    dim = made["x"].shape[1]
    name = f"{NUM_CLASSES * rows_a_class}x{dim}"
    if name not in file.weights:
        rng = np.random.default_rng(100 * dim + rows_a_class)
        file.weights[name] = np.round(rng.normal(size=(NUM_CLASSES * rows_a_class, dim)), 3).astype(np.float32)
    return name


def without_kin_or_strangers(made):
    labels, others = made["labels"], made.get("ref_labels", made["labels"])
    own = 0 if "ref_labels" in made else 1
    return any(others.count(y) == own or others.count(y) == len(others) for y in labels)


def one_pair_each(loss_name, tuples):
    lengths = [len(v) for k, v in tuples.items() if k != "kind"]
    return loss_name in ("contrastive", "nt_xent") and set(lengths) == {1}


def bug(loss_name, s, made, tuples):
    """Why PML's value or gradient breaks the published formula, if it does."""
    if loss_name in RETURNS_A_COLUMN and s.get("reducer") == "class_weighted":
        return "a column of losses times a row of weights: the mean of all products"
    if loss_name == "angular":
        return "negatives are not normalised, anchors and positives are"
    if loss_name == "dynamic_soft_margin":
        return "the gradient flows through the histogram of weights"
    if loss_name == "generalized_lifted_structure" and tuples is None and without_kin_or_strangers(made):
        return "an anchor without positives (or negatives) counts the empty log-sum-exp as 0 instead of −∞"
    if loss_name == "lifted_structure" and tuples is not None:
        a1, a2 = (tuples.get(k, tuples.get("a")) for k in ("a1", "a2"))
        if any(a not in a2 and p not in a2 for a, p in zip(a1, tuples["p"])):
            return "a positive pair without negatives counts the empty log-sum-exp as 0 instead of −∞"
    if tuples is not None and one_pair_each(loss_name, tuples):
        return "exactly one pair of each kind gives 0"
    return None


def add(loss_name, tag, batch_name, changes=None, tuples=None, weights=None, to=None, gradient=True, miner_tag=""):
    """One case: the loss's defaults with `changes`, on one batch. Where PML is wrong, a second one as PML has it."""
    _, defaults, reducer, attribute = LOSSES[loss_name]
    changes = changes or {}
    if "distance" in changes:  # one distance replaces another
        defaults = {k: v for k, v in defaults.items() if k not in LP}
    s = defaults | ({"reducer": reducer} if reducer else {}) | changes
    made = BATCHES[batch_name]
    file = file_of(to or loss_name)
    if attribute and attribute != "beta":
        weights = proxies(file, made, s.get("centers_per_class", s.get("sub_centers", 1)))
        s["num_classes"] = NUM_CLASSES
    shown = ({"loss": loss_name} if to else {}) | s
    name = "_".join(part for part in (loss_name if to else "", batch_name, tag, miner_tag) if part)
    wrong = bug(loss_name, s, made, tuples)
    for as_pml in (False, True) if wrong else (False,):
        if as_pml and loss_name == "dynamic_soft_margin" and name not in ("small", "lone"):
            continue  # the value is the same: two will do
        reorder = None
        if made["singular"] and tuples is None and loss_name != "n_pairs":  # n_pairs takes the first pairs by definition

            def reorder(order):
                return caller(loss_name, s, made, labels=[made["labels"][i] for i in order], as_pml=as_pml)

        value_of = caller(loss_name, s, made, tuples, as_pml=as_pml)
        case_name, reason = (name + "_pml", wrong) if as_pml else (name, None)
        file.add(case_name, batch_name, made, shown, value_of, tuples, weights, reason, gradient, reorder)


def add_all(loss_name, tag, where, changes=None, **more):
    for batch_name in where:
        if batch_name != "cross" or loss_name in TAKES_REFERENCES:
            add(loss_name, tag, batch_name, changes, **more)


# ---------------------------------------------------------------------------------------------------- losses


def pairs_and_triplets():
    for name in ("contrastive", "snr_contrastive", "margin", "triplet_margin", "lifted_structure", "generalized_lifted_structure"):
        add_all(name, "", EVERYWHERE)
    add_all("contrastive", "margins", SOME + ["large"], {"pos_margin": 0.2, "neg_margin": 0.5})
    add_all("contrastive", "cosine", ["small", "lone", "large", "far", "cross"], COSINE | {"pos_margin": 1, "neg_margin": 0.3})
    add_all("contrastive", "squared", SOME, LP2)
    add_all("contrastive", "raw", SOME + ["ties", "far"], RAW | {"neg_margin": 2.1})
    add_all("contrastive", "raw_squared", FEW, RAW2 | {"neg_margin": 4.1})
    one_each = {"kind": "pairs", "a1": [0], "p": [1], "a2": [2], "n": [4]}
    add("contrastive", "one_pair_each", "small", tuples=one_each)

    add_all("snr_contrastive", "margins", SOME + ["large"], {"pos_margin": 0.1, "neg_margin": 0.6})
    add_all("snr_contrastive", "raw", FEW + ["far"], SNR | {"normalize": False})

    add_all("margin", "wide", SOME + ["large"], {"margin": 0.5, "beta": 0.8})
    add_all("margin", "raw", FEW + ["far"], RAW | {"beta": 1.7})
    betas = file_of("margin").weights
    betas["one"] = np.array([[1.1]], dtype=np.float32)
    betas["per_class"] = np.array([[1.2, 1.0, 0.9, 1.3, 1.1, 0.8, 1.4, 1.25]], dtype=np.float32).T
    learn = {"learn_beta": True}
    for batch_name in ("small", "lone", "large", "cross"):
        add("margin", "one_beta", batch_name, learn | {"nu": 0.1}, weights="one")
        add("margin", "class_betas", batch_name, learn | {"nu": 0.1}, weights="per_class")
    add("margin", "class_betas_free", "lone", learn, weights="per_class")
    add("margin", "one_beta", "strangers", learn | {"nu": 0.1}, weights="one")

    add_all("triplet_margin", "m0.2", SOME + ["large", "ties"], {"margin": 0.2})
    add_all("triplet_margin", "m1", SOME + ["ties"], {"margin": 1.0})
    add_all("triplet_margin", "smooth", SOME + ["ties"], {"margin": 0.2, "smooth_loss": True})
    swap = [b for b in SOME if b != "cross"] + ["large", "ties"]
    add_all("triplet_margin", "swap", swap, {"margin": 0.2, "swap": True})
    add_all("triplet_margin", "smooth_swap", FEW, {"margin": 0.0, "swap": True, "smooth_loss": True})
    add_all("triplet_margin", "raw", SOME + ["ties", "far"], RAW | {"margin": 1.0})
    add_all("triplet_margin", "squared", SOME, LP2 | {"margin": 0.2})
    add_all("triplet_margin", "raw_squared", SOME, RAW2 | {"margin": 1.0})
    add_all("triplet_margin", "cosine", SOME + ["ties"], COSINE | {"margin": 0.2})
    add_all("triplet_margin", "cosine_swap", FEW, COSINE | {"margin": 0.2, "swap": True})

    half_alone = {"kind": "pairs", "a1": [0, 2], "p": [1, 3], "a2": [0, 1], "n": [4, 2]}
    add("lifted_structure", "pair_without_negatives", "small", tuples=half_alone)
    for name in ("lifted_structure", "generalized_lifted_structure"):
        add_all(name, "margins", SOME + ["large"], {"neg_margin": 0.5, "pos_margin": 0.1})
        add_all(name, "raw", FEW, RAW)
        add_all(name, "cosine", FEW, COSINE | {"neg_margin": 0.3, "pos_margin": 0.9})
        add_all(name, "", ["balanced"])

    for name in ("multi_similarity", "circle", "n_pairs", "nca", "nt_xent", "sup_con", "intra_pair_variance"):
        add_all(name, "", EVERYWHERE)
    add_all("tuplet_margin", "", [b for b in EVERYWHERE if b != "duplicates"])
    add("tuplet_margin", "", "duplicates", gradient=False)
    add_all("multi_similarity", "soft", SOME + ["large"], {"alpha": 1, "beta": 10, "base": 0.7})
    add_all("multi_similarity", "lp", FEW, LP | {"base": 1.0, "beta": 20})
    add_all("circle", "soft", SOME + ["large"], {"m": 0.25, "gamma": 16})
    add_all("circle", "sharp", FEW, {"m": 0.25, "gamma": 256})
    add_all("n_pairs", "raw", FEW + ["large", "duplicates"], RAW_DOT)
    add_all("n_pairs", "lp", FEW, LP)
    add_all("n_pairs", "", ["two_views", "balanced"])
    add_all("angular", "", EVERYWHERE)
    add_all("angular", "25", SOME + ["large"], {"alpha": 25})
    add_all("nca", "sharp", SOME + ["large"], {"softmax_scale": 5})
    add_all("nca", "raw", ["small", "lone", "cross"], RAW2)
    add_all("nt_xent", "t0.5", SOME + ["large"], {"temperature": 0.5})
    add_all("nt_xent", "lp", FEW, LP | {"temperature": 0.5})
    add_all("nt_xent", "raw_dot", FEW, RAW_DOT | {"temperature": 1.0})
    for t in (0.07, 0.1, 0.5):
        add("nt_xent", f"t{t}" if t != 0.07 else "", "two_views", {"temperature": t})
    add_all("sup_con", "", ["two_views"])
    add_all("sup_con", "t0.5", SOME + ["large", "two_views"], {"temperature": 0.5})
    add_all("sup_con", "lp", FEW, LP)
    add_all("tuplet_margin", "soft", ["small", "lone", "large", "cross"], {"margin": 3.0, "scale": 16})
    add_all("intra_pair_variance", "wide", ["small", "lone", "large", "cross"], {"pos_eps": 0.1, "neg_eps": 0.05})
    add_all("intra_pair_variance", "lp", FEW, LP)
    add_all("ranked_list", "", EVERYWHERE)
    add_all("ranked_list", "weighted", SOME + ["large"], {"Tp": 1.5, "Tn": 3, "imbalance": 0.3, "alpha": 1.4})
    add_all("ranked_list", "raw", FEW + ["far"], RAW | {"alpha": 2.0, "margin": 1.0})
    add_all("dynamic_soft_margin", "", EVERYWHERE)
    add_all("dynamic_soft_margin", "fine", ["small", "lone", "cross"], {"num_bins": 20, "momentum": 0.1})
    add_all("dynamic_soft_margin", "second", ["small", "large"], {"momentum": 0.1, "earlier": "lone"})


def ranking():
    for name in ("fast_ap", "histogram", "pnp"):
        add_all(name, "", EVERYWHERE)
    add_all("fast_ap", "5_bins", SOME + ["large"], {"num_bins": 5})
    add_all("fast_ap", "power1", FEW, LP)
    add_all("fast_ap", "", ["two_views", "balanced"])
    add_all("histogram", "10_bins", ["small", "lone", "large"], {"n_bins": 10})
    add_all("histogram", "25_bins", ["small", "lone", "large"], {"n_bins": 25})
    for variant in ("Ds", "Dq", "Iu", "Ib", "O"):
        add_all("pnp", variant + "_soft", FEW, {"variant": variant, "anneal": 0.1})
        if variant != "O":
            add_all("pnp", variant, ["small", "lone", "one_class", "strangers", "duplicates"], {"variant": variant})
    add_all("pnp", "Dq_alpha", FEW, {"variant": "Dq", "anneal": 0.1, "alpha": 2})
    add_all("pnp", "Ib_b", FEW, {"variant": "Ib", "anneal": 0.1, "b": 0.5})
    add_all("pnp", "Iu_soft", ["large"], {"variant": "Iu", "anneal": 0.1})
    for t in (0.01, 0.1):
        smooth_ap(t)


def smooth_ap(temperature):
    file = file_of("smooth_ap")
    s = LOSSES["smooth_ap"][1] | {"reducer": "mean", "temperature": temperature}
    for batch_name in ("small", "balanced", "square", "two_views", "one_class", "strangers"):
        made = BATCHES[batch_name]
        labels = np.array(made["labels"])
        classes = len(set(made["labels"]))
        order = np.argsort(labels, kind="stable")
        # Makes PML see as many "members" as there are classes: then its blocks are the classes.
        faked = torch.arange(len(labels)) // classes

        def sorted_call(x, ref_x, w):
            return build("smooth_ap", s)(x[torch.tensor(order)], faked)

        tag = f"{batch_name}_t{temperature}"
        file.add(tag, batch_name, made, s, sorted_call)
        is_right = classes * classes == len(labels)
        as_pml = caller("smooth_ap", s, made, as_pml=True)
        if is_right:
            assert np.isclose(as_pml(to_tensor(made["x"]), None, None), file.cases[-1]["value"], rtol=1e-8)
        elif 1 < classes < len(labels):
            file.add(tag + "_pml", batch_name, made, s, as_pml, wrong="classes are taken to be blocks of (number of classes) rows")


def classification():
    own = {
        "proxy_nca": [("sharp", {"softmax_scale": 8}), ("raw", RAW2)],
        "proxy_anchor": [("soft", {"margin": 0.3, "alpha": 8})],
        "soft_triple": [("k2", {"centers_per_class": 2, "la": 8, "gamma": 0.5, "margin": 0.1}), ("k10", {"centers_per_class": 10})],
        "arc_face": [("soft", {"margin": 10.0, "scale": 8}), ("wide", {"margin": 100.0, "scale": 8})],
        "sub_center_arc_face": [("k2", {"sub_centers": 2, "margin": 10.0, "scale": 8})],
        "cos_face": [("soft", {"margin": 0.1, "scale": 8})],
        "sphere_face": [("m2", {"margin": 2, "scale": 2}), ("m3", {"margin": 3})],
        "large_margin_softmax": [("m2", {"margin": 2, "scale": 0.5}), ("m3", {"margin": 3})],
        "normalized_softmax": [("t0.5", {"temperature": 0.5}), ("raw", RAW_DOT | {"temperature": 0.5})],
    }
    for name, variants in own.items():
        add_all(name, "", ["small", "lone", "large", "one_class", "strangers", "duplicates", "far"])
        for tag, changes in variants:
            add_all(name, tag, FEW + ([] if tag == "k10" else ["duplicates"]), changes)


def lightly_and_regularisers():
    views = BATCHES["two_views"]
    half = len(views["labels"]) // 2

    def two_views(loss):
        return lambda x, ref_x, w: loss(x[:half], x[half:])

    for case in file_of("nt_xent").cases:
        if case["batch"] == "two_views":
            value, gradient, _ = evaluate(two_views(LightlyNTXent(case["settings"]["temperature"])), Inputs(views["x"], None, None))
            assert np.isclose(value, case["value"], rtol=1e-7), case["name"]
            assert np.allclose(gradient, case["gradient"], rtol=1e-6, atol=1e-8), case["name"]
    for t in (0.1, 0.5):
        file_of("dcl").add(f"two_views_t{t}", "two_views", views, COSINE | {"temperature": t}, two_views(DCLLoss(t)))
        for sigma in (0.5, 0.2):
            s = COSINE | {"temperature": t, "sigma": sigma}
            file_of("dclw").add(f"two_views_t{t}_s{sigma}", "two_views", views, s, two_views(DCLWLoss(t, sigma)))
    for batch_name in ("small", "lone", "large", "one_class", "duplicates", "ties", "far"):
        made = BATCHES[batch_name]
        koleo = KoLeoLoss()
        file_of("koleo").add(
            batch_name, batch_name, made, {"p": 2, "eps": 1e-8}, lambda x, ref_x, w: koleo(x), gradient=not made["singular"]
        )
        for p, power in ((2, 1), (2, 2), (1, 1), (3, 2)):
            regulariser = regularizers.LpRegularizer(p=p, power=power)
            file_of("lp_regularizer").add(
                f"{batch_name}_p{p}_power{power}", batch_name, made, {"p": p, "power": power}, lambda x, ref_x, w: regulariser(x)
            )
        zero_mean = regularizers.ZeroMeanRegularizer()
        file_of("zero_mean_regularizer").add(batch_name, batch_name, made, {}, lambda x, ref_x, w: zero_mean(x))


# ---------------------------------------------------------------------------------------------------- mined tuples


def miner_of(name, s):
    """The miner of these settings and, beside its tuples, nothing random."""
    kinds = {
        "batch_hard": miners.BatchHardMiner,
        "batch_easy_hard": miners.BatchEasyHardMiner,
        "triplet_margin": miners.TripletMarginMiner,
        "pair_margin": miners.PairMarginMiner,
        "multi_similarity": miners.MultiSimilarityMiner,
        "angular": miners.AngularMiner,
        "hdc": miners.HDCMiner,
    }
    arguments = {k: v for k, v in s.items() if k not in LP}
    return kinds[name](distance=distance_of(s), **arguments)


def mine(name, s, made):
    def run(inputs):
        x, ref_x = (None if a is None else to_tensor(a) for a in inputs.arrays)
        ref_labels = torch.tensor(made["ref_labels"]) if "ref_labels" in made else None
        return as_lists(miner_of(name, s)(x, torch.tensor(made["labels"]), ref_x, ref_labels))

    inputs = Inputs(made["x"], made.get("ref_x"))
    mined = run(inputs)
    if not made["singular"]:
        for seed in range(4):
            assert run(inputs.shifted(np.random.default_rng(seed), 1e-5)) == mined, (name, s, "a near tie")
    return mined


def cut_is_ambiguous(s, made):
    """Whether HDC's cut falls between equal distances."""
    x = to_tensor(made["x"])
    mat = distance_of(s)(x, to_tensor(made["ref_x"]) if "ref_x" in made else x)
    labels = torch.tensor(made["labels"])
    same = labels[:, None] == torch.tensor(made.get("ref_labels", made["labels"]))
    kin = same if "ref_x" in made else same & ~torch.eye(len(x), dtype=torch.bool)
    for mask, farthest in ((kin, True), (~same, False)):
        listed, _ = mat[mask].sort(descending=farthest != distance_of(s).is_inverted)
        k = int(np.ceil(s["filter_percentage"] * len(listed)))
        if 0 < k < len(listed) and abs(listed[k] - listed[k - 1]) < 1e-5:
            return True
    return False


SEMIHARD = LP | {"margin": 0.4, "type_of_triplets": "semihard"}


def mined_losses():
    from_miners = {
        "batch_hard": ("batch_hard", LP),
        "semihard": ("triplet_margin", SEMIHARD),
        "pair_margin": ("pair_margin", LP | {"pos_margin": 0.5, "neg_margin": 1.2}),
        "multi_similarity": ("multi_similarity", COSINE | {"epsilon": 0.1}),
    }
    chosen = {
        "contrastive": ["batch_hard", "pair_margin", "multi_similarity"],
        "triplet_margin": ["batch_hard", "semihard", "pair_margin"],
        "multi_similarity": ["batch_hard", "multi_similarity", "semihard"],
        "nt_xent": ["batch_hard", "pair_margin", "semihard"],
        "sup_con": ["batch_hard", "multi_similarity", "pair_margin"],
        "margin": ["semihard", "pair_margin", "batch_hard"],
        "lifted_structure": ["batch_hard", "pair_margin", "semihard"],
        "generalized_lifted_structure": ["semihard"],
        "circle": ["batch_hard", "multi_similarity", "semihard"],
        "angular": ["batch_hard", "pair_margin"],
        "nca": ["batch_hard", "semihard", "pair_margin"],
        "n_pairs": ["batch_hard", "pair_margin"],
        "tuplet_margin": ["semihard", "pair_margin"],
        "intra_pair_variance": ["semihard", "multi_similarity"],
        "histogram": ["semihard"],
        "dynamic_soft_margin": ["batch_hard"],
        "fast_ap": ["semihard", "pair_margin"],
        "proxy_nca": ["batch_hard", "semihard", "pair_margin"],
        "proxy_anchor": ["semihard"],
        "soft_triple": ["semihard"],
        "arc_face": ["batch_hard", "semihard", "pair_margin"],
        "normalized_softmax": ["pair_margin"],
    }
    for loss_name, names in chosen.items():
        for miner_name in names:
            for batch_name in ("lone", "cross") if loss_name in TAKES_REFERENCES else ("lone",):
                tuples = mine(*from_miners[miner_name], BATCHES[batch_name])
                changes = {"margin": 0.2} if loss_name == "triplet_margin" else None
                add(loss_name, "", batch_name, changes, tuples, miner_tag="mined_by_" + miner_name)
    # batch-hard, the way many train; the smooth version too, and on batches with exact ties (the lowest index is chosen)
    for batch_name in ("small", "large", "one_class", "strangers", "duplicates", "ties"):
        tuples = mine("batch_hard", LP, BATCHES[batch_name])
        for tag, changes in (("m0.2", {"margin": 0.2}), ("smooth", {"margin": 0.0, "smooth_loss": True, "reducer": "mean"})):
            add("triplet_margin", tag, batch_name, changes, tuples, miner_tag="mined_by_batch_hard")


def mined_tuples():
    hard, semihard, easy, every = "hard", "semihard", "easy", "all"
    wanted = [("batch_hard", LP), ("batch_hard", COSINE), ("batch_hard", RAW)]
    for pos, neg in itertools.product((hard, semihard, easy, every), repeat=2):
        if (pos, neg) not in ((semihard, semihard), (semihard, every), (every, semihard)):
            wanted.append(("batch_easy_hard", LP | {"pos_strategy": pos, "neg_strategy": neg}))
    for pos, neg in ((easy, semihard), (semihard, easy), (hard, easy)):
        wanted.append(("batch_easy_hard", COSINE | {"pos_strategy": pos, "neg_strategy": neg}))
    ranges = {"allowed_pos_range": [0.2, 1.0], "allowed_neg_range": [0.4, 1.5]}
    wanted.append(("batch_easy_hard", LP | {"pos_strategy": hard, "neg_strategy": semihard} | ranges))
    wanted.append(("batch_easy_hard", LP | {"pos_strategy": easy, "neg_strategy": hard} | ranges))
    for kind, margin in itertools.product((every, hard, semihard, easy), (0.2, 1.0)):
        wanted.append(("triplet_margin", LP | {"margin": margin, "type_of_triplets": kind}))
    for kind in (every, semihard):
        wanted.append(("triplet_margin", COSINE | {"margin": 0.2, "type_of_triplets": kind}))
    wanted += [
        ("pair_margin", LP | {"pos_margin": 0.2, "neg_margin": 0.8}),
        ("pair_margin", LP | {"pos_margin": 0.5, "neg_margin": 1.2}),
        ("pair_margin", COSINE | {"pos_margin": 0.8, "neg_margin": 0.2}),
        ("multi_similarity", COSINE | {"epsilon": 0.1}),
        ("multi_similarity", COSINE | {"epsilon": 0.0}),
        ("multi_similarity", LP | {"epsilon": 0.1}),
        ("angular", LP | {"angle": 20}),
        ("angular", LP | {"angle": 40}),
        ("hdc", LP | {"filter_percentage": 0.5}),
        ("hdc", LP | {"filter_percentage": 0.17}),
        ("hdc", LP | {"filter_percentage": 0.33}),
        ("hdc", LP | {"filter_percentage": 0.4}),
        ("hdc", LP | {"filter_percentage": 1.0}),
        ("hdc", COSINE | {"filter_percentage": 0.5}),
        ("hdc", COSINE | {"filter_percentage": 0.4}),
    ]
    cases = []
    for batch_name in ("small", "lone", "large", "one_class", "strangers", "hermits", "cross", "far"):
        for name, s in wanted:
            # Long lists of all pairs or triplets add nothing on the large batch.
            if batch_name == "large" and (every in s.values() and name == "batch_easy_hard" or s.get("margin") == 1.0):
                continue
            if batch_name == "far" and name != "angular" and s != RAW:
                continue
            if name == "hdc" and cut_is_ambiguous(s, BATCHES[batch_name]):
                LEFT_OUT.append(("miners", f"hdc {batch_name} {s['filter_percentage']}", "the cut falls between equal distances"))
                continue
            parts = [s["distance"] if s.get("normalize", True) else "raw"] + [str(v) for k, v in s.items() if k not in LP]
            label = "_".join([name, batch_name] + parts).replace("[", "").replace("]", "").replace(", ", "-")
            cases.append({"name": label, "miner": name, "batch": batch_name, "settings": s} | mine(name, s, BATCHES[batch_name]))
    names = [c["name"] for c in cases]
    assert len(set(names)) == len(names)
    write("miners", {}, cases)
    return len(cases)


# ---------------------------------------------------------------------------------------------------- reducers, memory


def reduced():
    class_weights = [1.0, 0.5, 2.0, 0.25, 3.0, 1.5, 0.75, 1.25]
    everything = [
        ("mean", {}),
        ("avg_non_zero", {}),
        ("sum", {}),
        ("per_anchor", {}),
        ("class_weighted", {"class_weights": class_weights}),
        ("threshold", {"low": 0.1}),
        ("threshold", {"high": 0.6}),
        ("threshold", {"low": 0.1, "high": 0.6}),
    ]
    scale = {"nt_xent": 4, "multi_similarity": 1, "arc_face": 20, "contrastive": 1, "triplet_margin": 1}
    for loss_name, factor in scale.items():
        for reducer, own in everything:
            if reducer == "per_anchor" and loss_name == "triplet_margin":
                continue  # not supported
            own = {k: v if k == "class_weights" else v * factor for k, v in own.items()}
            margin = {"margin": 0.8} if loss_name == "triplet_margin" else {}
            tag = "_".join([reducer] + [k for k in own if k != "class_weights"])
            for batch_name in ("lone", "hermits"):
                add(loss_name, tag, batch_name, {"reducer": reducer} | own | margin, to="reducers")
    for loss_name in ("generalized_lifted_structure", "circle", "angular", "lifted_structure", "tuplet_margin", "sup_con", "margin"):
        reducer = "sum" if loss_name == "margin" else "class_weighted"
        own = {} if loss_name == "margin" else {"class_weights": class_weights}
        add(loss_name, reducer, "lone", {"reducer": reducer} | own, to="reducers")
    tuples = mine("pair_margin", LP | {"pos_margin": 0.5, "neg_margin": 1.2}, BATCHES["lone"])
    for reducer, own in (("per_anchor", {}), ("class_weighted", {"class_weights": class_weights})):
        add("contrastive", reducer, "lone", {"reducer": reducer} | own, tuples, to="reducers", miner_tag="mined_by_pair_margin")


def cross_batch_memory():
    cases = []
    sequences = {
        "wraps": (10, [[0, 1, 0, 2], [1, 1, 2, 0], [2, 0, 0, 1], [1, 2, 2, 0], [0, 1, 1, 2]]),
        "fills": (8, [[0, 0, 1, 2], [1, 2, 0, 1], [0, 1, 2, 2], [1, 0, 0, 1]]),
        "uneven": (9, [[0, 1, 0, 2, 3], [1, 0], [2, 0, 1, 1], [0, 0, 0], [2, 1, 0, 3, 1]]),
        "one_batch": (4, [[0, 0, 1, 1], [1, 0, 1, 0], [2, 2, 2, 2]]),
        "single_sample": (8, [[0, 1, 0], [0], [1, 0, 2]]),
    }
    variants = {"contrastive": {}, "nt_xent": {"temperature": 0.5}}
    for (tag, (memory_size, steps_labels)), loss_name in itertools.product(sequences.items(), variants):
        _, defaults, reducer, _ = LOSSES[loss_name]
        s = defaults | variants[loss_name] | {"reducer": reducer}
        dim, rng = 3, np.random.default_rng(21)
        centres = {label: rng.normal(size=dim) for label in range(4)}
        memory = losses.CrossBatchMemory(build(loss_name, s), embedding_size=dim, memory_size=memory_size)
        steps = []
        for labels in steps_labels:
            x = np.round(points(rng, labels, centres, 0.8), 4).astype(np.float32)
            tensor = to_tensor(x, grad=True)
            value = memory(tensor, torch.tensor(labels))
            (gradient,) = torch.autograd.grad(value, tensor)
            assert torch.isfinite(gradient).all()
            steps.append({"embeddings": short(x), "labels": labels, "value": nine_digits(value.item())[0], "gradient": nine_digits(gradient)})
        case = {"name": f"{loss_name}_{tag}", "memory_size": memory_size, "dim": dim, "loss": loss_name, "settings": s, "steps": steps}
        if tag == "single_sample" and loss_name == "nt_xent":
            case["peer_is_wrong"] = "in the second step the sample's own copy in the memory stays as a positive"
        cases.append(case)
    write("cross_batch_memory", {}, cases)
    return len(cases)


# ----------------------------------------------------------------------------------------------------

if __name__ == "__main__":
    write_batches(BATCHES)
    pairs_and_triplets()
    ranking()
    classification()
    lightly_and_regularisers()
    mined_losses()
    reduced()
    counts = {name: len(file.cases) for name, file in FILES.items()}
    for file in FILES.values():
        file.write()
    counts["miners"] = mined_tuples()
    counts["cross_batch_memory"] = cross_batch_memory()
    print(counts)
    for left_out in LEFT_OUT:
        print("left out:", *left_out)
    for radius, names in sorted(NEAREST_KINKS.items(), key=lambda item: str(item[0])):
        print(f"smooth within {radius}: {len(names)} cases" + ("" if radius == 1e-3 else ": " + " ".join(names)))
