"""Fit times of the classical methods: ours beside scikit-learn's and metric-learn's, in turns, and ours at size.

    python3.11 -m venv venv && venv/bin/pip install -r bench/classic-requirements.txt
    venv/bin/python bench/classic_speed.py              # builds ours, runs all, writes docs/results/classic-speed.md
    venv/bin/python bench/classic_speed.py nca itml     # some methods, only printed
    venv/bin/python bench/classic_speed.py at-size      # ours at size, only printed

Two threads on both sides. Data: scikit-learn's digits; letter.csv of shared/data/uci beside the repository, or of --uci; the MNIST
files of shared/data/mnist, or of --mnist.
"""

import argparse
import gzip
import json
import math
import os
import pathlib
import re
import statistics
import sys
import time
import warnings

THREADS, RUNS = 2, 5
os.environ.update(OMP_NUM_THREADS=str(THREADS), OPENBLAS_NUM_THREADS=str(THREADS))

import metric_learn
import numpy as np
from classic import ROOT, Ours, accuracy, grid, packages, processor, read, scaled, split
from metric_learn.constraints import Constraints
from sklearn.datasets import load_digits
from sklearn.manifold import Isomap, LocallyLinearEmbedding
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.preprocessing import StandardScaler

warnings.filterwarnings("ignore")

# LMNN's passes on letter, as `classic.py` chooses them by validation.
LETTER_PASSES = 5


# What a map is worth, for both sides alike ------------------------------------------------------------------------------------


def chances(z):
    """How likely each sample picks each other for neighbour."""
    scores = -pairwise_distances(z, metric="sqeuclidean")
    np.fill_diagonal(scores, -np.inf)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def nca_errors(z, y):
    return float(len(y) - (chances(z) * (y[:, None] == y)).sum())


def mlkr_errors(z, y):
    return float(((y - chances(z) @ y) ** 2).sum())


def lmnn_objective(x, y, targets=3):
    """Of a map of the samples x: half the pulls and half the pushes, with the targets that are nearest in x."""
    near = np.empty((len(y), targets), dtype=int)
    for label in np.unique(y):
        (own,) = np.nonzero(y == label)
        apart = pairwise_distances(x[own], metric="sqeuclidean")
        np.fill_diagonal(apart, np.inf)
        near[own] = own[np.argsort(apart, kind="stable")[:, :targets]]

    def objective(z, y):
        squares = pairwise_distances(np.asarray(z, dtype=float), metric="sqeuclidean")
        pulls = np.take_along_axis(squares, near, axis=1)
        squares[y[:, None] == y] = np.inf
        return float(0.5 * pulls.sum() + 0.5 * sum(np.maximum(0, 1 + pull[:, None] - squares).sum() for pull in pulls.T))

    return objective


# Cases ------------------------------------------------------------------------------------------------------------------------


class Case:
    """One fit of ours beside one of a peer's. `measure(z, y)` is what both are worth, the smaller the better where they descend."""

    def __init__(self, what, data, ours, peer, fit, measure, rule, goal, descends=False):
        self.what, self.data, self.ours, self.peer, self.fit = what, data, ours, peer, fit
        self.measure, self.rule, self.goal, self.descends = measure, rule, goal, descends


