#!/usr/bin/env bash
# The bits of quickstart on 64-bit ARM, under emulation: builds `verify` with Debian's cross compiler, runs it with
# qemu-user in an empty folder, and compares its record with the committed digests once more, without the program.
# Installs nothing. Times are not measured: an emulator's say nothing.
#
#     tests/aarch64.sh            builds first
#     tests/aarch64.sh PROGRAM    takes a program that is there, such as a wheel's
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-gnu
libraries=/usr/aarch64-linux-gnu

missing=()
need() { # COMMAND..., then what to install
    "${@:1:$#-1}" >/dev/null 2>&1 || missing+=("${!#}")
}
need test -x /usr/bin/qemu-aarch64 "the Debian package qemu-user"
need test -e "$libraries/lib/ld-linux-aarch64.so.1" "the Debian package libc6-dev-arm64-cross"
need python3 --version "python3"
# An emulator for this script alone: the kernel knows one for each user namespace since Linux 6.7.
need unshare --user --map-root-user --mount mount -t binfmt_misc none /proc/sys/fs/binfmt_misc \
    "Linux 6.7 with binfmt_misc, and the right to make a user namespace"
if [ $# = 0 ]; then
    need aarch64-linux-gnu-gcc --version "the Debian package gcc-aarch64-linux-gnu"
    need test -d "$(rustc --print target-libdir --target $target 2>/dev/null)" "rustup target add $target"
fi
if [ ${#missing[@]} != 0 ]; then
    printf 'tests/aarch64.sh: not run; it needs: %s\n' "${missing[@]}" >&2
    exit 2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Runs a command in which the kernel starts 64-bit ARM programs with qemu. Children of the program need that: it starts
# itself by /proc/self/exe.
cat >"$work/emulated" <<'SH'
set -eu
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
# F: opened now. P: the name that a program was called by is passed on.
echo ":aarch64:M::$magic:$mask:/usr/bin/qemu-aarch64:FP" >/proc/sys/fs/binfmt_misc/register
exec "$@"
SH
emulated=(env QEMU_LD_PREFIX="$libraries" unshare --user --map-root-user --mount sh "$work/emulated")

if [ $# = 0 ]; then
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="${emulated[*]}"
    cargo build --release --locked --target $target --bin verify 2>&1 | tee "$work/build"
    if grep -q '^warning' "$work/build"; then
        echo "tests/aarch64.sh: the build for $target has warnings" >&2
        exit 1
    fi
    # The register of floating-point modes differs between processors, and so do the kernels of fixed-point.
    cargo test --release --locked --target $target --lib -- float_environment backend::cpu::fixed_point
    program=${CARGO_TARGET_DIR:-target}/$target/release/verify
else
    program=$1
fi
program=$(realpath "$program")

mkdir "$work/empty"
begun=$SECONDS
(cd "$work/empty" && "${emulated[@]}" "$program" quickstart --no-measure --json ../record.json) >"$work/table" || {
    code=$?
    tail -n 20 "$work/table"
    echo "tests/aarch64.sh: quickstart exited with $code" >&2
    exit 1
}
tail -n 2 "$work/table"
python3 - "$work/record.json" expected-hashes/quickstart.yaml <<'PYTHON'
import json, re, sys
with open(sys.argv[1], encoding="utf-8") as file:
    record = json.load(file)
committed, case = {}, None
with open(sys.argv[2], encoding="utf-8") as file:
    for line in file:
        if found := re.fullmatch(r"  (\S+):\n", line):
            case = found[1]
        elif found := re.fullmatch(r'    (\w+): "([0-9a-f]{64})"\n', line):
            committed[case, found[1]] = found[2]
if (architecture := record["environment"]["architecture"]) != "aarch64":
    sys.exit(f"the record is of {architecture}, not of aarch64")
got = {}
for case in record["cases"]:
    for digest in case["bits"]["digests"]:
        got[case["id"], digest["name"]] = digest["got"]
for key, digest in committed.items():
    if got.get(key) != digest:
        sys.exit(f"{' '.join(key)}: committed is {digest}, and here it is {got.get(key)}")
if not committed:
    sys.exit("no digest is committed")
print(f"{len(committed)} digests on {architecture} are the committed ones")
PYTHON
echo "quickstart under emulation: $((SECONDS - begun)) s"
