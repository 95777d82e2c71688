"""kNN accuracy after the classical methods: ours, scikit-learn's and metric-learn's, on the same splits.

    python3.11 -m venv venv && venv/bin/pip install -r bench/classic-requirements.txt
    venv/bin/python bench/classic.py                                  # builds ours, runs all, writes docs/results/classic.md
    venv/bin/python bench/classic.py --sets wine iris --methods nca   # a part, which is only printed
    venv/bin/python bench/classic.py --keep FILE                      # goes on from the results that FILE holds, and adds to them

The sets are the CSV files of shared/data/uci beside the repository, or of --data: a header, the class last, `?` for a missing
value. Every method is fitted to 70 % of every class, scaled by its columns' mean and deviation, and judged by 3 nearest neighbours on
the rest. Pairs, quadruplets and chunklets are drawn once a split, and given to ours and the peers alike.
"""

import argparse
import csv
import json
import math
import multiprocessing
import os
import pathlib
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from multiprocessing.connection import wait

if __name__ == "__main__":
    # Two fits run at a time, with a thread each: accuracies do not depend on it.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
ROOT = pathlib.Path(__file__).resolve().parent.parent

import metric_learn
import numpy as np
from metric_learn.constraints import Constraints
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.manifold import Isomap, LocallyLinearEmbedding
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier, NeighborhoodComponentsAnalysis
from sklearn.preprocessing import StandardScaler

warnings.filterwarnings("ignore")

SPLITS, NEIGHBOURS, AT_A_TIME = 30, 3, 2
LIMIT_SECONDS, BUDGET_SECONDS, LIMIT_GIB = 600, 120, 10


# The table of methods ---------------------------------------------------------------------------------------------------------


def half(x, y):
    return math.ceil(x.shape[1] / 2)


def flat(x, y):
    return min(10, half(x, y))


class Method:
    """One row: how ours is set (a function of the training set), what supervises, and the peers."""

    def __init__(self, name, supervision, ours, **peers):
        self.name, self.supervision, self.ours, self.peers = name, supervision, ours, peers


nothing = lambda x, y: {}
ridge = lambda x, y: {"ridge": 1e-6}
METHODS = {
    "euclidean-raw": Method("Euclidean, raw columns", None, None),
    "euclidean": Method("Euclidean", None, None),
    "pca": Method(
        "PCA, half the columns",
        None,
        lambda x, y: {"dims": half(x, y)},
        sklearn=lambda x, y, seed: PCA(half(x, y)),
    ),
    "whitening": Method("Whitening", None, nothing, metric_learn=lambda x, y, seed: metric_learn.Covariance()),
    "lda": Method("LDA", "labels", ridge, sklearn=lambda x, y, seed: LinearDiscriminantAnalysis()),
    "lfda": Method("Local Fisher", "labels", ridge, metric_learn=lambda x, y, seed: metric_learn.LFDA()),
    "rca": Method("RCA", "chunklets", ridge, metric_learn=lambda x, y, seed: metric_learn.RCA()),
    "nca": Method(
        "NCA",
        "labels",
        nothing,
        sklearn=lambda x, y, seed: NeighborhoodComponentsAnalysis(random_state=seed),
        metric_learn=lambda x, y, seed: metric_learn.NCA(random_state=seed),
    ),
    "mlkr": Method("MLKR", "numbers", nothing, metric_learn=lambda x, y, seed: metric_learn.MLKR(random_state=seed)),
    "lmnn": Method("LMNN", "labels", nothing, metric_learn=lambda x, y, seed: metric_learn.LMNN(random_state=seed)),
    "itml": Method("ITML", "pairs", nothing, metric_learn=lambda x, y, seed: metric_learn.ITML(random_state=seed)),
    "sdml": Method("SDML", "pairs", nothing, metric_learn=lambda x, y, seed: metric_learn.SDML(random_state=seed)),
    "mmc": Method("MMC", "pairs", ridge, metric_learn=lambda x, y, seed: metric_learn.MMC(random_state=seed)),
    "lsml": Method("LSML", "quadruplets", nothing, metric_learn=lambda x, y, seed: metric_learn.LSML(random_state=seed)),
    "scml": Method("SCML", "labels", nothing, metric_learn=lambda x, y, seed: metric_learn.SCML_Supervised(random_state=seed)),
    "dca": Method("DCA", "labels", ridge),
    "lle": Method(
        "LLE",
        None,
        lambda x, y: {"neighbors": 12, "dims": flat(x, y)},
        sklearn=lambda x, y, seed: LocallyLinearEmbedding(n_neighbors=12, n_components=flat(x, y), random_state=seed),
    ),
    "isomap": Method(
        "Isomap",
        None,
        lambda x, y: {"neighbors": 12, "dims": flat(x, y)},
        sklearn=lambda x, y, seed: Isomap(n_neighbors=12, n_components=flat(x, y)),
    ),
}
PEERS = {"sklearn": "scikit-learn", "metric_learn": "metric-learn"}
# Where a number stands behind the classes: a balance leans left, stands, or leans right. Of two classes one is 0 and one is 1.
NUMBERS = {"balance-scale": {"L": -1, "B": 0, "R": 1}}
# The papers' orderings that are checked: the method on the left against plain distances.
ORDERINGS = [(m, s) for m in ("nca", "lmnn") for s in ("wine", "ionosphere", "balance-scale", "letter")]


