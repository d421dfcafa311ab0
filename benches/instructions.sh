#!/usr/bin/env bash
# How many instructions one product takes, by each kernel that callgrind can run, beside the committed counts: a check of
# speed that a busy machine cannot move. Exits with 1 where a count grew by more than 3 % (10 % by another rustc than the
# one that the counts are of), or where a committed count has none beside it; with 2 where nothing can be counted.
# UPDATE=1 writes the counts anew.
#
# Needs valgrind. The processor that it shows programs is the same on every x86-64 with AVX2, an Intel of 2014: it has no
# AVX-512 and no AMX, so the portable and the AVX2 kernels are counted, and the counts are the same wherever that is.
set -euo pipefail
cd "$(dirname "$0")/.."

counts=benches/instructions.txt
if ! command -v valgrind >/dev/null; then
    echo "instructions.sh: NOT RUN: no valgrind: instructions are not counted" >&2
    echo "hint: the distribution's package is called valgrind" >&2
    exit 2
fi
# The C library fills and copies larger pieces by one instruction that repeats itself, which callgrind counts once for each
# byte: by vectors instead.
export GLIBC_TUNABLES=glibc.cpu.x86_rep_stosb_threshold=1000000000:glibc.cpu.x86_rep_movsb_threshold=1000000000

built=$(cargo bench --bench instructions --no-run --message-format=json)
exe=$(grep -o '"executable":"[^"]*/instructions-[^"]*"' <<<"$built" | tail -1 | cut -d'"' -f4)
rustc=$(rustc --version | cut -d' ' -f2)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

count() {
    valgrind --quiet --tool=callgrind --collect-atstart=no --toggle-collect='*instructions::measured*' \
        --callgrind-out-file="$folder/out" "$exe" "$1" "$2" >/dev/null 2>"$folder/errors" || {
        cat "$folder/errors" >&2
        exit 2
    }
    sed -n 's/^totals: //p' "$folder/out"
}

# What valgrind's processor has, not this one.
valgrind --quiet --tool=none "$exe" >"$folder/cases" 2>"$folder/errors" || {
    cat "$folder/errors" >&2
    exit 2
}
{
    echo "# Instructions of a product, 192 x 320 x 48, by valgrind --tool=callgrind; rustc $rustc"
    while read -r name isa; do
        counted=$(count "$name" "$isa")
        echo "$name $isa $counted"
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
        if (!($3 > 0 && ratio <= room)) { print "  more instructions than before"; failed = 1 }
        delete counted[$1 " " $2]
    }
    END {
        for (left in counted) { print "not counted here: " left; failed = 1 }
        exit failed
    }' "$counts" "$folder/counts"
