#!/usr/bin/env bash
# Wheels work: each is installed in an empty virtual environment, and verifies quickstart in an empty folder, as `verify`
# and as `python -m sparse_verify`. Its libraries are compared with what its name promises.
#
#     tests/wheels.sh WHEEL...    as `maturin build --release` writes them; those of another processor are inspected alone
set -euo pipefail

if [ $# = 0 ]; then
    echo "usage: tests/wheels.sh WHEEL..." >&2
    exit 2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/tools"
"$work/tools/bin/python" -m pip install --quiet --disable-pip-version-check auditwheel

for wheel; do
    wheel=$(realpath "$wheel")
    name=$(basename "$wheel" .whl)
    platform=${name##*-}
    # The level that the program's symbols need is at most the one that the name promises.
    "$work/tools/bin/auditwheel" show "$wheel" >"$work/audit"
    tr '\n' ' ' <"$work/audit" | sed 's/  */ /g' | grep -o 'consistent with the following platform tag: "[^"]*"'
    needs=$(tr '\n' ' ' <"$work/audit" | grep -o '"manylinux_2_[0-9]*' | head -n 1 | grep -o '[0-9]*$')
    promises=$(grep -o '^manylinux_2_[0-9]*' <<<"$platform" | grep -o '[0-9]*$')
    if [ "$needs" -gt "$promises" ] || [ "$promises" -gt 28 ]; then
        echo "$name: needs manylinux_2_$needs, promises manylinux_2_$promises, 28 at most is wanted" >&2
        exit 1
    fi

    if [[ $platform != *_$(uname -m) ]]; then
        echo "$name: inspected, and not run on $(uname -m)"
        continue
    fi
    rm -rf "$work/env" "$work/empty"
    python3 -m venv "$work/env"
    "$work/env/bin/python" -m pip install --quiet --disable-pip-version-check --no-index "$wheel"
    mkdir "$work/empty"
    for command in "verify" "python -m sparse_verify"; do
        # Neither of this folder nor of this machine but the environment.
        (cd "$work/empty" && env -i HOME="$work/empty" PATH="$work/env/bin" $command quickstart --no-measure) >"$work/table" || {
            code=$?
            tail -n 20 "$work/table"
            echo "$name: $command quickstart exited with $code" >&2
            exit 1
        }
        if ! grep -qx 'bits verified: \([1-9][0-9]*\) of \1 cases' "$work/table"; then
            echo "$name: $command: not all bits of quickstart were verified" >&2
            exit 1
        fi
        echo "$name: $command: $(tail -n 1 "$work/table")"
    done
    # An exit code is the program's own.
    code=0
    "$work/env/bin/python" -m sparse_verify "$work/nothing" 2>"$work/words" || code=$?
    test "$code" = 2
    # And a program that is gone is no refutation.
    rm "$work/env/bin/verify"
    code=0
    "$work/env/bin/python" -m sparse_verify quickstart 2>"$work/words" || code=$?
    test "$code" = 4 && grep -q '^hint: ' "$work/words"
done