# Data -------------------------------------------------------------------------------------------------------------------------


def read(path):
    """Columns, class names as integers in their sorted order, the names, and the number of rows left out for missing values."""
    with open(path, newline="") as file:
        rows = list(csv.reader(file))[1:]
    whole = [row for row in rows if "?" not in row]
    names, y = np.unique([row[-1] for row in whole], return_inverse=True)
    return np.array([row[:-1] for row in whole], dtype=float), y, list(names), len(rows) - len(whole)


def numbers_of(data, names, y):
    """The numbers that MLKR regresses on, or None."""
    if len(names) == 2:
        return y.astype(float)
    return np.array([NUMBERS[data][names[i]] for i in y], dtype=float) if data in NUMBERS else None


def split(x, y, seed):
    """Training samples, test samples, and their labels, as the columns are."""
    return train_test_split(x, y, test_size=0.3, stratify=y, random_state=seed)


def scaled(train, test):
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test)


def supervise(kind, x, y, seed):
    """What a method is told: places of samples, as metric-learn draws them, as many as its defaults are."""
    count = 20 * len(np.unique(y)) ** 2
    constraints = Constraints(y)
    if kind == "chunklets":
        most = sum(n // 2 for n in np.bincount(y))
        return {"chunklets": constraints.chunks(min(100, most), 2, random_state=seed)}
    if kind == "quadruplets":
        return {"quadruplets": np.column_stack(constraints.positive_negative_pairs(count, same_length=True, random_state=seed))}
    if kind == "pairs":
        a, b, c, d = constraints.positive_negative_pairs(count, random_state=seed)
        # No metric can part copies.
        apart = (x[c] != x[d]).any(axis=1)
        return {"kin": np.column_stack((a, b)), "strangers": np.column_stack((c, d))[apart]}
    return {}


# Fits -------------------------------------------------------------------------------------------------------------------------


class Ours:
    """The Rust half, in a process of its own."""

    def __init__(self, threads=1):
        folder = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [folder / "release/examples/side_by_side"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ, RAYON_NUM_THREADS=str(threads)),
        )

    @staticmethod
    def build():
        command = ["cargo", "build", "--release", "--package", "nearkin-classic", "--example", "side_by_side"]
        subprocess.run(command, cwd=ROOT, check=True)

    def give(self, x, test=None, **supervision):
        """Hands over the samples, and what supervises."""
        folder = pathlib.Path(self.folder.name)
        for old in folder.iterdir():
            old.unlink()
        self.columns = x.shape[1]
        for name, table in {"train": x, "test": test, "numbers": supervision.pop("numbers", None)}.items():
            if table is not None:
                np.asarray(table, dtype="<f4").tofile(folder / f"{name}.f32")
        for name, places in supervision.items():
            np.asarray(places, dtype="<u4").tofile(folder / f"{name}.u32")

    def fit(self, method, **settings):
        case = {"method": method, "folder": self.folder.name, "columns": self.columns, **settings}
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def map(self, name, dims):
        return np.fromfile(pathlib.Path(self.folder.name) / f"{name}.map.f32", dtype="<f4").reshape(-1, dims)

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.folder.cleanup()


