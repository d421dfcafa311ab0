#!/usr/bin/env bash
# How many instructions one product takes, by each kernel that callgrind can run, beside the committed counts: a check of
# speed that a busy machine cannot move. Exits with 1 where a count grew by more than 3 % (10 % by another rustc than the
# one that the counts are of). UPDATE=1 writes the counts anew.
#
# Needs valgrind; it knows no AVX-512, so the portable and the AVX2 kernels are counted.
set -euo pipefail
cd "$(dirname "$0")/.."

counts=benches/instructions.txt
if ! command -v valgrind >/dev/null; then
    echo "not run: no valgrind: instructions are not counted" >&2
    exit 0
fi
exe=$(cargo bench --bench instructions --no-run --message-format=json 2>/dev/null |
    grep -o '"executable":"[^"]*instructions[^"]*"' | tail -1 | cut -d'"' -f4)
rustc=$(rustc --version | cut -d' ' -f2)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

count() {
    # Two calls are made; what is counted is both.
    valgrind --quiet --tool=callgrind --collect-atstart=no --toggle-collect='*instructions::measured*' \
        --callgrind-out-file="$folder/out" "$exe" "$1" "$2" >/dev/null 2>&1
    sed -n 's/^totals: //p' "$folder/out"
}

# What valgrind's processor has, not this one.
valgrind --quiet --tool=none "$exe" 2>/dev/null >"$folder/cases"
{
    echo "# Instructions of two products, 192 x 320 x 48, by valgrind --tool=callgrind; rustc $rustc"
    while read -r name isa; do
        echo "$name $isa $(count "$name" "$isa")"
    done <"$folder/cases"
} >"$folder/counts"

if [ "${UPDATE:-}" = 1 ]; then
    cp "$folder/counts" "$counts"
    cat "$counts"
    exit 0
fi
awk '
    NR == FNR { if (/^#/) old = $NF; else counted[$1 " " $2] = $3; next }
    /^#/ { room = $NF == old ? 1.03 : 1.10; next }
    !($1 " " $2 in counted) { print "new: " $0; failed = 1; next }
    {
        ratio = $3 / counted[$1 " " $2]
        printf "%-22s %-9s %12d, %.3f times the committed count\n", $1, $2, $3, ratio
        if (!(ratio <= room)) { print "  more instructions than before"; failed = 1 }
        delete counted[$1 " " $2]
    }
    END {
        for (left in counted) print "not counted here: " left
        exit failed
    }' "$counts" "$folder/counts"
