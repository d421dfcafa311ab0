#!/usr/bin/env bash
# The packages of the three crates are complete: a copy of this folder is packaged and deleted, `verify` is installed from
# the packages alone, and verifies quickstart in an empty folder. As long as a first build; CARGO_TARGET_DIR, where set, keeps
# what was built.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/copy"
git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --ignore-failed-read -cf - |
    tar -xf - -C "$work/copy"
# Installing builds them: they are not built here as well.
(cd "$work/copy" && cargo package --workspace --locked --no-verify --quiet --target-dir "$work/packaged")
rm -rf "$work/copy"

mkdir "$work/packages"
for package in "$work"/packaged/package/*.crate; do
    tar -xzf "$package" -C "$work/packages"
done
rm -rf "$work/packaged"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
kit=$work/packages/sparse-verify-$version
patches=()
for crate in sparse-verify-contract sparse-verify-record sparse-verify-attest; do
    # No registry has it: the package stands for what one would give, in the lock file as well.
    patches+=(--config "patch.crates-io.$crate.path='$work/packages/$crate-$version'")
    sed -i "/^name = \"$crate\"$/,/^$/{/^source = /d;/^checksum = /d}" "$kit/Cargo.lock"
done
(
    cd "$work"
    cargo install --quiet --locked --path "$kit" --root installed --no-track "${patches[@]}"
)
rm -rf "$work/packages"

mkdir "$work/empty"
(cd "$work/empty" && "$work/installed/bin/verify" quickstart --no-measure) >"$work/table" || {
    code=$?
    tail -n 20 "$work/table"
    echo "tests/packages.sh: quickstart exited with $code" >&2
    exit 1
}
tail -n 2 "$work/table"
# All of them, and at least one.
if ! grep -qx 'bits verified: \([1-9][0-9]*\) of \1 cases' "$work/table"; then
    echo "tests/packages.sh: not all bits of quickstart were verified" >&2
    exit 1
fi
