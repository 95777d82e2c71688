"""Writes small_conv.pth: what torch.save would write for a small-conv encoder of width 1.

Needs no PyTorch: it stands in for the few classes that torch.save pickles by reference. Value k of
tensor t is ((k + t) % 7 - 3) / 8, so that the test can work it out again.
"""

import io
import pathlib
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict

torch = types.ModuleType("torch")
torch._utils = types.ModuleType("torch._utils")
sys.modules.update({"torch": torch, "torch._utils": torch._utils})


class Storage:
    def __init__(self, kind, values):
        self.kind, self.values = kind, values


def storage_class(name):
    cls = type(name, (), {"__module__": "torch"})
    setattr(torch, name, cls)
    return cls


FLOAT, LONG = storage_class("FloatStorage"), storage_class("LongStorage")


def _rebuild_tensor_v2(*_):
    raise NotImplementedError


_rebuild_tensor_v2.__module__ = "torch._utils"
torch._utils._rebuild_tensor_v2 = _rebuild_tensor_v2


class Tensor:
    def __init__(self, shape, storage):
        self.shape, self.storage = tuple(shape), storage

    def __reduce__(self):
        strides = []
        for size in reversed(self.shape):
            strides.insert(0, strides[0] * previous if strides else 1)
            previous = size
        arguments = (self.storage, 0, self.shape, tuple(strides), False, OrderedDict())
        return _rebuild_tensor_v2, arguments


class Pickler(pickle.Pickler):
    def __init__(self, file, files):
        super().__init__(file, protocol=2)
        self.files = files

    def persistent_id(self, item):
        if not isinstance(item, Storage):
            return None
        key = str(len(self.files))
        letter = "f" if item.kind is FLOAT else "q"
        self.files[key] = struct.pack(f"<{len(item.values)}{letter}", *item.values)
        return "storage", item.kind, key, "cpu", len(item.values)


def state():
    tensors = OrderedDict()

    def add(name, shape):
        count = 1
        for size in shape:
            count *= size
        t = len(tensors)
        values = [((k + t) % 7 - 3) / 8 for k in range(count)]
        tensors[f"module.{name}"] = Tensor(shape, Storage(FLOAT, values))

    width, inputs = 1, 1
    for stage in range(4):
        add(f"stages.{stage}.conv.weight", (width, inputs, 3, 3))
        for name in ["weight", "bias", "running_mean", "running_var"]:
            add(f"stages.{stage}.bn.{name}", (width,))
        width, inputs = 2 * width, width
    for stage in range(4):
        name = f"module.stages.{stage}.bn.num_batches_tracked"
        tensors[name] = Tensor((), Storage(LONG, [5]))
    add("fc.weight", (2, 8))
    return {"epoch": 3, "state_dict": tensors}


files = {}
pickled = io.BytesIO()
Pickler(pickled, files).dump(state())
path = pathlib.Path(__file__).with_name("small_conv.pth")
with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:

    def write(name, data):
        archive.writestr(zipfile.ZipInfo(f"small_conv/{name}"), data)

    write("data.pkl", pickled.getvalue())
    write("byteorder", "little")
    for key, data in files.items():
        write(f"data/{key}", data)
    write("version", "3\n")
