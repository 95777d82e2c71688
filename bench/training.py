"""Training steps and SimCLR from disk beside PyTorch, in turns, in the same minutes.

    pip install torch==2.15.0 torchvision lightly==1.5.26
    python bench/training.py path/to/cifar10    # builds our half, runs both, writes docs/results/training.md

The folder holds CIFAR-10's binary batches. f32, 2 threads on both sides, PyTorch with channels last. A step is forward, backward
and SGD with momentum; a run's figure is the median of at least five, for at least a second, after one to warm up. A figure of the page is
the median of RUNS runs, ours and the peer's one after the other, each in a process of its own.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version

THREADS, RUNS = 2, 5
ROOT = pathlib.Path(__file__).resolve().parent.parent
NEARKIN = ROOT / "target/release/nearkin"

# As `nearkin bench` names them, and the peer's encoder, channels, side and batch.
STEPS = [
    ("step of small-conv (width 32), 160 images of 28 pixels", ("small", 1, 28, 160), 0.8),
    ("step of small-conv (width 32), 512 images of 32 pixels", ("small", 3, 32, 512), 0.8),
    ("step of resnet18 (small stem), 64 images of 32 pixels", ("resnet18", 3, 32, 64), 1.15),
]
RECIPE = """
epochs = 1
size = 32
channels = 3
embedding = 0

[method]
kind = "simclr"
batch = 64
temperature = 0.5
hidden = 512
projection = 128

[encoder]
kind = "{encoder}"

[optimizer]
kind = "sgd"
lr = 0.06
momentum = 0.9
weight-decay = 5e-4
"""


def peer_net(name, channels):
    import torchvision
    from torch import nn

    if name == "resnet18":
        net = torchvision.models.resnet18(num_classes=128)
        net.conv1, net.maxpool = nn.Conv2d(channels, 64, 3, 1, 1, bias=False), nn.Identity()
        return net
    stages, inputs = [], channels
    for stage, outputs in enumerate((32, 64, 128, 256)):
        stages += [nn.Conv2d(inputs, outputs, 3, 1 if stage == 0 else 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)]
        inputs = outputs
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 128))


def peer_step(name, channels, side, batch, precision="f32"):
    import torch

    torch.set_num_threads(THREADS)
    net = peer_net(name, int(channels)).to(memory_format=torch.channels_last)
    x = torch.randn(int(batch), int(channels), int(side), int(side)).contiguous(memory_format=torch.channels_last)
    opt = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    times = []
    while len(times) < 6 or sum(times[1:]) < 1e3:
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            z = net(x)
        loss = z.float().square().mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        times.append((time.perf_counter() - start) * 1e3)
    print(json.dumps(dict(ms=statistics.median(times[1:]))))


def peer_simclr(folder, name, steps):
    """SimCLR with lightly's transform, as a user would write it."""
    import numpy as np
    import torch
    from lightly.loss import NTXentLoss
    from lightly.transforms import SimCLRTransform
    from PIL import Image
    from torch import nn

    torch.set_num_threads(THREADS)
    steps, batch = int(steps), 64
    rows = np.frombuffer((pathlib.Path(folder) / "data_batch_1.bin").read_bytes(), np.uint8)
    rows = rows.reshape(-1, 3073)[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)

    class Cifar(torch.utils.data.Dataset):
        transform = SimCLRTransform(input_size=32, gaussian_blur=0.0)

        def __len__(self):
            return (steps + 4) * batch

        def __getitem__(self, i):
            return self.transform(Image.fromarray(rows[i % len(rows)]))

    net = peer_net(name, 3)
    if name == "resnet18":
        features, net.fc = 512, nn.Identity()
    else:
        features, net = 256, net[:-1]
    head = nn.Sequential(nn.Linear(features, 512), nn.ReLU(), nn.Linear(512, 128))
    model = nn.Sequential(net, head).to(memory_format=torch.channels_last)
    opt = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)
    loss_of, start = NTXentLoss(0.5), None
    for i, (a, b) in enumerate(torch.utils.data.DataLoader(Cifar(), batch, shuffle=True, num_workers=THREADS, drop_last=True)):
        if i == 2:
            start = time.perf_counter()
        if i == steps + 2:
            break
        z = model(torch.cat([a, b]).to(memory_format=torch.channels_last))
        loss = loss_of(z[:batch], z[batch:])
        opt.zero_grad()
        loss.backward()
        opt.step()
    print(json.dumps(dict(images_per_s=steps * batch / (time.perf_counter() - start))))