def cases(tables, asked):
    """The cases of `shared/peers/classic.py`, with the stopping rules of both sides made the same."""
    plain = lambda method, x, y, told: method.fit(x, y)
    for data, (x, y, *_) in tables.items():
        d, shape = min(32, x.shape[1]), f"{data}, {len(x):,} × {x.shape[1]}"
        squares = lambda z, y: float((np.asarray(z, dtype=float) ** 2).sum())
        found = {
            "nca": lambda: Case(
                f"NCA to {d}, 50 steps", shape, {"dims": d, "rounds": 50, "tolerance": 0.0},
                lambda: NeighborhoodComponentsAnalysis(d, max_iter=50, tol=0, random_state=0), plain, nca_errors,
                "50 steps of L-BFGS, whatever they gain", 8, True,
            ),
            "nca-default": lambda: Case(
                f"NCA to {d}, to a tolerance", shape, {"dims": d, "rounds": 50, "tolerance": 1e-5},
                lambda: NeighborhoodComponentsAnalysis(d, max_iter=50, tol=1e-5, random_state=0), plain, nca_errors,
                "a relative gain or a gradient below 10⁻⁵, or 50 steps; the peer takes the gain relative to the samples that are right, ours "
                "to those that are wrong, which is far stricter: only the time to the same objective compares them", 8, True,
            ),
            "mlkr": lambda: Case(
                f"MLKR to {d}, 20 steps", shape, {"dims": d, "rounds": 20, "tolerance": 0.0},
                lambda: metric_learn.MLKR(n_components=d, max_iter=20, tol=0), plain, mlkr_errors,
                "20 steps of L-BFGS, whatever they gain", 8, True,
            ),
            "lmnn": lambda: Case(
                "LMNN, 50 steps", shape, {"rounds": 50, "tolerance": 0.0},
                lambda: metric_learn.LMNN(n_neighbors=3, max_iter=50), plain, lmnn_objective(x, y),
                "50 steps: ours of L-BFGS, the peer's of steepest descent, at first of 10⁻⁷ of the gradient, its default", 5, True,
            ),
            "lmnn-longer": lambda: Case(
                "LMNN, 200 longer steps", shape, {"rounds": 200, "tolerance": 0.0},
                lambda: metric_learn.LMNN(n_neighbors=3, max_iter=200, learn_rate=1e-5), plain, lmnn_objective(x, y),
                "200 steps, the peer's at first of 10⁻⁵ of the gradient: of powers of ten the one that brings it farthest on digits", 5, True,
            ),
            "itml": lambda: Case(
                "ITML", shape, {}, metric_learn.ITML, fit_pairs, None,
                "multipliers that change by less than 10⁻³, or 1,000 rounds; the same 2,000 pairs and bounds", 5,
            ),
            "lle": lambda: Case(
                "LLE to 2", shape, {"neighbors": 12, "dims": 2},
                lambda: LocallyLinearEmbedding(n_neighbors=12, n_components=2, random_state=0), plain, None,
                "closed form, 12 neighbours", 1.5,
            ),
            "isomap": lambda: Case(
                "Isomap to 2", shape, {"neighbors": 5, "dims": 2}, lambda: Isomap(n_neighbors=5, n_components=2), plain, squares,
                "closed form, 5 neighbours", 1.5,
            ),
        }
        for name, make in found.items():
            if asked and method_of(name) not in asked or data != "digits" and name in ("mlkr", "isomap"):
                continue
            yield name, data, make()


def fit_pairs(method, x, y, told):
    pairs = np.vstack((told["kin"], told["strangers"]))
    method.fit(x[pairs], np.repeat([1, -1], (len(told["kin"]), len(told["strangers"]))), bounds=np.array(told["bounds"]))


def pairs_of(x, y):
    """A thousand pairs of kin and of strangers, and the bounds that both sides are given."""
    a, b, c, d = Constraints(y).positive_negative_pairs(1000, random_state=0)
    apart = (x[c] != x[d]).any(axis=1)
    kin, strangers = np.column_stack((a, b)), np.column_stack((c[apart], d[apart]))
    squares = [((x[p[:, 0]] - x[p[:, 1]]) ** 2).sum(axis=1) for p in (kin, strangers)]
    return {"kin": kin, "strangers": strangers}, [float(q) for q in np.percentile(np.concatenate(squares), (5, 95))]


def method_of(name):
    return name.split("-")[0]


def beside(ours, name, case, x, y):
    """Runs one case in turns; a row of the table."""
    told, bounds = pairs_of(x, y) if name == "itml" else ({}, None)
    settings = dict(case.ours, **({"bounds": bounds} if bounds else {}))
    ours.give(x, labels=y, numbers=y, **told)

    def peer():
        method = case.peer()
        start = time.perf_counter()
        case.fit(method, x, y, {**told, "bounds": bounds})
        return (time.perf_counter() - start) * 1e3, method

    first, method = peer()
    z_peer = method.transform(x)
    try:
        answer = ours.fit(method_of(name), **settings)
    except ValueError as error:
        return dict(what=case.what, data=case.data, goal=case.goal, rule=case.rule, peer_ms=first, refused=str(error))
    z = ours.map("train", answer["dims"])
    # Peers that take minutes are timed once, and those that take a quarter of one three times.
    runs = 1 if first > 60_000 else 3 if first > 15_000 else RUNS
    times, peers = [], [first]
    for _ in range(RUNS):
        times.append(ours.fit(method_of(name), **settings)["ms"])
        if len(peers) < runs:
            peers.append(peer()[0])
    row = dict(what=case.what, data=case.data, goal=case.goal, rule=case.rule, runs=runs)
    row.update(ms=statistics.median(times), peer_ms=statistics.median(peers))
    if case.measure:
        row.update(worth=case.measure(z, y), peer_worth=case.measure(z_peer, y))
    elif name == "lle":
        row.update(worth=answer["objective"], peer_worth=float(method.reconstruction_error_))
    else:
        # How far the two metrics are apart on the pairs.
        pairs = np.vstack((told["kin"], told["strangers"]))
        apart = [((m[pairs[:, 0]] - m[pairs[:, 1]]) ** 2).sum(axis=1) for m in (z.astype(float), z_peer)]
        row.update(apart=float(np.abs(apart[0] - apart[1]).max() / apart[1].mean()))
    if case.descends:
        row.update(to_peer(ours, method_of(name), settings, row["peer_worth"]))
    return row


