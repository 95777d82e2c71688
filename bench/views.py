"""SimCLR's views beside torchvision and lightly, on one core, in the same minutes.

    pip install torch==2.15.0 torchvision lightly==1.5.26
    python bench/views.py               # builds our half, runs all three in turns, writes docs/results/views.md

A view is SimCLR's of strength 1: a part of random area and shape, mirrored, its colours changed, perhaps grey; from 400 to 224 pixels
also blurred. Pictures are in memory, one process, one thread. A figure is the median of RUNS runs, each in a process of its own.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from importlib.metadata import version

RUNS = 5
ROOT = pathlib.Path(__file__).resolve().parent.parent
NEARKIN = ROOT / "target/release/nearkin"
# Side of the view, side of the picture, views, and how many times as fast as each peer is wanted.
CASES = [(32, 32, 4000, {"torchvision": 20, "lightly": 20}), (224, 400, 200, {"lightly": 6})]


def peer(name, size, source, views):
    """Views a second, as a user of the peer would make them."""
    import numpy as np
    import torch
    import torchvision.transforms as T
    from lightly.transforms import SimCLRTransform
    from PIL import Image

    torch.set_num_threads(1)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (source, source, 3), dtype=np.uint8))
    if name == "torchvision":
        steps = [T.RandomResizedCrop(size), T.RandomHorizontalFlip()]
        steps += [T.RandomApply([T.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8), T.RandomGrayscale(0.2)]
        if size > 32:
            steps.append(T.RandomApply([T.GaussianBlur(23)], p=0.5))
        transform, made = T.Compose(steps + [T.ToTensor(), T.Normalize([0.5] * 3, [0.5] * 3)]), 1
    else:
        transform, made = SimCLRTransform(input_size=size, gaussian_blur=0.5 if size > 32 else 0.0), 2
    start = time.perf_counter()
    for _ in range(views // made):
        transform(image)
    print(views / (time.perf_counter() - start))


def answer(command):
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True, env=environment).stdout


def main():
    subprocess.run(["cargo", "build", "--release", "--package", "nearkin"], cwd=ROOT, check=True)
    found = {(size, name): [] for size, _, _, goals in CASES for name in ("nearkin", "torchvision", "lightly")}
    for _ in range(RUNS):
        lines = answer([NEARKIN, "bench", "--only", "views", "--json", "--threads", 1]).splitlines()
        ours = [json.loads(line) for line in lines if line.startswith("{")]
        for size, source, views, _ in CASES:
            found[size, "nearkin"].append(next(m["per_second"] for m in ours if f" {source} to {size} " in m["case"]))
            for name in ("torchvision", "lightly"):
                found[size, name].append(float(answer([sys.executable, __file__, name, size, source, views])))
    processor = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "")
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "torchvision", "lightly", "pillow"))
    text = [
        "# Views beside torchvision and lightly",
        "",
        f"From `python bench/views.py`: one process, one thread, pictures in memory, medians of {RUNS} runs in turns. {processor}, shared",
        f"and noisy. {packages}.",
        "",
        "| SimCLR's views a second | nearkin | torchvision | lightly | times torchvision | times lightly | wanted |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for size, source, _, goals in CASES:
        ours, vision, lightly = (statistics.median(found[size, name]) for name in ("nearkin", "torchvision", "lightly"))
        wanted = ", ".join(f"{goal} × {name}" for name, goal in goals.items())
        what = f"{source} to {size} pixels" + (", blurred half of the time" if size > 32 else "")
        text.append(f"| {what} | {ours:,.0f} | {vision:,.0f} | {lightly:,.0f} | {ours / vision:.1f} | {ours / lightly:.1f} | {wanted} |")
    text += [
        "",
        "A view: a part of random area and shape, mirrored, brightness, contrast, saturation and hue changed in random order by Pillow's",
        "rules, perhaps grey, as numbers in planes. Ours on 32 pixels are blurred half of the time as well, those of the peers are not.",
        "",
    ]
    (ROOT / "docs/results/views.md").write_text("\n".join(text))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        peer(sys.argv[1], *map(int, sys.argv[2:]))
    else:
        main()
