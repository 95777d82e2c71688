"""Exported encoders beside nearkin itself: every encoder in ONNX Runtime, ResNets in torchvision, ResNets and the transformer in timm.

    pip install onnx onnxruntime numpy pillow torch torchvision timm safetensors
    python bench/exporting.py                # builds nearkin, trains and exports every encoder, writes docs/results/onnx.md

Each encoder is trained for an epoch, so that its running statistics are some of its own, twice: by batch hard with the Euclidean distance
and no embedding layer, and by SupCon with the cosine and one of 16 values; CPC's by CPC. Then both sides embed the same files.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import wave
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime
import safetensors.torch
import timm
import torch
import torchvision
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
NEARKIN = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "target/release/nearkin"
WANTED = 1e-4
CLASSES, EACH, SIDE, CHANNELS = 4, 24, 32, 2
METHODS = {
    "batch-hard": 'kind = "batch-hard"\nclasses = 4\nper-class = 6\nmargin = { hinge = 0.3 }',
    "supcon": 'kind = "supcon"\nclasses = 4\nper-class = 6',
    "cpc": 'kind = "cpc"\nbatch = 8\nahead = 3',
}
IMAGES = {
    "small-conv": 'kind = "small-conv"\nwidth = 16',
    "le-net (LeNet, DrLIM's)": 'kind = "le-net"',
    "mlp": 'kind = "mlp"\nhidden = [64, 20]',
    "lu-net": 'kind = "lu-net"\nwidth = 16',
    "inception, batch norm": 'kind = "inception"\nwidth = 8',
    "inception nn2, as published": 'kind = "inception"\nlayout = "nn2"\nwidth = 8\nstem = "large"\nbatch-norm = false',
    "resnet18, small stem": 'kind = "resnet18"',
    "resnet18, large stem": 'kind = "resnet18"\nstem = "large"',
    "resnet34, large stem": 'kind = "resnet34"\nstem = "large"',
    "resnet50, large stem": 'kind = "resnet50"\nstem = "large"',
    "vit": 'kind = "vit"',
}
SIGNALS = {
    "cpc-audio, GRU": ("sounds", 'kind = "cpc-audio"\nwidth = 32\ncontext = { kind = "gru", width = 48 }', "cpc"),
    "cpc-audio, batch norm": ("sounds", 'kind = "cpc-audio"\nwidth = 32\nbatch-norm = true', None),
    "series": ("series.ts", 'kind = "series"\nwidth = 32', None),
    "series, GRU": ("series.ts", 'kind = "series"\nwidth = 32\ncontext = { kind = "gru", width = 48 }', None),
    "series, causal transformer": ("series.ts", 'kind = "series"\nwidth = 32\ncontext = { kind = "causal-transformer" }', None),
}


def write_data(folder, rng):
    """Pictures of the encoders' size, larger ones, sounds and series, each class with a colour or pitch of its own."""
    for name, side in [("pictures", (SIDE, SIDE)), ("photos", (97, 70))]:
        for label in range(CLASSES):
            (folder / name / str(label)).mkdir(parents=True)
            for i in range(EACH):
                small = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
                small[..., label % 3] = 40 + 50 * label
                picture = Image.fromarray(small).resize(side, Image.Resampling.BICUBIC)
                picture.save(folder / name / str(label) / f"{i:03}.png")
    lines = ["@univariate false", "@dimensions 2", "@equalLength false", "@classLabel true 0 1 2 3", "@data"]
    for label in range(CLASSES):
        (folder / "sounds" / str(label)).mkdir(parents=True)
        for i in range(EACH):
            time = np.arange(1700 + 40 * i) / 8000
            tone = np.sin(2 * np.pi * (200 + 150 * label) * time + i) + 0.3 * rng.standard_normal(len(time))
            with wave.open(str(folder / "sounds" / str(label) / f"{i:03}.wav"), "wb") as file:
                file.setparams((1, 2, 8000, 0, "NONE", ""))
                file.writeframes((6000 * tone).astype("<i2").tobytes())
            steps = 90 + 7 * (i % 5)
            values = rng.standard_normal((CHANNELS, steps)).cumsum(axis=1) + 10 * label
            lines.append(":".join(",".join(f"{v:.5f}" for v in channel) for channel in values) + f":{label}")
    (folder / "series.ts").write_text("\n".join(lines) + "\n")


