"""Losses, exact search and retrieval measures beside the peers, in turns, in the same minutes.

    pip install torch==2.15.0 pytorch-metric-learning==2.9.0 lightly==1.5.26 faiss-cpu scikit-learn
    python bench/sweep.py            # builds our half, runs both, writes docs/results/sweep.md
    python bench/sweep.py knn        # one case, which is only printed

Random unit vectors, D = 128, 2 threads on both sides, loss = forward and backward. A figure is the median of RUNS runs,
ours and the peer's one after the other.
"""

import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
import warnings
from importlib.metadata import version

THREADS, RUNS, D = 2, 5, 128
os.environ["OMP_NUM_THREADS"] = str(THREADS)
ROOT = pathlib.Path(__file__).resolve().parent.parent

import faiss
import numpy as np
import torch
from lightly.loss import NTXentLoss
from pytorch_metric_learning import losses, miners
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

warnings.filterwarnings("ignore")
torch.set_num_threads(THREADS)
faiss.omp_set_num_threads(THREADS)


class Ours:
    def __init__(self):
        subprocess.run(["cargo", "build", "--release", "--package", "nearkin-bench"], cwd=ROOT, check=True)
        environment = dict(os.environ, RAYON_NUM_THREADS=str(THREADS))
        self.process = subprocess.Popen(
            [ROOT / "target/release/nearkin-bench"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, what, n, classes):
        self.process.stdin.write(json.dumps({"what": what, "n": n, "d": D, "classes": classes}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def unit(n):
    return torch.nn.functional.normalize(torch.randn(n, D, generator=torch.Generator().manual_seed(0)), dim=1)


def loss_case(make):
    def prepare(n, classes):
        x, y, loss = unit(n).requires_grad_(True), torch.arange(n) % classes, make()

        def run():
            x.grad = None
            start = time.perf_counter()
            loss(x, y).backward()
            return (time.perf_counter() - start) * 1e3

        return run

    return prepare


def mined(make_miner):
    def make():
        miner, loss = make_miner(), losses.TripletMarginLoss(0.2)
        return lambda x, y: loss(x, y, miner(x, y))

    return make


def two_views():
    loss = NTXentLoss(0.1)
    return lambda x, y: loss(x[: len(x) // 2], x[len(x) // 2 :])


def search(queries):
    def prepare(n, k):
        x = unit(n).numpy()
        q, r = (x, x) if queries is None else (x[: n // 6], x[n // 6 :])

        def run():
            start = time.perf_counter()
            index = faiss.IndexFlatIP(D)
            index.add(r)
            index.search(q, k)
            return (time.perf_counter() - start) * 1e3

        return run

    return prepare


def measures(n, classes):
    x, y = unit(n), torch.arange(n) % classes
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    calculator = AccuracyCalculator(include=names, k="max_bin_count")

    def run():
        start = time.perf_counter()
        calculator.get_accuracy(x, y)
        return (time.perf_counter() - start) * 1e3

    return run


# what, N, classes (or k), the peer, how to prepare it (None: it cannot run), products of N x N x D that ours needs, the goal
ALL, SEMI = losses.TripletMarginLoss, lambda: miners.TripletMarginMiner(0.2, "semihard")
CASES = [
    ("nt_xent", 1024, 512, "PML", loss_case(lambda: losses.NTXentLoss(0.1)), 2, 1000),
    ("nt_xent", 4096, 2048, "lightly", loss_case(two_views), 2, 6),
    ("nt_xent", 8192, 4096, "lightly", loss_case(two_views), 2, 6),
    ("nt_xent", 65536, 32768, "lightly", None, 2, None),
    ("sup_con", 4096, 1024, "PML", loss_case(lambda: losses.SupConLoss(0.1)), 2, 6),
    ("multi_similarity", 4096, 1024, "PML", loss_case(losses.MultiSimilarityLoss), 2, 6),
    ("contrastive", 4096, 1024, "PML", loss_case(losses.ContrastiveLoss), 2, 6),
    ("triplet_batch_hard", 4096, 1024, "PML", loss_case(mined(miners.BatchHardMiner)), 1, 15),
    ("triplet_batch_all", 512, 128, "PML", loss_case(lambda: ALL(0.2)), 3, 20),
    ("triplet_semi_hard", 512, 128, "PML", loss_case(mined(SEMI)), 3, 20),
    ("triplet_batch_all", 8192, 2048, "PML", None, 3, None),
    ("triplet_semi_hard", 8192, 2048, "PML", None, 3, None),
    ("knn", 60000, 200, "faiss flat", search(None), 0.5, 2),
    ("knn_between", 60000, 200, "faiss flat", search("others"), 10_000 / 60_000 * 50_000 / 60_000, 1.2),
    ("retrieval", 60000, 1000, "PML and faiss", measures, 0.5, 3),
]


def main():
    ours = Ours()
    peak = statistics.median(ours.run("sgemm", 2048, 1)["value"] for _ in range(9))
    rows = []
    only = sys.argv[1:]
    for what, n, classes, peer, prepare, products, goal in CASES:
        if only and what not in only:
            continue
        runs = RUNS if n < 60000 else 3
        run_peer = prepare(n, classes) if prepare else None
        # Peers that take half a minute a run are timed once.
        first = run_peer() if run_peer else None
        ours.run(what, n, classes)
        times, peers, extra = [], [], 0
        for _ in range(runs):
            answer = ours.run(what, n, classes)
            times.append(answer["ms"])
            extra = max(extra, answer["extra_bytes"])
            if run_peer and first < 10_000:
                peers.append(run_peer())
        mine, theirs = statistics.median(times), statistics.median(peers) if peers else first
        share = products * 2 * n * n * D / (mine / 1e3) / 1e9 / peak
        ratio = theirs / mine if theirs else None
        rows.append((what, n, classes, mine, peer, theirs, ratio, goal, extra / 2**20, share))
        print(json.dumps(dict(what=what, n=n, ms=mine, peer=peer, peer_ms=theirs, ratio=ratio, goal=goal, extra_mib=extra / 2**20, share=share)), flush=True)
    if not only:
        tiles = [[ours.run(what, 1, 1)["value"] for what in ("f32_tile", "bf16_tile")] for _ in range(9)]
        write(rows, peak, [statistics.median(rates) for rates in zip(*tiles)])


def of_bf16(rows, single, half):
    if not single:
        return "There is no bf16 path: the processor has no products of bf16 with sums in f32."
    knn = next(row for row in rows if row[0] == "knn")
    products, seconds = 60_000**2 * D / (2 * single * 1e9), knn[3] / 1e3
    gain = seconds / (seconds - products * (1 - single / half))
    return (
        f"**bf16** is left out. One core multiplies a tile of 16 × 16 in registers at {single:.0f} billion operations a second in\n"
        f"f32 and at {half:.0f} in bf16 with sums in f32, {half / single:.2f} times as fast. Of `knn`'s {seconds:.1f} s, {products:.1f} are\n"
        f"products; were they all in bf16, it would be {gain:.2f} times as fast, for scores of eight bits that must be taken again in f32."
    )


def write(rows, peak, tiles):
    processor = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.processor())
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "pytorch-metric-learning", "lightly", "faiss-cpu"))
    text = [
        "# The sweep beside its peers",
        "",
        "Made by `python bench/sweep.py`: random unit vectors, D = 128, forward and backward, two threads on both sides, medians",
        f"of {RUNS} runs in turns (3 from N = 60,000 on; once for peers that need more than ten seconds).",
        "",
        f"{processor}, {os.cpu_count()} cores; square products of 2,048 at {peak:.0f} billion operations a second. {packages}.",
        "",
        "| what | N | classes or k | ours, ms | peer | peer, ms | ratio | goal | memory beyond input and result, MiB | share of the product's rate |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    number = lambda x, form: "" if x is None else format(x, form)
    for what, n, classes, mine, peer, theirs, ratio, goal, extra, share in rows:
        theirs = "cannot run" if theirs is None else format(theirs, ",.1f")
        text.append(
            f"| {what} | {n:,} | {classes:,} | {mine:,.1f} | {peer} | {theirs} | {number(ratio, ',.1f')} "
            f"| {number(goal, 'g')} | {extra:,.1f} | {share:.0%} |"
        )
    text += [
        "",
        "`knn` searches the N vectors among themselves; `knn_between` a sixth of them among the others (10,000 among 50,000);",
        "`retrieval` is precision@1, R-precision and MAP@R of all N among themselves in one pass, with classes of equal size.",
        "The last column is the operations of the products that a case cannot do without, over its time, as a part of the rate above.",
        "",
        of_bf16(rows, *tiles),
        "",
    ]
    short = [f"`{row[0]}` at N = {row[1]:,}, {row[6]:.1f} for {row[7]}" for row in rows if row[7] and row[6] < row[7]]
    if short:
        text += ["Short of the goal in this run: " + "; ".join(short) + ".", ""]
    (ROOT / "docs/results/sweep.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()
