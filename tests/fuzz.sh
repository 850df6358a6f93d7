#!/usr/bin/env bash
# All fuzz targets, or those that are named, over so many inputs that follow from one seed: a slower machine tries the same,
# and what fails here fails again. It begins with fuzz/seeds/ alone, so what earlier runs have left plays no part.
#
#   FUZZ_RUNS=1000000 FUZZ_SEED=7 tests/fuzz.sh entry_decode     more of them, and others
#
# Without -use_cmp=0 libFuzzer learns from what is compared, addresses among it, and those differ from run to run. What is
# left to chance is where a target keeps a HashMap: the order of one is the process's own.
set -euo pipefail
cd "$(dirname "$0")/.."

# What takes three to five seconds on a machine that does nothing else.
inputs() {
    case $1 in
        outbound | targeted) echo 20000 ;;
        body | cache_control | cluster_map | location | range | tags) echo 30000 ;;
        *) echo 60000 ;;
    esac
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What was said of the first failure, and the input, which is to become a seed.
report() {
    printf '\nfuzz %s has failed:\n' "$1"
    sed -n '/panicked at\|ERROR: \|error\(\[E[0-9]*\]\)\?: /,$p' "$work/log" | grep -av '^INFO:' | head -n 60
    for input in "$work"/found/*; do
        [ -e "$input" ] || continue
        printf '\n%s, in base64 (base64 -d > fuzz/seeds/%s/NAME):\n' "$(basename "$input")" "$1"
        base64 -w 0 "$input"
        echo
    done
}

if [ $# = 0 ]; then
    for target in fuzz/fuzz_targets/*.rs; do set -- "$@" "$(basename "$target" .rs)"; done
fi
for target in "$@"; do
    runs=${FUZZ_RUNS:-$(inputs "$target")}
    printf 'fuzz %s: %s inputs\n' "$target" "$runs"
    rm -rf "$work"/*
    mkdir "$work/corpus" "$work/found"
    # In one order, which a folder has not.
    LC_ALL=C find "$PWD/fuzz/seeds/$target" -type f | LC_ALL=C sort | paste -sd, - > "$work/seeds"
    if ! cargo +nightly fuzz run "$target" "$work/corpus" -- -seed="${FUZZ_SEED:-1}" -runs="$runs" -max_len=4096 \
        -seed_inputs="@$work/seeds" -use_cmp=0 -reload=0 -artifact_prefix="$work/found/" -verbosity=0 > "$work/log" 2>&1; then
        report "$target"
        exit 1
    fi
done