def read_series(path):
    rows = [line for line in path.read_text().splitlines() if not line.startswith("@")]
    channels = [[np.array(c.split(","), np.float32) for c in row.split(":")[:-1]] for row in rows]
    return [np.stack(row) for row in channels]


def read_sound(path):
    with wave.open(str(path)) as file:
        return (np.frombuffer(file.readframes(file.getnframes()), "<i2") / np.float32(32768))[None]


def prepared(path, size):
    """A picture as the graph takes it: what the file's metadata says under `crop`."""
    image = Image.open(path).convert("RGB")
    short = min(image.size)
    if 2 * short > 3 * size:
        scale = 1.5 * size / short
        image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BILINEAR)
    short = min(image.size)
    side = short * size / max(size, round(min(short, size * 8 / 7)))
    left, top = [(whole - side) / 2 for whole in image.size]
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box))


def run(*arguments):
    subprocess.run([str(NEARKIN), "--quiet", *map(str, arguments)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def train(folder, data, encoder, method, embedding, name):
    recipe = f"seed = 3\nepochs = 1\nhold-out = 0.0\n{embedding}\n[method]\n{METHODS[method]}\n[encoder]\n{encoder}\n"
    if data == "sounds":
        recipe += "[signal]\nlength = 1600\n"
    (folder / "recipe.toml").write_text(recipe)
    run("train", "--data", folder / data, "--recipe", folder / "recipe.toml", "--out", folder / name)
    run("export", folder / name, "--out", folder / f"{name}.onnx")
    run("export", folder / name, "--out", folder / f"{name}.safetensors")


def embedded(folder, model, data):
    """Vectors of nearkin, and the file of each sample."""
    out = folder / "vectors.npy"
    run("embed", folder / model, "--data", folder / data, "--out", out)
    beside = json.loads(pathlib.Path(f"{out}.json").read_text())
    return np.load(out), beside.get("paths")


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def difference(found, wanted):
    """The largest, of values beyond 1 in parts of the largest value."""
    return float(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max()))


def session(path):
    onnx.checker.check_model(str(path), full_check=True)
    made = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return made, made.get_modelmeta().custom_metadata_map


def compare(folder, data, name):
    """What ONNX Runtime makes of the samples beside nearkin: the difference and the metadata."""
    wanted, paths = embedded(folder, name, data)
    graph, said = session(folder / f"{name}.onnx")
    if said["normalized"] == "true":
        wanted = unit(wanted)
    if said["media"] == "images":
        found = graph.run(None, {"image": np.stack([prepared(path, SIDE) for path in paths])})[0]
        one = graph.run(None, {"image": prepared(paths[0], SIDE)[None]})[0]
        assert difference(one, found[:1]) < WANTED, "one picture at a time"
    else:
        signals = read_series(folder / data) if data.endswith(".ts") else [read_sound(path) for path in paths]
        found = np.concatenate([graph.run(None, {"signal": signal[None]})[0] for signal in signals])
    assert found.shape == wanted.shape == (CLASSES * EACH, int(said["dimension"]))
    assert np.ptp(wanted, axis=0).max() > 100 * WANTED, "vectors that are all the same show nothing"
    return difference(found, wanted), said


def of_torch(folder, data, name, network, said, strict=True):
    """The same of a PyTorch network that takes the exported weights by their names."""
    network.load_state_dict(safetensors.torch.load_file(folder / f"{name}.safetensors"), strict=strict)
    wanted, paths = embedded(folder, name, data)
    pixels = np.stack([prepared(path, SIDE) for path in paths]).astype(np.float32) / 255
    pixels = (pixels - np.float32(json.loads(said["mean"]))) / np.float32(json.loads(said["std"]))
    with torch.no_grad():
        found = network.eval()(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())).numpy()
    return difference(found, wanted)


