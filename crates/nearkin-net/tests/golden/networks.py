"""Writes networks.toml: outputs and gradients of the crate's networks as PyTorch computes them.

Made with torch 2.15.0 in double precision. Run it with no arguments. Weights, inputs and the loss follow from formulas that
tests/networks.rs has too: value i of a tensor is a function of i, the tensor's name and its shape; the loss is the sum of the
output times such values. Of a gradient the file holds its inner product with such values, one number a tensor.
"""

import math
import pathlib

import torch
from torch import nn
from torch.nn import functional as F

torch.set_default_dtype(torch.float64)


def noise(name, count):
    """Values in [-0.5, 0.5), the same in Rust."""
    start = sum((i + 1) * byte for i, byte in enumerate(name.encode())) % 8191
    return torch.tensor([((i * 7919 + start * 101) % 8191) / 8191 - 0.5 for i in range(count)])


def filled(name, shape):
    values = noise(name, math.prod(shape)).reshape(shape)
    last = name.rsplit(".", 1)[-1]
    if len(shape) > 1:
        return values * 2 * math.sqrt(3 / math.prod(shape[1:]))
    if last in ("weight", "running_var"):
        return 1 + 0.5 * values
    return 0.5 * values


class LeNet(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.c1 = nn.Conv2d(channels, 15, 6, padding=2)
        self.s2 = nn.Module()
        self.s2.weight, self.s2.bias = nn.Parameter(torch.zeros(15)), nn.Parameter(torch.zeros(15))
        self.c3 = nn.Conv2d(15, 30, 9)

    def forward(self, x):
        x = torch.tanh(self.c1(x))
        each = lambda values: values.reshape(1, -1, 1, 1)
        x = torch.tanh(F.avg_pool2d(x, 3) * each(self.s2.weight) + each(self.s2.bias))
        return torch.tanh(self.c3(x)).flatten(1)


class FullyConnected(nn.Module):
    def __init__(self, inputs, hidden):
        super().__init__()
        widths = [inputs, *hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, hidden))

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


class Bottleneck(nn.Module):
    def __init__(self, inputs, inner, outputs):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(inner), nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn3, self.conv3 = nn.BatchNorm2d(inner), nn.Conv2d(inner, outputs, 1, bias=False)
        self.downsample = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else None

    def forward(self, x):
        active = lambda x: F.leaky_relu(x, 0.3)
        y = self.conv1(active(self.bn1(x)))
        y = self.conv2(active(self.bn2(y)))
        y = self.conv3(active(self.bn3(y)))
        return y + (x if self.downsample is None else self.downsample(x))