def fit_ours(ours, key, x, y, test, told):
    """Milliseconds, and the samples as mapped."""
    if METHODS[key].ours is None:
        return 0.0, x, test
    if "chunklets" in told:
        # Samples in no chunklet are each one of their own.
        alone = len(y) + np.arange(len(y))
        told = {"chunklets": np.where(told["chunklets"] < 0, alone, told["chunklets"])}
    ours.give(x, test, labels=y, **told)
    answer = ours.fit(key, **METHODS[key].ours(x, y))
    return answer["ms"], ours.map("train", answer["dims"]), ours.map("test", answer["dims"])


def fit_peer(peer, key, x, y, test, told, seed):
    method = METHODS[key].peers[peer](x, y, seed)
    start = time.perf_counter()
    if "kin" in told:
        pairs = np.vstack((told["kin"], told["strangers"]))
        method.fit(x[pairs], np.repeat([1, -1], (len(told["kin"]), len(told["strangers"]))))
    elif METHODS[key].supervision == "chunklets":
        method.fit(x, told["chunklets"])
    elif "quadruplets" in told:
        method.fit(x[told["quadruplets"]])
    elif "numbers" in told:
        method.fit(x, told["numbers"])
    else:
        method.fit(x, y)
    ms = (time.perf_counter() - start) * 1e3
    return ms, method.transform(x), method.transform(test)


def accuracy(train, labels, test, wanted):
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise ValueError("the map is not finite")
    return KNeighborsClassifier(NEIGHBOURS, algorithm="brute").fit(train, labels).score(test, wanted)


def cell(data, path, key, who, splits, budget, pipe):
    """One method of one side on one set: a line a split, until the splits or the budget are spent."""
    if who != "ours":
        # Of what the process may address; the libraries themselves take half a GiB.
        resource.setrlimit(resource.RLIMIT_AS, ((LIMIT_GIB * 2**30,) * 2))
    x, y, names, _ = read(path)
    ours = Ours() if who == "ours" and METHODS[key].ours else None
    for seed in splits:
        began = time.perf_counter()
        if budget <= 0:
            break
        result = {"data": data, "method": key, "who": who, "split": seed}
        try:
            train, test, labels, wanted = split(x, y, seed)
            if key != "euclidean-raw":
                train, test = scaled(train, test)
            told = supervise(METHODS[key].supervision, train, labels, seed)
            if METHODS[key].supervision == "numbers":
                told["numbers"] = numbers_of(data, names, labels)
            if who == "ours":
                ms, z, z_test = fit_ours(ours, key, train, labels, test, told)
            else:
                ms, z, z_test = fit_peer(who, key, train, labels, test, told, seed)
            result.update(ms=ms, accuracy=accuracy(z, labels, z_test, wanted))
        except MemoryError:
            result["error"] = f"more than {LIMIT_GIB} GiB"
        except Exception as error:
            result["error"] = " ".join(str(error).split())[:200] or type(error).__name__
        result["seconds"] = time.perf_counter() - began
        budget -= result["seconds"]
        pipe.send(result)


def run(cells, keep):
    """Runs the cells, two at a time, each in a process that is ended when a fit takes too long."""
    context = multiprocessing.get_context("fork")
    queue, running, results = list(cells), {}, []

    def note(result):
        results.append(result)
        if keep:
            with open(keep, "a") as file:
                file.write(json.dumps(result) + "\n")

    while queue or running:
        while queue and len(running) < AT_A_TIME:
            data, path, key, who, splits, budget = queue.pop(0)
            reader, writer = context.Pipe(duplex=False)
            process = context.Process(target=cell, args=(data, path, key, who, splits, budget, writer))
            process.start()
            writer.close()
            running[reader] = [process, time.monotonic(), (data, key, who, list(splits))]
        for reader in wait(list(running), timeout=1):
            process, since, (data, key, who, left) = running[reader]
            try:
                result = reader.recv()
                left.remove(result["split"])
                note(result)
                running[reader][1] = time.monotonic()
            except EOFError:
                process.join()
                if process.exitcode and math.isfinite(since):
                    name = {"data": data, "method": key, "who": who, "split": left[0]}
                    note({**name, "error": f"the process ended with {process.exitcode}"})
                del running[reader]
                print(f"{len(queue) + len(running)} left; done: {data} {key} {who}", file=sys.stderr, flush=True)
        for reader, (process, since, (data, key, who, left)) in running.items():
            if time.monotonic() - since > LIMIT_SECONDS:
                process.kill()
                note({"data": data, "method": key, "who": who, "split": left[0], "error": f"more than {LIMIT_SECONDS} s"})
                running[reader][1] = math.inf
    return results


