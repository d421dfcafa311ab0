"""Real weights: a safetensors file read by hand."""

import hashlib
import json
import os
import re

import numpy as np

from inputs import Refused


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


def is_index(name):
    """x.safetensors.index.json, maybe with a variant's name before or behind `index`."""
    return re.search(r"[^/]\.safetensors(\.[^./]*)?\.index\.json$|[^/]\.safetensors\.index\.[^./]*\.json$",
                     name) is not None


def _raw(path, tensor, want_sha256=None):
    """Header entry and bytes of a tensor, of the shard that an index names."""
    if is_index(path):
        with open(path, "rb") as f:
            name = json.load(f)["weight_map"].get(tensor, "")
        if not name.endswith(".safetensors") or name.startswith("/") or ".." in name.split("/"):
            raise Refused("no shard for tensor %s" % tensor)
        return _raw(os.path.join(os.path.dirname(path), name), tensor, want_sha256)
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
    return entry, raw


def _small(codes, exponent_bits, mantissa_bits, bias):
    """Values of numbers without infinities and NaN, from their codes."""
    codes = codes.astype(np.int64)
    fraction = codes % (1 << mantissa_bits)
    exponent = (codes >> mantissa_bits) % (1 << exponent_bits)
    value = np.ldexp(np.where(exponent == 0, fraction, fraction + (1 << mantissa_bits)).astype(np.float64),
                     np.maximum(exponent, 1) - bias - mantissa_bits)
    return np.where(codes >> (mantissa_bits + exponent_bits), -value, value)


def _floats(kind, raw, shape):
    """Elements as float64, exactly; None for a dtype that has none."""
    if kind == "F32":
        x = np.frombuffer(raw, "<f4").astype(np.float64)
    elif kind == "F16":
        x = np.frombuffer(raw, "<f2").astype(np.float64)
    elif kind == "BF16":
        bits = np.frombuffer(raw, "<u2").astype(np.uint32) << np.uint32(16)
        x = bits.view(np.float32).astype(np.float64)
    elif kind == "F8_E4M3":
        codes = np.frombuffer(raw, np.uint8)
        x = np.where(codes % 128 == 127, np.nan, _small(codes, 4, 3, 7))
    elif kind == "F8_E5M2":
        codes = np.frombuffer(raw, np.uint8)
        # Where the exponent's bits are all ones there is an infinity or a NaN; both are refused.
        x = np.where(codes % 128 >= 124, np.nan, _small(codes, 5, 2, 15))
    else:
        return None
    return x.reshape(shape)


def _scale_of_each(scales, rows, columns, packed):
    """The scale of each element of a matrix."""
    if packed:
        if scales.shape != (rows, columns // 32):
            raise Refused("scales of shape %s" % (scales.shape,))
        return np.repeat(scales, 32, axis=1)
    if scales.shape in ((), (1,), (1, 1)):
        return np.full((rows, columns), scales.reshape(-1)[0])
    if scales.shape in ((rows,), (rows, 1)):
        return np.repeat(scales.reshape(rows, 1), columns, axis=1)
    if scales.shape != (-(-rows // 128), -(-columns // 128)):
        raise Refused("scales of shape %s" % (scales.shape,))
    return np.repeat(np.repeat(scales, 128, axis=0), 128, axis=1)[:rows, :columns]


def read(path, tensor, want_sha256=None, layer=None):
    """A as float32, exactly; `layer` has the keys that say how it lies in the tensor."""
    layer = layer or {}
    entry, raw = _raw(path, tensor, want_sha256)
    kind, shape = entry["dtype"], list(entry["shape"])
    scales, packed = layer.get("scales"), False
    if scales is not None and kind == "U8":
        if len(shape) < 2 or shape[-1] != 16:
            raise Refused("tensor %s: U8 of shape %s" % (tensor, shape))
        packed = True
        codes = np.frombuffer(raw, np.uint8)
        codes = np.stack([codes % 16, codes >> 4], axis=-1)
        x = _small(codes, 2, 1, 1).reshape(shape[:-2] + [32 * shape[-2]])
    else:
        x = _floats(kind, raw, shape)
        if x is None or (scales is not None and not kind.startswith("F8_")):
            raise Refused("tensor %s has dtype %s" % (tensor, kind))
    expert = layer.get("expert")
    if expert is not None:
        stack, expert = x.shape[0], int(expert)
        if x.ndim != 3 or expert >= stack:
            raise Refused("tensor %s: no matrix %d in %s" % (tensor, expert, x.shape))
        x = x[expert]
    if x.ndim != 2:
        raise Refused("tensor %s has shape %s" % (tensor, x.shape))
    factor = None
    if scales is not None:
        name, want = (scales["tensor"], scales.get("sha256")) if isinstance(scales, dict) else (scales, None)
        its, its_raw = _raw(path, name, want)
        if packed:
            if its["dtype"] not in ("U8", "F8_E8M0"):
                raise Refused("scales %s have dtype %s" % (name, its["dtype"]))
            codes = np.frombuffer(its_raw, np.uint8).astype(np.int64)
            factor = np.where(codes == 255, np.nan, np.ldexp(1.0, codes - 127)).reshape(its["shape"])
        else:
            factor = _floats(its["dtype"], its_raw, its["shape"])
            if factor is None or its["dtype"].startswith("F8_"):
                raise Refused("scales %s have dtype %s" % (name, its["dtype"]))
        if expert is not None and factor.shape[:1] == (stack,):
            factor = factor[expert]
        factor = _scale_of_each(factor, x.shape[0], x.shape[1], packed)
        x = x * factor
    if str(layer.get("transposed", "false")).lower() == "true":
        x = x.T
    if "rows" in layer:
        first, end = (int(row) for row in layer["rows"])
        if not first <= end <= x.shape[0]:
            raise Refused("tensor %s has no rows %d to %d" % (tensor, first, end))
        x = x[first:end]
    if not np.isfinite(x).all():
        raise Refused("tensor %s: not all is finite" % tensor)
    with np.errstate(over="ignore"):
        y = np.ascontiguousarray(x, np.float32)
    if (y.astype(np.float64) != x).any():
        raise Refused("tensor %s: a product with its scale is no f32 number" % tensor)
    return y