def to_peer(ours, name, settings, wanted):
    """The fewest steps after which ours is as good as the peer at its end, and their time."""
    reached = lambda steps: ours.fit(name, **{**settings, "rounds": steps})["objective"] <= wanted
    low, high = 0, 1
    while not reached(high):
        if high >= 4 * settings["rounds"]:
            return {"equal_steps": None, "equal_ms": None}
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    times = [ours.fit(name, **{**settings, "rounds": high})["ms"] for _ in range(RUNS)]
    return {"equal_steps": high, "equal_ms": statistics.median(times)}


# At size ----------------------------------------------------------------------------------------------------------------------


def idx(path):
    with gzip.open(path) as file:
        bytes = file.read()
    dims = [int.from_bytes(bytes[4 + 4 * i : 8 + 4 * i], "big") for i in range(bytes[3])]
    return np.frombuffer(bytes, dtype=np.uint8, offset=4 + 4 * len(dims)).reshape(dims[0], -1)


def alone(method, x, y, test=None, wanted=None, **settings):
    """One fit in a process of its own: seconds, the most memory it ever held, and accuracy on the test samples."""
    ours = Ours(threads=THREADS)
    ours.give(x, test, labels=y)
    answer = ours.fit(method, **settings)
    row = dict(seconds=answer["ms"] / 1e3, peak_mib=answer["peak_mib"], steps=answer["rounds"], objective=answer["objective"])
    if test is not None:
        z, z_test = (ours.map(name, answer["dims"]).astype(float) for name in ("train", "test"))
        row["accuracy"] = 100 * accuracy(z, y, z_test, wanted)
    ours.end()
    return row


def swiss_roll(n):
    """Points of a sheet of 1.5 turns, evenly at random."""
    draw = np.random.default_rng(0)
    turn, height = 1.5 * np.pi * (1 + 2 * draw.random(n)), 21 * draw.random(n)
    return np.column_stack((turn * np.cos(turn), height, turn * np.sin(turn)))


def at_size(uci, mnist):
    images = {p: idx(mnist / f"{p}-images-idx3-ubyte.gz") / np.float32(255) for p in ("train", "t10k")}
    labels = {p: idx(mnist / f"{p}-labels-idx1-ubyte.gz").ravel() for p in ("train", "t10k")}
    digits = (images["train"], labels["train"], images["t10k"], labels["t10k"])
    name = f"MNIST, {len(images['train']):,} × 784"
    yield "NCA to 32, sets of 1,024, 10 epochs", name, alone("nca-stochastic", *digits, dims=32)
    yield "NCA to 32, all pairs, 3 steps", name, alone("nca", *digits, dims=32, rounds=3, tolerance=0.0)
    x, y, *_ = read(uci / "letter.csv")
    train, test, own, wanted = split(x, y, 200)
    train, test = scaled(train, test)
    passes = f"{LETTER_PASSES} passes"
    yield f"LMNN, {passes}", f"letter, {len(train):,} × 16", alone("lmnn", train, own, test, wanted, passes=LETTER_PASSES)
    whole = StandardScaler().fit_transform(x)
    yield f"LMNN, {passes}", f"letter, {len(x):,} × 16", alone("lmnn", whole, y, passes=LETTER_PASSES)
    nobody = np.zeros(20_000)
    yield "LLE to 2, 12 neighbours", "a Swiss roll, 20,000 × 3", alone("lle", swiss_roll(20_000), nobody)
    yield "LLE to 2, 12 neighbours", "MNIST, the first 20,000 × 784", alone("lle", images["train"][:20_000], nobody)


# The page ---------------------------------------------------------------------------------------------------------------------


def ms(value):
    return "" if value is None else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def worth(value):
    return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"


def beside_table(rows):
    heads = ["method", "data", "ours, ms", "peer, ms", "ratio", "goal", "ours to the peer's objective, ms", "ratio", "objective, ours and peer's"]
    lines = []
    for row in rows:
        if "refused" in row:
            lines.append([row["what"], row["data"], "refused", ms(row["peer_ms"]), "", f"{row['goal']:g}", "", "", row["refused"]])
            continue
        equal = row.get("equal_ms")
        runs = "" if row["runs"] == RUNS else f" ({'once' if row['runs'] == 1 else 'of 3'})"
        lines.append([
            row["what"], row["data"], ms(row["ms"]), ms(row["peer_ms"]) + runs, f"{row['peer_ms'] / row['ms']:.1f}", f"{row['goal']:g}",
            "not reached" if "equal_ms" in row and equal is None else f"{ms(equal)} ({row['equal_steps']} step{'s'[: row['equal_steps'] > 1]})" if equal else "", f"{row['peer_ms'] / equal:,.1f}" if equal else "",
            f"{worth(row['worth'])}, {worth(row['peer_worth'])}" if "worth" in row else f"metrics {row['apart']:.0e} apart",
        ])
    return grid(heads, lines)