# Figures ----------------------------------------------------------------------------------------------------------------------


def interval(values):
    """Mean and half width of its 95 % interval, by Student's t."""
    values = np.asarray(values)
    if len(values) < 2:
        return values.mean(), math.inf
    return values.mean(), stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))


class Results:
    def __init__(self, lines):
        self.of = {}
        for line in lines:
            self.of.setdefault((line["data"], line["method"], line["who"]), {})[line["split"]] = line

    def accuracies(self, data, key, who):
        found = self.of.get((data, key, who), {})
        return {s: 100 * line["accuracy"] for s, line in found.items() if "accuracy" in line}

    def errors(self, data, key, who):
        found = self.of.get((data, key, who), {})
        return [line["error"] for line in found.values() if "error" in line]

    def paired(self, data, left, right):
        """Of two (method, who): the differences in accuracy over the splits that both have."""
        a, b = self.accuracies(data, *left), self.accuracies(data, *right)
        return [a[s] - b[s] for s in sorted(a.keys() & b.keys())]


def verdict(differences):
    """Mean, half width, and how the difference stands to its noise."""
    mean, width = interval(differences)
    if abs(mean) <= width:
        return mean, width, "within"
    # Training sets of two splits share samples, so differences are not independent: the variance of their mean is larger by
    # (1/n + 0.3/0.7) / (1/n) (C. Nadeau, Y. Bengio, "Inference for the Generalization Error", 2003).
    wide = width * math.sqrt(1 + len(differences) * 0.3 / 0.7)
    return mean, width, ("above" if mean > 0 else "below") + ("" if abs(mean) > wide else "?")


def mean_cell(results, data, key, who):
    found = results.accuracies(data, key, who)
    if not found:
        errors = results.errors(data, key, who)
        how = "refused" if who == "ours" else "failed"
        return "" if not errors else errors[0] if errors[0].startswith("more than") else how
    mean, width = interval(list(found.values()))
    width = f" ± {width:.1f}" if math.isfinite(width) else ""
    return f"{mean:.1f}{width}" + (f" ({len(found)})" if len(found) < SPLITS else "")


def difference_cell(results, data, left, right):
    differences = results.paired(data, left, right)
    if not differences:
        peer, ours = mean_cell(results, data, *right), mean_cell(results, data, *left)
        return f"peer: {peer}" if peer and not peer[0].isdigit() else f"ours: {ours}" if ours else ""
    mean, width, how = verdict(differences)
    width = f" ± {width:.1f}" if math.isfinite(width) else ""
    mark = {"within": "", "above": " ▲", "above?": " △", "below": " ▼", "below?": " ▽"}[how]
    return f"{mean + 0:+.1f}{width}{mark}".replace("-0.0", "+0.0").replace("-", "−") + (f" ({len(differences)})" if len(differences) < SPLITS else "")


# LMNN on letter ---------------------------------------------------------------------------------------------------------------