class LuNet(nn.Module):
    def __init__(self, channels, width, size):
        super().__init__()
        w = width
        plan = [
            [(w // 4, w)],
            [(w // 4, w), (w // 4, w), (w // 2, 2 * w)],
            [(w // 2, 2 * w)] * 2,
            [(w // 2, 2 * w)] * 2 + [(w, 4 * w)],
            [(w, 4 * w)] * 2,
            [(w, 4 * w)] * 2 + [(w, w)],
        ]
        self.conv1 = nn.Conv2d(channels, w, 7, padding=3, bias=False)
        inputs, self.layers = w, nn.ModuleList()
        for blocks in plan:
            made = nn.ModuleList()
            for inner, outputs in blocks:
                made.append(Bottleneck(inputs, inner, outputs))
                inputs = outputs
            self.layers.append(made)
        side = math.ceil(size / 32)
        self.fc, self.bn = nn.Linear(w * side * side, 4 * w, bias=False), nn.BatchNorm1d(4 * w)

    def forward(self, x):
        x = self.conv1(x)
        for index, blocks in enumerate(self.layers):
            if index:
                x = F.max_pool2d(x, 3, 2, 1)
            for block in blocks:
                x = block(x)
        return F.relu(self.bn(self.fc(x.flatten(1))))


class Unit(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride, norm):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=not norm)
        self.bn = nn.BatchNorm2d(outputs) if norm else None

    def forward(self, x):
        x = self.conv(x)
        return F.relu(x if self.bn is None else self.bn(x))


class InceptionModule(nn.Module):
    def __init__(self, inputs, one, three, five, pool, l2, stride, norm):
        super().__init__()
        self.one = Unit(inputs, one, 1, 1, norm) if one else None
        self.three_reduce, self.three = Unit(inputs, three[0], 1, 1, norm), Unit(*three, 3, stride, norm)
        self.five_reduce, self.five = Unit(inputs, five[0], 1, 1, norm), Unit(*five, 5, stride, norm)
        self.pool_proj = Unit(inputs, pool, 1, 1, norm) if pool else None
        self.l2, self.stride = l2, stride
        self.outputs = one + three[1] + five[1] + (pool or inputs)

    def forward(self, x):
        if self.l2:
            pooled = (F.avg_pool2d(x * x, 3, 1, 1) + 1e-12).sqrt()
        else:
            pooled = F.max_pool2d(x, 3, self.stride, 1)
        parts = [] if self.one is None else [self.one(x)]
        parts += [self.three(self.three_reduce(x)), self.five(self.five_reduce(x))]
        parts.append(pooled if self.pool_proj is None else self.pool_proj(pooled))
        return torch.cat(parts, 1)


class Inception(nn.Module):
    """Table 2 of FaceNet; the small layout leaves 4b to 4d out."""

    ROWS = [
        (64, (96, 128), (16, 32), 32, False, 1),
        (64, (96, 128), (32, 64), 64, True, 1),
        (0, (128, 256), (32, 64), 0, False, 2),
        (256, (96, 192), (32, 64), 128, True, 1),
        (224, (112, 224), (32, 64), 128, True, 1),
        (192, (128, 256), (32, 64), 128, True, 1),
        (160, (144, 288), (32, 64), 128, True, 1),
        (0, (160, 256), (64, 128), 0, False, 2),
        (384, (192, 384), (48, 128), 128, True, 1),
        (384, (192, 384), (48, 128), 128, False, 1),
    ]

    def __init__(self, channels, width, small_layout, small_stem, norm):
        super().__init__()
        scale = lambda channels: -(-channels * width // 64)
        self.small_stem, self.norm = small_stem, norm
        self.conv1 = Unit(channels, width, 3, 1, norm) if small_stem else Unit(channels, width, 7, 2, norm)
        self.conv2_reduce = Unit(width, scale(64), 1, 1, norm)
        self.conv2 = Unit(scale(64), scale(192), 3, 1, norm)
        inputs, blocks = scale(192), []
        for index, (one, three, five, pool, l2, stride) in enumerate(self.ROWS):
            if small_layout and index in (4, 5, 6):
                continue
            three, five = [scale(c) for c in three], [scale(c) for c in five]
            module = InceptionModule(inputs, scale(one), three, five, scale(pool), l2, stride, norm)
            blocks.append(module)
            inputs = module.outputs
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x):
        normal = (lambda x: x) if self.norm else nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)
        x = self.conv1(x)
        if not self.small_stem:
            x = F.max_pool2d(x, 3, 2, 1)
        x = self.conv2(self.conv2_reduce(normal(x)))
        x = F.max_pool2d(normal(x), 3, 2, 1)
        for block in self.blocks:
            x = block(x)
        return x.mean((2, 3))


class Attention(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.causal = heads, causal

    def forward(self, x):
        n, t, w = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.proj(mixed.transpose(1, 2).reshape(n, t, w))


class Block(nn.Module):
    def __init__(self, width, heads, causal=False):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, causal)
        self.mlp = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


def line(positions, width):
    omega = 10000 ** (-torch.arange(width // 2) / (width / 2))
    angles = positions[:, None] * omega
    return torch.cat([angles.sin(), angles.cos()], 1)


def grid_positions(rows, columns, width):
    at = torch.arange(rows * columns)
    return torch.cat([line(at % columns, width // 2), line(at // columns, width // 2)], 1)


def taken(tokens, numbers):
    return torch.stack([image[list(of)] for image, of in zip(tokens, numbers)])


class Vit(nn.Module):
    def __init__(self, channels, patch, depth, width, heads):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(channels, width, patch, patch)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def tokens(self, x, kept=None):
        x = self.patch_embed.proj(x)
        n, w, rows, columns = x.shape
        x = x.flatten(2).transpose(1, 2) + grid_positions(rows, columns, w)
        if kept is not None:
            x = taken(x, kept)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward(self, x):
        return self.tokens(x).mean(1)


class Kept(Vit):
    def forward(self, x):
        return self.tokens(x, [[4, 1], [0, 3]]).flatten(1)


class MaskedDecoder(nn.Module):
    def __init__(self, inputs, values, depth, width, heads):
        super().__init__()
        self.decoder_embed = nn.Linear(inputs, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.decoder_norm, self.decoder_pred = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, values)

    def forward(self, x):
        seen, kept = self.decoder_embed(x), [[4, 1], [0, 3]]
        rows = [[seen[i, kept[i].index(p)] if p in kept[i] else self.mask_token[0, 0] for p in range(6)] for i in (0, 1)]
        x = torch.stack([torch.stack(row) for row in rows])
        x = x + grid_positions(2, 3, x.shape[2])
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x)).flatten(1)


class PatchPredictor(nn.Module):
    def __init__(self, inputs, depth, width, heads):
        super().__init__()
        self.predictor_embed = nn.Linear(inputs, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.predictor_blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.predictor_norm, self.predictor_proj = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, inputs)

    def forward(self, x):
        seen = self.predictor_embed(x)
        positions = grid_positions(2, 3, seen.shape[2]).expand(2, -1, -1)
        targets = [[5, 2, 0], [5, 4, 1]]
        x = torch.cat([seen + taken(positions, [[4, 1], [0, 3]]), self.mask_token + taken(positions, targets)], 1)
        for block in self.predictor_blocks:
            x = block(x)
        return self.predictor_proj(self.predictor_norm(x[:, -3:])).flatten(1)


class StridedConv(nn.Module):
    def __init__(self, channels, width, layout, norm):
        super().__init__()
        self.layers = nn.ModuleList()
        for kernel, stride in layout:
            stage = nn.Module()
            padding = math.ceil((kernel - stride) / 2)
            stage.conv = nn.Conv1d(channels, width, kernel, stride, padding, bias=not norm)
            stage.bn = nn.BatchNorm1d(width) if norm else None
            self.layers.append(stage)
            channels = width

    def forward(self, x):
        for stage in self.layers:
            x = stage.conv(x)
            x = F.relu(x if stage.bn is None else stage.bn(x))
        return x.transpose(1, 2)


class Causal(nn.Module):
    def __init__(self, width, depth, heads):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, causal=True) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x):
        x = x + line(torch.arange(x.shape[1]), x.shape[2])
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Gru(nn.GRU):
    def forward(self, x):
        return super().forward(x)[0]


class SequenceNetwork(nn.Module):
    def __init__(self, encoder, context, context_width, width, ahead):
        super().__init__()
        self.encoder, self.context = encoder, context
        self.predictors = nn.ModuleList(nn.Linear(context_width, width, bias=False) for _ in range(ahead))

    def forward(self, x):
        contexts = self.context(self.encoder(x))
        return torch.cat([predictor(contexts) for predictor in self.predictors], 2).flatten(1)


class DinoHead(nn.Module):
    def __init__(self, inputs, hidden, bottleneck, out):
        super().__init__()
        widths = [inputs, hidden, hidden, bottleneck]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))
        self.last_layer = nn.Linear(bottleneck, out, bias=False)

    def forward(self, x):
        for index, layer in enumerate(self.layers):
            x = layer(x) if index == 0 else layer(F.gelu(x))
        return F.linear(F.normalize(x, dim=1), F.normalize(self.last_layer.weight, dim=1))


AUDIO, SERIES = [(10, 5), (8, 4), (4, 2), (4, 2), (4, 2)], [(8, 2), (4, 2), (4, 2)]
CASES = {
    "le-net": (LeNet(1), (3, 1, 28, 28)),
    "mlp": (FullyConnected(2 * 25, [4, 3]), (3, 2, 5, 5)),
    "lu-net": (LuNet(2, 4, 40), (6, 2, 40, 40)),
    "inception": (Inception(3, 2, True, True, True), (4, 3, 20, 20)),
    "inception-published": (Inception(1, 1, False, False, False), (2, 1, 64, 64)),
    "vit": (Vit(3, 2, 2, 8, 2), (2, 3, 4, 6)),
    "vit-kept": (Kept(3, 2, 1, 8, 2), (2, 3, 4, 6)),
    "masked-decoder": (MaskedDecoder(8, 12, 1, 4, 2), (2, 2, 8)),
    "patch-predictor": (PatchPredictor(8, 1, 4, 2), (2, 2, 8)),
    "cpc-gru": (SequenceNetwork(StridedConv(1, 4, AUDIO, False), Gru(4, 3, batch_first=True), 3, 4, 2), (3, 1, 960)),
    "cpc-transformer": (SequenceNetwork(StridedConv(2, 4, SERIES, True), Causal(4, 1, 2), 4, 4, 1), (3, 2, 48)),
    "dino-head": (DinoHead(4, 5, 3, 6), (3, 4)),
}

lines = ["# Made by networks.py."]
for case, (net, shape) in CASES.items():
    state = dict(net.named_parameters())
    for name, parameter in state.items():
        parameter.data = filled(name, tuple(parameter.shape))
    x = (2 * noise(case, math.prod(shape))).reshape(shape).requires_grad_()
    y = net.train()(x)
    (y.flatten() * noise("loss", y.numel())).sum().backward()
    inner = lambda name, gradient: float((gradient.flatten() * noise(name + ".gradient", gradient.numel())).sum())
    y = y.detach().flatten()
    lines += ["", f"[{case}]", f"output = {y[:12].tolist()}", f"sum = {float((y * noise('sum', len(y))).sum())}"]
    lines += [f"input = {inner('input', x.grad)}", f"[{case}.parameters]"]
    lines += [f'"{name}" = {inner(name, parameter.grad)}' for name, parameter in state.items()]
pathlib.Path(__file__).with_name("networks.toml").write_text("\n".join(lines) + "\n")
