#!/usr/bin/env bash
# Benches beside oneMKL and OpenBLAS, which come from PyPI into target/bench-env: `benches/run.sh chain fixed_point`, or all of
# them without a name. ONLY=dense,99 takes some cases of `chain`.
set -euo pipefail
cd "$(dirname "$0")/.."

env=target/bench-env
if ! "$env/bin/python" -c 'import scipy_openblas32' 2>/dev/null; then
    python3 -m venv "$env"
    "$env/bin/python" -m pip install --quiet --disable-pip-version-check scipy-openblas32
fi
# There is none for other processors than x86-64.
"$env/bin/python" -m pip install --quiet --disable-pip-version-check mkl ||
    echo "benches/run.sh: no oneMKL for this machine" >&2
SPARSE_VERIFY_OPENBLAS=$("$env/bin/python" -c 'import scipy_openblas32 as blas; print(blas.get_lib_dir() + "/lib" + blas.get_library() + ".so")')
export SPARSE_VERIFY_OPENBLAS
if [ -e "$env/lib/libmkl_rt.so.3" ]; then
    export SPARSE_VERIFY_MKL="$PWD/$env/lib/libmkl_rt.so.3"
    # Its kernels are opened by name.
    export LD_LIBRARY_PATH="$PWD/$env/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi

if [ $# = 0 ]; then
    set -- chain fixed_point tensor_core
fi
for bench in "$@"; do
    cargo bench --bench "$bench"
done
