"""Recall and speed of indexes of 100,000 vectors of 128 values, exact and HNSW, as f32, f16 and i8.

    python bench/recall.py data FOLDER --images DATA   # vectors and indexes; half an hour, no timing
    python bench/recall.py measure FOLDER              # the tables of docs/results/index-recall.md

DATA holds `mnist/` and `fashion-mnist/` as they are published. Needs `nearkin` and the example `recall` of nearkin-index, both
built with `cargo build --release`, and no package of Python's.
"""

import argparse
import array
import gzip
import os
import random
import subprocess
from pathlib import Path

ROWS, QUERIES, DIM = 100_000, 1_000, 128
SETS = {"pixels": "euclidean", "clusters": "cosine", "random": "cosine"}
INDEXES = [("exact", "f32"), ("exact", "f16"), ("exact", "i8"), ("hnsw", "f32")]


def write(path, rows, width):
    """Rows of f32 as .npy."""
    values = array.array("f")
    for row in rows:
        values.extend(row)
    shape = (len(values) // width, width)
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    head = head.ljust(117) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode())
        values.tofile(file)


def images(path, count):
    data = gzip.open(path).read()[16:]
    return (data[i * 784 : (i + 1) * 784] for i in range(count))


def gaussian(generator, count):
    return ([generator.gauss(0, 1) for _ in range(DIM)] for _ in range(count))


def clustered(generator, centres, count):
    for _ in range(count):
        centre = generator.choice(centres)
        yield [x + generator.gauss(0, 0.5) for x in centre]


def vectors(folder, data, nearkin):
    generator = random.Random(1)
    write(folder / "random.npy", gaussian(generator, ROWS), DIM)
    write(folder / "random-queries.npy", gaussian(generator, QUERIES), DIM)
    centres = list(gaussian(generator, 1_000))
    write(folder / "clusters.npy", clustered(generator, centres, ROWS), DIM)
    write(folder / "clusters-queries.npy", clustered(generator, centres, QUERIES), DIM)
    # 60,000 digits and 40,000 pieces of clothing, by the 128 directions in which they differ most.
    for name, part, counts in [("pixels", "train", (60_000, 40_000)), ("pixels-queries", "t10k", (500, 500))]:
        files = [data / which / f"{part}-images-idx3-ubyte.gz" for which in ("mnist", "fashion-mnist")]
        both = [image for file, count in zip(files, counts) for image in images(file, count)]
        write(folder / f"{name}.raw.npy", both, 784)
    raw, model = folder / "pixels.raw.npy", folder / "pca"
    run(nearkin, "fit", "pca", "--data", raw, "--out", model, "--dims", DIM, "--scale", "none")
    for name in ("pixels", "pixels-queries"):
        run(nearkin, "embed", model, "--data", folder / f"{name}.raw.npy", "--out", folder / f"{name}.npy")


def run(*command):
    subprocess.run([str(word) for word in command], check=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["data", "measure"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=Path, default=Path("data"))
    args = parser.parse_args()
    built = Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "release"
    folder, nearkin = args.folder, built / "nearkin"
    if args.what == "data":
        folder.mkdir(parents=True, exist_ok=True)
        vectors(folder, args.images, nearkin)
    for name, metric in SETS.items():
        indexes = [folder / f"{name}-{kind}-{storage}.index" for kind, storage in INDEXES]
        if args.what == "data":
            for (kind, storage), out in zip(INDEXES, indexes):
                run(nearkin, "index", folder / f"{name}.npy", "--out", out, "--metric", metric, "--kind", kind, "--storage", storage)
        else:
            print(f"\n## {name}, {metric}\n", flush=True)
            run(built / "examples" / "recall", folder / f"{name}-queries.npy", indexes[0], *indexes)


if __name__ == "__main__":
    main()
