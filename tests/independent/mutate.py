#!/usr/bin/env python3
"""Whether the vectors hold the rules: each mutation of rule-mutations.yaml changes one rule of this implementation, and at
least one vector must then fail.

    mutate.py [PATTERN]    one line a mutation, with the first vector that fails; a mutation that none does is named
"""

import fnmatch
import glob
import importlib
import os
import shutil
import sys
import tempfile

import numpy as np
import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
MODULES = [os.path.splitext(os.path.basename(path))[0] for path in glob.glob(os.path.join(HERE, "*.py"))]


def replay(folder, found):
    """The first of the vectors for which the implementation in `folder` gives something else, or None. A rule that breaks
    instead of giving something shows nothing."""
    for name in MODULES:
        if name != "mutate":
            sys.modules.pop(name, None)
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        rules = importlib.import_module("vectors")
        for name, vector in found:
            try:
                if rules.difference(vector) is not None:
                    return "%s/%s" % (name, vector["id"])
            except Exception:
                pass
    finally:
        sys.path.remove(folder)
    return None


def main():
    np.seterr(all="ignore")
    sys.dont_write_bytecode = True
    with open(os.path.join(HERE, "rule-mutations.yaml"), encoding="utf-8") as f:
        mutations = yaml.load(f, Loader=yaml.CSafeLoader)
    if len(sys.argv) > 1:
        mutations = [m for m in mutations if fnmatch.fnmatch(m["rule"], sys.argv[1])]
    import vectors
    found = vectors.load()
    killed, bad, order = 0, 0, list(found)
    with tempfile.TemporaryDirectory() as root:
        folder = os.path.join(root, "tests", "independent")
        os.makedirs(folder)
        for path in glob.glob(os.path.join(HERE, "*.py")):
            shutil.copy(path, folder)
        shutil.copy(os.path.join(ROOT, "VERIFY.md"), root)
        failed = replay(folder, found)
        if failed is not None:
            sys.exit("without a mutation %s fails" % failed)
        for mutation in mutations:
            where = os.path.join(root if mutation["file"] == "VERIFY.md" else folder, mutation["file"])
            with open(where, encoding="utf-8") as f:
                text = f.read()
            if text.count(mutation["from"]) != 1:
                print("FAIL %s: %d places in %s have what it changes"
                      % (mutation["rule"], text.count(mutation["from"]), mutation["file"]))
                bad += 1
                continue
            with open(where, "w", encoding="utf-8") as f:
                f.write(text.replace(mutation["from"], mutation["to"]))
            # Vectors of the file that the last ones failed in come first: most mutations are of a neighbouring rule.
            failed = replay(folder, order)
            with open(where, "w", encoding="utf-8") as f:
                f.write(text)
            if failed is None:
                print("FAIL %s: no vector fails" % mutation["rule"])
                bad += 1
                continue
            killed += 1
            print("killed %s: %s" % (mutation["rule"], failed), flush=True)
            order.sort(key=lambda entry: entry[0] != failed.split("/")[0])
    print("%d killed, %d failed" % (killed, bad))
    return 1 if bad or not killed else 0


if __name__ == "__main__":
    sys.exit(main())