def peers(encoder, dimension):
    """Networks of other libraries with the same layers, by the library."""
    kind = encoder.split(",")[0]
    if kind == "vit":
        sizes = dict(img_size=SIDE, patch_size=4, embed_dim=96, depth=4, num_heads=3)
        pooling = dict(class_token=False, global_pool="avg", fc_norm=False)
        return {"timm": timm.create_model("vit_tiny_patch16_224", num_classes=dimension, **sizes, **pooling)}
    if not kind.startswith("resnet"):
        return {}
    made = {"torchvision": torchvision.models.get_model(kind, num_classes=dimension), "timm": timm.create_model(kind, num_classes=dimension)}
    if encoder.endswith("small stem"):
        for network in made.values():
            network.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
            network.maxpool = torch.nn.Identity()
    return made


def main():
    if len(sys.argv) == 1:
        subprocess.run(["cargo", "build", "--release", "--package", "nearkin"], cwd=ROOT, check=True)
    rows, torch_rows, worst = [], [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_data(folder, np.random.default_rng(1))
        cases = [(name, ("pictures", encoder, None)) for name, encoder in IMAGES.items()] + list(SIGNALS.items())
        for number, (encoder, (data, settings, own)) in enumerate(cases):
            for method, embedding in [("batch-hard", "embedding = 0"), (own or "supcon", "embedding = 16")]:
                name = f"run{number}-{method}"
                train(folder, data, settings, method, embedding, name)
                found, said = compare(folder, data, name)
                worst = max(worst, found)
                layer = "none" if embedding.endswith(" 0") else "16 values"
                size = (folder / f"{name}.onnx").stat().st_size / 1e6
                rows.append(f"| {encoder} | {layer} | {said['metric']} | {said['dimension']} | {size:.2f} | {found:.1e} |")
                print(rows[-1], flush=True)
                if layer == "none":
                    continue
                for library, network in peers(encoder, 16).items():
                    found = of_torch(folder, data, name, network, said)
                    worst = max(worst, found)
                    torch_rows.append(f"| {encoder} | {library} | {found:.1e} |")
                    print(torch_rows[-1], flush=True)
        resized = [compare(folder, "photos", f"run{list(IMAGES).index(encoder)}-supcon")[0] for encoder in ("small-conv", "vit")]
    lines = [
        "# Exported encoders beside nearkin",
        "",
        "From `python bench/exporting.py`: each encoder trained for an epoch, exported, and run beside `nearkin embed` on the same "
        f"{CLASSES * EACH} files.",
        "A difference is the largest of any value of any vector, of values beyond 1 in parts of the largest; vectors of the cosine have "
        "unit length on",
        "both sides. " + ", ".join(f"{package} {version(package)}" for package in ("onnx", "onnxruntime", "torch", "torchvision", "timm")) + ".",
        "",
        "## ONNX Runtime",
        "",
        "| encoder | embedding layer | metric | dimension | MB | largest difference |",
        "|---|---|---|---:|---:|---:|",
        *rows,
        "",
        f"Wanted: below {WANTED:.0e}. Pictures are {SIDE} × {SIDE}, sounds have 1,700 to 2,620 steps at 8 kHz, series of two channels 90 to 118.",
        "Every file passes ONNX's own checker.",
        "",
        "Pictures of 97 × 70 pixels, cut and scaled by Pillow as [the guide](../guides/exporting.md) does it: "
        f"{resized[0]:.1e} (small-conv) and {resized[1]:.1e} (vit).",
        "Pillow's resampling is not nearkin's to the bit; so these are not held to the bound.",
        "",
        "## PyTorch",
        "",
        "Weights loaded with `load_state_dict(…, strict=True)`; the embedding layer is the network's own last layer.",
        "",
        "| encoder | library | largest difference |",
        "|---|---|---:|",
        *torch_rows,
        "",
    ]
    (ROOT / "docs/results/onnx.md").write_text("\n".join(lines))
    print(f"largest difference {worst:.1e}")
    if not worst < WANTED:
        sys.exit("FAILED: a difference is too large")


if __name__ == "__main__":
    main()