def letter_setting(path, choices=(1, 2, 3, 4, 5), chosen_on=(100, 101, 102), confirmed_on=range(200, 205)):
    """LMNN's passes, chosen by validation within the training parts of some splits, and confirmed on others."""
    x, y, *_ = read(path)
    ours = Ours(threads=2)

    def judge(train, labels, test, wanted, passes):
        train, test = scaled(train, test)
        ours.give(train, test, labels=labels)
        answer = ours.fit("lmnn", passes=passes)
        z, z_test = (ours.map(name, answer["dims"]) for name in ("train", "test"))
        return 100 * accuracy(z, labels, z_test, wanted), answer["ms"] / 1e3

    validation = {passes: [] for passes in choices}
    for seed in chosen_on:
        train, _, labels, _ = split(x, y, seed)
        inner, held, inner_y, held_y = split(train, labels, seed)
        for passes in choices:
            validation[passes].append(judge(inner, inner_y, held, held_y, passes)[0])
    means = {passes: float(np.mean(found)) for passes, found in validation.items()}
    best = max(choices, key=lambda passes: (round(means[passes], 2), -passes))
    confirmed = []
    for seed in confirmed_on:
        train, test, labels, wanted = split(x, y, seed)
        confirmed.append(judge(train, labels, test, wanted, best))
    ours.end()
    return {"validation": means, "passes": best, "confirmed": confirmed, "fitted": len(train)}


# The page ---------------------------------------------------------------------------------------------------------------------


def processor():
    name = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.processor())
    return f"{name}, {os.cpu_count()} cores"


def packages():
    return ", ".join(f"{p} {version(p)}" for p in ("scikit-learn", "metric-learn", "numpy", "scipy"))


def grid(heads, rows):
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *("| " + " | ".join(row) + " |" for row in rows), ""]


