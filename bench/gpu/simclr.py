"""SimCLR with ResNet-18 on CIFAR-10 on one GPU: ours beside PyTorch with lightly, plain and compiled.

    cargo build --release --features cuda                        # elsewhere, if need be: this script builds nothing
    python bench/gpu/simclr.py path/to/nearkin path/to/cifar10   # writes docs/results/gpu.md

The folder holds CIFAR-10's binary batches. Batch 512, two views a sample, both sides in f32 and in bf16 (PyTorch by autocast, ours
with --precision). PyTorch makes views in processes of lightly's loader; ours are made on the GPU, from images that stay there. Images
a second count samples, after WARM steps. Runs take turns; a figure is the median of RUNS.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

RUNS, BATCH, WARM, STEPS, WORKERS = 3, 512, 10, 60, max(2, (os.cpu_count() or 2) - 2)
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RECIPE = f"""
epochs = 1
size = 32
channels = 3
embedding = 0

[method]
kind = "simclr"
batch = {BATCH}
temperature = 0.5
hidden = 512
projection = 128

[encoder]
kind = "resnet18"

# lightly's views for CIFAR-10, without blur.
[views]
flip = 0.5
grey = 0.2
crop = {{ kind = "random-resized", scale = [0.08, 1.0] }}
jitter = {{ brightness = 0.8, contrast = 0.8, saturation = 0.8, hue = 0.2, probability = 0.8 }}
normalize = {{ mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }}

[optimizer]
kind = "sgd"
lr = 0.06
momentum = 0.9
weight-decay = 5e-4
"""


def peer(folder, compiled, half):
    """One run of the peer, in a process of its own."""
    import numpy as np
    import torch
    import torchvision
    from lightly.loss import NTXentLoss
    from lightly.transforms import SimCLRTransform
    from PIL import Image
    from torch import nn

    rows = np.concatenate([np.fromfile(p, np.uint8) for p in sorted(pathlib.Path(folder).glob("data_batch_*.bin"))])
    rows = rows.reshape(-1, 3073)[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)

    class Cifar(torch.utils.data.Dataset):
        transform = SimCLRTransform(input_size=32, gaussian_blur=0.0)

        def __len__(self):
            return (WARM + STEPS + 2) * BATCH

        def __getitem__(self, i):
            return self.transform(Image.fromarray(rows[i % len(rows)]))

    net = torchvision.models.resnet18()
    net.conv1, net.maxpool, net.fc = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity(), nn.Identity()
    model = nn.Sequential(net, nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 128)).cuda().to(memory_format=torch.channels_last)
    run = torch.compile(model) if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)
    loss_of, start = NTXentLoss(0.5), None
    loader = torch.utils.data.DataLoader(Cifar(), BATCH, shuffle=True, num_workers=WORKERS, drop_last=True, pin_memory=True)
    for i, (a, b) in enumerate(loader):
        if i == WARM:
            torch.cuda.synchronize()
            start = time.perf_counter()
        if i == WARM + STEPS:
            break
        x = torch.cat([a, b]).cuda(non_blocking=True).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=half):
            z = run(x)
        loss = loss_of(z[:BATCH].float(), z[BATCH:].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.cuda.synchronize()
    print(json.dumps(dict(images_per_s=STEPS * BATCH / (time.perf_counter() - start))))


def ours(nearkin, folder, precision):
    """Images a second of one epoch, from the report after WARM steps or later to the last."""
    with tempfile.TemporaryDirectory() as scratch:
        recipe, out = pathlib.Path(scratch, "recipe.toml"), pathlib.Path(scratch, "run")
        recipe.write_text(RECIPE)
        command = [nearkin, "train", "--json", "--device", "cuda", "--precision", precision]
        command += ["--data", f"{folder}#train", "--recipe", recipe, "--out", out]
        # A report says at what rate the steps since the last one went, and has waited for the GPU to say so.
        lines = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout.splitlines()
    steps = [e["step"] for e in map(json.loads, lines) if e["event"] == "step"]
    views, seconds = 0, 0.0
    for before, step in zip(steps, steps[1:]):
        if before["step"] >= WARM:
            done = (step["step"] - before["step"]) * BATCH * 2
            views, seconds = views + done, seconds + done / step["images_per_second"]
    return views / seconds / 2


def watched(run):
    """What `run` returns, and how busy the GPU was on average, in percent."""
    busy, done = [], threading.Event()

    def watch():
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not done.wait(0.5):
            busy.append(float(subprocess.run(query, capture_output=True, text=True).stdout.splitlines()[0]))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        found = run()
    finally:
        done.set()
        thread.join()
    return found, statistics.mean(busy) if busy else float("nan")


def main(nearkin, folder):
    def of_peer(*arguments):
        command = [sys.executable, __file__, "--peer", folder, *arguments]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["images_per_s"]

    contenders = {
        "nearkin, f32": lambda: ours(nearkin, folder, "f32"),
        "nearkin, bf16": lambda: ours(nearkin, folder, "bf16"),
        "PyTorch + lightly, f32": of_peer,
        "PyTorch + lightly, bf16": lambda: of_peer("bf16"),
        "PyTorch + lightly, bf16, compiled": lambda: of_peer("bf16", "compiled"),
    }
    found = {name: [] for name in contenders}
    for _ in range(RUNS):
        for name, run in contenders.items():
            found[name].append(watched(run))
            print(name, found[name][-1], flush=True)
    card = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True).stdout.strip()
    base = statistics.median(rate for rate, _ in found["PyTorch + lightly, bf16"])
    text = [
        "# SimCLR on a GPU beside PyTorch",
        "",
        f"From `python bench/gpu/simclr.py`: ResNet-18 with a small stem, CIFAR-10 from disk, batch {BATCH}, medians of {RUNS} runs in turns.",
        f"{card}, {os.cpu_count()} CPU cores.",
        "",
        "| what | images/s | of PyTorch's in bf16 | GPU busy |",
        "|---|---|---|---|",
    ]
    for name, runs in found.items():
        rate, busy = statistics.median(r for r, _ in runs), statistics.mean(b for _, b in runs)
        text.append(f"| {name} | {rate:,.0f} | {rate / base:.2f} | {busy:.0f} % |")
    (ROOT / "docs/results/gpu.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "--peer":
        peer(sys.argv[2], "compiled" in sys.argv[3:], "bf16" in sys.argv[3:])
    else:
        main(*sys.argv[1:])
