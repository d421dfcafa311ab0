"""Real weights: a safetensors file read by hand."""

import hashlib
import json
import os

import numpy as np

from inputs import Refused

_DTYPES = {"F32": "f32", "F16": "f16", "BF16": "bf16"}


def sha256_of(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        for part in iter(lambda: f.read(1 << 22), b""):
            h.update(part)
    return h.hexdigest()


def find(spec, manifest_dir, given):
    """The file of a weights entry. Where several could be meant, the one whose digest fits."""
    name = spec["file"]
    base = os.path.basename(name)
    if given and os.path.isfile(given):
        candidates = [given]
    else:
        roots = [given] if given else [manifest_dir, "."]
        candidates = []
        for root in roots:
            candidates += [os.path.join(root, p) for p in
                           (name, os.path.join(spec.get("hub", ""), name), base)]
            if given:
                candidates += [os.path.join(d, base) for d, _, files in sorted(os.walk(root))
                               if base in files]
    found = [p for p in candidates if os.path.isfile(p)]
    if not found:
        raise Refused("no weights file %s" % name)
    want = spec.get("sha256")
    if want is None:
        return found[0]
    for path in dict.fromkeys(found):
        if sha256_of(path) == want.lower():
            return path
    raise Refused("weights file %s: SHA-256 is not %s" % (name, want))


def read(path, tensor, want_sha256=None):
    """The tensor as float32, widened exactly."""
    with open(path, "rb") as f:
        length = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(length))
        if tensor not in header:
            raise Refused("no tensor %s" % tensor)
        entry = header[tensor]
        begin, end = entry["data_offsets"]
        f.seek(8 + length + begin)
        raw = f.read(end - begin)
    if want_sha256 and hashlib.sha256(raw).hexdigest() != want_sha256.lower():
        raise Refused("tensor %s: SHA-256 is not %s" % (tensor, want_sha256))
    kind = _DTYPES.get(entry["dtype"])
    if kind is None:
        raise Refused("tensor %s has dtype %s" % (tensor, entry["dtype"]))
    if kind == "f32":
        x = np.frombuffer(raw, "<f4").astype(np.float32)
    elif kind == "f16":
        x = np.frombuffer(raw, "<f2").astype(np.float32)
    else:
        x = (np.frombuffer(raw, "<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
    return x.reshape(entry["shape"])
