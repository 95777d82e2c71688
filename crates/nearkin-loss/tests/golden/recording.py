"""Evaluates a loss and its gradients in f64, checks that the result is well-posed, and writes the JSON files."""

import json
import pathlib

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent
LEFT_OUT = []  # (file, case, why) of what the peer cannot compute
NEAREST_KINKS = {}  # radius → names of the cases whose gradient is smooth only so far around the batch


def nine_digits(values):
    # + 0.0 turns −0 into 0
    return [float(f"{v:.9g}") + 0.0 for v in np.ravel(values)]


def short(array):
    """The decimals that f32 reads back as the same numbers."""
    return None if array is None else [float(str(v)) for v in np.ravel(array)]


def to_tensor(array, grad=False):
    return torch.tensor(np.asarray(array), dtype=torch.float64, requires_grad=grad)


class Inputs:
    """What a loss is differentiated by: embeddings, and perhaps references and weights."""

    def __init__(self, *arrays):
        self.arrays = [None if a is None else np.asarray(a, dtype=np.float64) for a in arrays]

    def map(self, function):
        return Inputs(*[None if a is None else function(a) for a in self.arrays])

    def shifted(self, rng, radius):
        """Every coordinate moved by ± radius × the row's size; equal rows move together, so duplicates stay so."""
        moves = {}

        def move(array):
            out = array.copy()
            for row in out:
                key = row.tobytes()
                if key not in moves:
                    moves[key] = radius * np.sqrt((row**2).mean() + 1e-12) * rng.choice([-1.0, 1.0], row.shape)
                row += moves[key]
            return out

        return self.map(move)


def evaluate(value_of, inputs):
    tensors = [None if a is None else to_tensor(a, grad=True) for a in inputs.arrays]
    value = value_of(*tensors)
    if value.ndim == 1:
        value = value.sum()
    present = [t for t in tensors if t is not None]
    gradients = torch.autograd.grad(value, present, allow_unused=True)
    gradients = [np.zeros(t.shape) if g is None else g.numpy() for g, t in zip(gradients, present)]
    return value.item(), np.concatenate([g.ravel() for g in gradients]), iter(gradients)


def smooth_radius(value_of, inputs, gradient):
    """How far around the inputs the gradient looks smooth: the largest tried radius, or None.

    Along a random direction a smooth gradient changes ten times as much over ten times the way. A hinge, a bin's edge or
    an arg-max that switches on the way breaks that."""
    for radius in (1e-3, 1e-4, 1e-5):
        rng = np.random.default_rng(0)
        for _ in range(6):
            seed = int(rng.integers(2**31))
            far = evaluate(value_of, inputs.shifted(np.random.default_rng(seed), radius))[1] - gradient
            near = evaluate(value_of, inputs.shifted(np.random.default_rng(seed), radius / 10))[1] - gradient
            size = np.linalg.norm
            if not size(far - 10 * near) <= 0.1 * size(far) + 1e-9 * (1 + size(gradient)):
                break
        else:
            return radius
    return None


def is_steady(value_of, inputs, value):
    """Whether the value stays put under changes like rounding (it does not if a count hangs on a tie)."""
    rng = np.random.default_rng(1)
    tries = [evaluate(value_of, inputs.shifted(rng, 1e-10))[0] for _ in range(6)]
    return np.allclose(tries, value, rtol=1e-6, atol=1e-9)


class LossFile:
    def __init__(self, name):
        self.name = name
        self.weights = {}
        self.cases = []

    def add(self, name, batch_name, batch, settings, value_of, tuples=None, weights=None, wrong=None, gradient=True, reorder=None):
        """value_of(embeddings, references, weights) → scalar. `reorder`: the same for a batch in another order (given the
        order), to find gradients that hang on the order. `gradient`: False to leave it out."""
        inputs = Inputs(batch["x"], batch.get("ref_x"), None if weights is None else self.weights[weights])
        try:
            value, flat, parts = evaluate(value_of, inputs)
        except (RuntimeError, IndexError, ValueError) as error:
            LEFT_OUT.append((self.name, name, f"{type(error).__name__}: {str(error).splitlines()[0][:90]}"))
            return
        if not np.isfinite(value):
            LEFT_OUT.append((self.name, name, f"value is {value}"))
            return
        if not is_steady(value_of, inputs, value):
            LEFT_OUT.append((self.name, name, "value hangs on rounding"))
            return
        usable = gradient and np.isfinite(flat).all()
        radius = smooth_radius(value_of, inputs, flat) if usable else None
        if batch["singular"]:
            usable = usable and radius is not None
            if usable and reorder is not None:
                usable = self.same_in_other_orders(reorder, inputs, value, flat)
        elif gradient:
            assert usable, f"{self.name} {name}: gradient is not finite"
            assert radius is not None, f"{self.name} {name}: too near a kink"
        if usable:
            NEAREST_KINKS.setdefault(radius, []).append(f"{self.name}/{name}")
        arrays = [nine_digits(next(parts)) if a is not None and usable else None for a in inputs.arrays]
        case = {
            "name": name,
            "batch": batch_name,
            "settings": settings,
            "tuples": tuples,
            "weights": weights,
            "value": nine_digits(value)[0],
            "gradient": arrays[0],
            "ref_gradient": arrays[1],
            "weight_gradient": arrays[2],
        }
        if wrong:
            case["peer_is_wrong"] = wrong
        self.cases.append(case)

    @staticmethod
    def same_in_other_orders(reorder, inputs, value, flat):
        x = inputs.arrays[0]
        rng = np.random.default_rng(2)
        for order in [np.arange(len(x))[::-1].copy()] + [rng.permutation(len(x)) for _ in range(3)]:
            other = Inputs(x[order], *inputs.arrays[1:])
            other_value, other_flat, _ = evaluate(reorder(order), other)
            back = np.empty_like(x)
            back[order] = other_flat[: x.size].reshape(x.shape)
            same = np.allclose(back.ravel(), flat[: x.size], rtol=1e-7, atol=1e-10) and np.isclose(other_value, value)
            if not same:
                return False
        return True

    def write(self):
        names = [c["name"] for c in self.cases]
        assert len(set(names)) == len(names), (self.name, sorted(n for n in names if names.count(n) > 1))
        write(self.name, {"weights": {k: short(v) for k, v in self.weights.items()}}, self.cases)


def compact(thing):
    return json.dumps(thing, separators=(",", ":"), allow_nan=False)


def write(name, head, cases):
    """One case a line."""
    head = "".join(compact(k) + ":" + compact(v) + ",\n" for k, v in head.items() if v)
    text = "{" + head + '"cases":[\n' + ",\n".join(compact(c) for c in cases) + "\n]}\n"
    json.loads(text)
    (HERE / f"{name}.json").write_text(text)


def write_batches(batches):
    lines = []
    for name, batch in batches.items():
        ref = batch.get("ref_x")
        entry = {
            "dim": int(batch["x"].shape[1]),
            "labels": list(batch["labels"]),
            "embeddings": short(batch["x"]),
            "ref_labels": None if ref is None else list(batch["ref_labels"]),
            "ref_embeddings": short(ref),
        }
        lines.append(compact(name) + ":" + compact(entry))
    (HERE / "batches.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