def measured(command):
    """A command's last line of JSON, and the most memory that it held, in MiB."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(THREADS))
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        out.seek(0)
        lines = out.read().decode().splitlines()
    if status != 0:
        sys.exit(f"failed: {command}")
    return [json.loads(line) for line in lines if line.startswith("{")], usage.ru_maxrss / 1024


def me(*arguments):
    return measured([sys.executable, __file__, *map(str, arguments)])


def our_simclr(folder, encoder, images):
    """Trains for one epoch on so many images; the pace is that of the run's own log, without its first steps."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        (scratch / "recipe.toml").write_text(RECIPE.format(encoder=encoder))
        data = scratch / "cifar"
        data.mkdir()
        batch = (pathlib.Path(folder) / "data_batch_1.bin").read_bytes()
        (data / "data_batch_1.bin").write_bytes(batch[: images * 3073])
        (data / "batches.meta.txt").write_text((pathlib.Path(folder) / "batches.meta.txt").read_text())
        command = [NEARKIN, "train", "--json", "--threads", str(THREADS), "--data", data, "--recipe", scratch / "recipe.toml", "--out", scratch / "run"]
        events, memory = measured([str(c) for c in command])
    return events, memory


def pace(events, images):
    """Images a second over the whole epoch, its first steps included."""
    return images / next(e["epoch"]["seconds"] for e in events if e["event"] == "epoch")


def build():
    subprocess.run(["cargo", "build", "--release", "--package", "nearkin"], cwd=ROOT, check=True)


def main(folder):
    build()
    rows = []
    ours, theirs, theirs_in_bf16 = [[] for _ in STEPS], [[] for _ in STEPS], [[] for _ in STEPS]
    for _ in range(RUNS):
        found, _ = measured([str(NEARKIN), "bench", "--only", "step", "--json", "--threads", str(THREADS)])
        for i, (case, peer, _) in enumerate(STEPS):
            ours[i].append(next(m["ms"] for m in found if m["case"] == case))
            [answer], _ = me("step", *peer)
            theirs[i].append(answer["ms"])
            if has_bf16():
                [answer], _ = me("step", *peer, "bf16")
                theirs_in_bf16[i].append(answer["ms"])
    for (case, _, goal), ours, theirs in zip(STEPS, ours, theirs):
        rows.append((case, statistics.median(ours), statistics.median(theirs), "ms", goal))
        print(rows[-1], flush=True)
    for encoder, name, images, steps in (("small-conv", "small", 6400, 40), ("resnet18", "resnet18", 512, 6)):
        ours, theirs, memory, their_memory = [], [], [], []
        for _ in range(RUNS):
            events, used = our_simclr(folder, encoder, images)
            ours.append(pace(events, images))
            memory.append(used)
            [answer], used = me("simclr", folder, name, steps)
            theirs.append(answer["images_per_s"])
            their_memory.append(used)
        rows.append((f"SimCLR with {encoder}, CIFAR-10 from disk, batch 64", statistics.median(ours), statistics.median(theirs), "images/s", 1.2))
        rows.append(("the same, most memory held", statistics.median(memory), statistics.median(their_memory), "MiB", 1.0))
        print(rows[-2], rows[-1], flush=True)
    write(rows, [(case, statistics.median(ms)) for (case, *_), ms in zip(STEPS, theirs_in_bf16) if ms])


def has_bf16():
    """Whether the processor multiplies bf16 with sums in f32: where it does not, autocast only measures conversions."""
    flags = next((line.split() for line in open("/proc/cpuinfo") if line.startswith("flags")), [])
    return bool({"avx512_bf16", "amx_bf16"} & set(flags))


def write(rows, in_bf16):
    processor = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "")
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "torchvision", "lightly"))
    text = [
        "# Training beside PyTorch",
        "",
        f"From `python bench/training.py`: f32, {THREADS} threads on both sides, PyTorch with channels last, medians of {RUNS} runs in turns, each in a",
        f"process of its own. {processor}, {os.cpu_count()} cores, shared and noisy. {packages}.",
        "",
        "| what | ours | PyTorch | ratio | goal |",
        "|---|---|---|---|---|",
    ]
    for what, ours, theirs, unit, goal in rows:
        bound = "at least" if unit == "images/s" else "at most"
        text.append(f"| {what} | {ours:,.1f} {unit} | {theirs:,.1f} {unit} | {ours / theirs:.2f} | {bound} {goal} |")
    text += [
        "",
        "A step is forward, the mean square of the embeddings, backward, and SGD with momentum. SimCLR is the whole way from the",
        "images on disk: lightly's views and loss there, ours here, the same net, head and optimiser. The memory is that of the process",
        "(PyTorch's loader adds two more processes, which are not counted).",
        "",
    ]
    if in_bf16:
        steps = "; ".join(f"{case}: {ms:,.0f} ms" for case, ms in in_bf16)
        text += [f"PyTorch's steps under bf16 autocast, in the same turns: {steps}.", ""]
    (ROOT / "docs/results/training.md").write_text("\n".join(text))


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    {"step": peer_step, "simclr": peer_simclr}.get(what, main)(*(arguments if what in ("step", "simclr") else [what]))