def accuracy_tables(results, sets):
    text = []
    for part in (sets[: len(sets) // 2], sets[len(sets) // 2 :]):
        rows = ([m.name] + [mean_cell(results, s, key, "ours") for s in part] for key, m in METHODS.items())
        text += grid(["3 nearest neighbours after", *part], rows)
    return text


def difference_tables(results, sets):
    text = []
    pairs = [(key, peer) for key, method in METHODS.items() for peer in method.peers]
    for part in (sets[: len(sets) // 2], sets[len(sets) // 2 :]):
        rows = (
            [f"{METHODS[key].name}, {PEERS[peer]}"] + [difference_cell(results, s, (key, "ours"), (key, peer)) for s in part]
            for key, peer in pairs
        )
        text += grid(["ours minus the peer's", *part], rows)
    return text


def tally(results, sets):
    """How many comparisons came out how, and those below the peer."""
    counts, below, alone = dict.fromkeys(("within", "above", "above?", "below", "below?"), 0), [], 0
    for key, method in METHODS.items():
        for peer in method.peers:
            for data in sets:
                differences = results.paired(data, (key, "ours"), (key, peer))
                if len(differences) < 2:
                    alone += bool(results.of.get((data, key, "ours")))
                    continue
                mean, width, how = verdict(differences)
                counts[how] += 1
                if how.startswith("below"):
                    below.append((how == "below?", mean, f"{method.name} on {data}, {PEERS[peer]}: {mean:+.2f} ± {width:.2f} ({len(differences)} splits)".replace(": -", ": −")))
    return counts, [line for *_, line in sorted(below)], alone


def trouble(results, sets):
    """What could not be fitted, and why: (who, method, reason) to sets and numbers of splits."""
    found = {}
    for key, method in METHODS.items():
        for who in ("ours", *method.peers):
            for data in sets:
                for error in results.errors(data, key, who):
                    # Figures within a reason differ from split to split.
                    reason = "".join("#" if c.isdigit() and not error.startswith("more") else c for c in error)
                    while "##" in reason or "#.#" in reason:
                        reason = reason.replace("#.#", "#").replace("##", "#")
                    of = found.setdefault((PEERS.get(who, "ours"), method.name, reason.replace("|", "/")), {})
                    of[data] = of.get(data, 0) + 1
    return [[who, name, ", ".join(f"{d} ({n})" for d, n in of.items()), reason] for (who, name, reason), of in found.items()]


def page(results, sets, shapes, letter, left_out, budget):
    counts, below, alone = tally(results, sets)
    text = [
        "# The classical methods beside their peers",
        "",
        "Made by one command, `python bench/classic.py`, with the packages of `bench/classic-requirements.txt`.",
        f"{processor()}. {packages()}.",
        "",
        f"Accuracy in % of {NEIGHBOURS} nearest neighbours (scikit-learn's classifier on both sides), mean over {SPLITS} seeded",
        "stratified splits of 70/30, ± the half width of its 95 % interval (Student's t). Columns are standardised by the training",
        "part's mean and deviation, but in the first row. Ours, scikit-learn's and metric-learn's methods see the same splits, the same",
        "scaled samples (ours as f32), and the same pairs, chunklets and numbers. A figure in brackets is the number of splits where it",
        f"is below {SPLITS}: a cell starts no new fit once it has used {budget} s, and a fit may take {LIMIT_SECONDS} s and, for a peer, {LIMIT_GIB} GiB.",
        "Settings were chosen beforehand: each side's defaults, and where a number must be named, the same on both sides.",
        "",
        f"The sets, rows × columns: {', '.join(f'{data} {rows:,} × {columns}' for data, (rows, columns) in shapes.items())}.",
        *([f"Rows with missing values are left out: {', '.join(f'{n} of {d}' for d, n in left_out.items())}."] if left_out else []),
        "",
        "## Ours",
        "",
        *accuracy_tables(results, sets),
        "MLKR regresses on a number, so it stands only where one is meant: two classes as 0 and 1, and the balance, which leans left,",
        "stands or leans right: −1, 0, 1. One number a class would mean nothing elsewhere.",
        "",
        "## Ours minus the peer's",
        "",
        "Differences are taken split by split. ▲ ours is better and ▼ worse, by more than the 95 % interval of the paired differences. The",
        "training parts of splits overlap, so that interval is too narrow; △ and ▽ mark what is beyond it, but within the wider one of",
        "Nadeau and Bengio (2003), which reckons with that. No mark: within noise.",
        "",
        *difference_tables(results, sets),
        f"Of {sum(counts.values())} comparisons over two splits or more, {counts['within']} are within noise, ours is above in {counts['above']} (and {counts['above?']} △)",
        f"and below in {counts['below']} (and {counts['below?']} ▽). One in twenty would be marked by chance alone. {alone} could not be compared.",
        "",
    ]
    if below:
        text += ["Below, the clear ones first:", "", *(f"- {line}" for line in below), ""]
    text += [
        "## The papers' orderings",
        "",
        "NCA and LMNN against plain Euclidean distance of standardised columns, and of raw ones, paired.",
        "",
        *grid(
            ["ours", "set", "over Euclidean, standardised", "over Euclidean, raw"],
            (
                [METHODS[key].name, s, *(difference_cell(results, s, (key, "ours"), (plain, "ours")) for plain in ("euclidean", "euclidean-raw"))]
                for key, s in ORDERINGS
                if s in sets
            ),
        ),
    ]
    if letter:
        found = [a for a, _ in letter["confirmed"]]
        mean, width = interval(found)
        seconds = [s for _, s in letter["confirmed"]]
        text += [
            "## LMNN on letter",
            "",
            "How often LMNN chooses its targets anew was chosen by validation: the training parts of three splits were split 70/30 again,",
            "and the passes with the best mean accuracy on the held-out part taken.",
            "",
            *grid(["passes", *map(str, letter["validation"])], [["validation accuracy, %", *(f"{m:.2f}" for m in letter["validation"].values())]]),
            f"Confirmed with {letter['passes']} passes on {len(found)} splits that had no part in the choice: {mean:.2f} ± {width:.2f} % ({', '.join(f'{a:.2f}' for a in found)}),",
            f"by fits to {letter['fitted']:,} × 16 of {min(seconds):.1f} to {max(seconds):.1f} s with 2 threads (median {np.median(seconds):.1f} s).",
            "",
        ]
    text += [
        "## What could not be fitted",
        "",
        "The numbers of splits in brackets; # stands for a figure.",
        "",
        *grid(["whose", "method", "sets", "reason"], trouble(results, sets)),
        SETTINGS,
    ]
    (ROOT / "docs/results/classic.md").write_text("\n".join(text))


SETTINGS = """## Settings

| method | ours | the peers |
|---|---|---|
| PCA | half the columns, rounded up | the same |
| Whitening | all directions that vary | metric-learn's `Covariance`: the same metric |
| LDA, local Fisher | as many directions as there are, a ridge of 10⁻⁶ of the mean variance | defaults |
| RCA | a ridge of 10⁻⁶ of the mean variance; 100 chunklets of two, or as many as the classes have | defaults; the same chunklets |
| NCA | defaults: all dimensions, 100 steps, tolerance 10⁻⁵ | defaults: all dimensions, 50 steps in scikit-learn, 100 in metric-learn |
| MLKR | defaults: all dimensions, 100 steps, tolerance 10⁻⁵ | defaults: all dimensions, 1,000 steps |
| LMNN | defaults: 3 targets, all dimensions, one pass, from the identity, 200 steps | defaults: 3 targets, all dimensions, 1,000 steps of length 10⁻⁷ |
| ITML | defaults; 20 classes² pairs of kin and of strangers, metric-learn's default | defaults; the same pairs |
| SDML, LSML | defaults; the same pairs, a pair of kin with one of strangers for LSML | defaults |
| MMC | a full matrix, defaults, a ridge of 10⁻⁶ of the mean variance; the same pairs | defaults |
| SCML | defaults: each sample with its 3 nearest kin and 10 nearest strangers, directions of LDA | `SCML_Supervised`, defaults: the same |
| DCA | classes as chunklets, a ridge of 10⁻⁶ of the mean variance | none has it |
| LLE, Isomap | 12 neighbours, half the columns but at most 10 dimensions; unseen samples are placed by `transform` | the same |

Laplacian eigenmaps and diffusion maps have no peer that places unseen samples, and are not here; nor are MDS, SMACOF and the others
that place only what they were fitted to.
"""


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared/data/uci", help="folder of CSV files")
    arguments.add_argument("--sets", nargs="+", help="names of the files to use")
    arguments.add_argument("--methods", nargs="+", choices=METHODS, help="methods to run")
    arguments.add_argument("--splits", type=int, default=SPLITS)
    arguments.add_argument("--budget", type=float, default=BUDGET_SECONDS, help="seconds after which a cell starts no new fit")
    arguments.add_argument("--keep", type=pathlib.Path, help="results, a line each: read, and added to")
    asked = arguments.parse_args()
    part = bool(asked.sets or asked.methods or asked.splits != SPLITS)

    Ours.build()
    # The smaller first: what is cut short lacks the least.
    files = sorted(asked.data.glob("*.csv"), key=lambda path: path.stat().st_size)
    paths = {path.stem: path for path in files if not asked.sets or path.stem in asked.sets}
    if not paths:
        sys.exit(f"no CSV file of that name in {asked.data}")
    lines = [json.loads(line) for line in open(asked.keep)] if asked.keep and asked.keep.exists() else []
    kept = Results(lines)
    cells, shapes, left_out = [], {}, {}
    for data, path in paths.items():
        x, y, names, missing = read(path)
        shapes[data] = x.shape
        left_out |= {data: missing} if missing else {}
        for key, method in METHODS.items():
            if asked.methods and key not in asked.methods:
                continue
            if method.supervision == "numbers" and numbers_of(data, names, y) is None:
                continue
            for who in ("ours", *method.peers):
                before = kept.of.get((data, key, who), {})
                left = asked.budget - sum(line.get("seconds", math.inf) for line in before.values())
                if left > 0 and len(before) < asked.splits:
                    cells.append((data, path, key, who, range(len(before), asked.splits), left))
    results = Results(lines + run(cells, asked.keep))
    if part:
        for (data, key, who), found in sorted(results.of.items()):
            errors = "; ".join(sorted(set(results.errors(data, key, who))))
            ms = [line["ms"] for line in found.values() if "ms" in line]
            print(f"{data:>14} {key:>14} {who:>13}  {mean_cell(results, data, key, who):<18} {np.median(ms) if ms else math.nan:10.1f} ms  {errors}")
        for line in accuracy_tables(results, list(paths)) + difference_tables(results, list(paths)):
            print(line)
    else:
        page(results, list(paths), shapes, letter_setting(paths["letter"]) if "letter" in paths else None, left_out, int(asked.budget))


if __name__ == "__main__":
    main()