def size_table(rows):
    lines = [
        [what, data, f"{row['seconds']:.1f}", f"{row['peak_mib']:,.0f}" if row["peak_mib"] else "", f"{row['accuracy']:.2f}" if "accuracy" in row else "", "" if row["steps"] is None else str(row["steps"])]
        for what, data, row in rows
    ]
    return grid(["ours", "data", "fit, s", "peak of the process, MiB", "3-NN accuracy on the test samples, %", "steps"], lines)


def page(rows, sizes, busy):
    ratios = lambda row: (row["peer_ms"] / row["ms"], row["peer_ms"] / row["equal_ms"] if row.get("equal_ms") else 0.0)
    failed = [
        f"{row['what']} on {row['data']}, {ratios(row)[0]:.1f}" + (f" and {ratios(row)[1]:.1f}" if row.get("equal_ms") else "") + f" for {row['goal']:g}"
        for row in rows
        if "ms" in row and max(ratios(row)) < row["goal"]
    ]
    rules = dict.fromkeys(f"- {re.sub(' to [0-9]+', '', row['what'])}: {row['rule']}." for row in rows)
    text = [
        "# The speed of the classical methods",
        "",
        "Made by `python bench/classic_speed.py`, on a machine of 2 cores that is shared with others: times swing by tens of percent, so only",
        "ratios of runs taken in turns mean anything.",
        f"{processor()}, load {busy:.1f} at the start. {packages()}.",
        "",
        f"Fits alone, {THREADS} threads on both sides, medians of {RUNS} runs in turns; a peer that takes 15 s is run three times, one that takes a minute once.",
        "Standardised columns, and the training part of a stratified 70/30 split. Ours works on f32 samples, the peers on f64.",
        "",
        *beside_table(rows),
        "The stopping rules:",
        "",
        *rules,
        "",
        "Objectives are computed from the two maps by the same lines of Python: NCA's expected errors, MLKR's squared errors, LMNN's pulls and",
        "pushes, LLE's reconstruction error, Isomap's sum of squares. Where the same rule leaves the two at different places, the fair figure is",
        "the time to the same one: the fewest steps of ours after which it is as good as the peer at its end. NCA has many minima: with 50 steps",
        "either side may end in one that the other does not reach.",
        "LMNN's peer has hardly moved after 50 steps of its default length, and its start is not scaled to the margin, as ours is; so it is",
        "also run with longer steps. On letter LLE's two errors are of two problems: ours takes copies of a sample for one, the peer does not.",
        "",
        *(["Short of the goal by both ratios in this run: " + "; ".join(failed) + ".", ""] if failed else []),
        "## At size",
        "",
        "Ours alone, one fit in a process of its own, whose peak holds the samples too. scikit-learn's NCA would need 28.8 GB for one matrix of",
        "60,000 × 60,000, and several of them. LMNN's passes were chosen by validation: [accuracies](classic.md).",
        "",
        *size_table(sizes),
    ]
    (ROOT / "docs/results/classic-speed.md").write_text("\n".join(text))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("parts", nargs="*", help="nca, mlkr, lmnn, itml, lle, isomap, at-size; all, and the page, if none")
    arguments.add_argument("--uci", type=pathlib.Path, default=ROOT.parent / "shared/data/uci")
    arguments.add_argument("--mnist", type=pathlib.Path, default=ROOT.parent / "shared/data/mnist")
    asked = arguments.parse_args()

    Ours.build()
    busy = os.getloadavg()[0]
    letters, letter, *_ = read(asked.uci / "letter.csv")
    tables = {"digits": load_digits(return_X_y=True), "letter-5k": (letters[:5000], letter[:5000])}
    tables = {name: split(StandardScaler().fit_transform(x), y, 0) for name, (x, y) in tables.items()}
    tables = {name: (train, own) for name, (train, _, own, _) in tables.items()}
    ours, rows, sizes = Ours(threads=THREADS), [], []
    if asked.parts != ["at-size"]:
        for name, data, case in cases(tables, asked.parts):
            rows.append(beside(ours, name, case, *tables[data]))
            print(json.dumps(rows[-1]), flush=True)
    ours.end()
    if not asked.parts or "at-size" in asked.parts:
        for what, data, row in at_size(asked.uci, asked.mnist):
            sizes.append((what, data, row))
            print(json.dumps(dict(what=what, data=data, **row)), flush=True)
    if asked.parts:
        print("\n".join(beside_table(rows) + size_table(sizes)))
    else:
        page(rows, sizes, busy)


if __name__ == "__main__":
    main()
