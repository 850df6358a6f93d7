#!/usr/bin/env bash
# Runs all fuzz targets, or the named ones, over a fixed number of inputs derived from one seed:
# every machine tries the same inputs, and a failure is reproducible. Each run begins with
# fuzz/seeds/ alone, so earlier runs have no influence.
#
#   FUZZ_RUNS=1000000 FUZZ_SEED=7 tests/fuzz.sh entry_decode     more inputs, from another seed
#
# One binary contains all targets. To run one target with other options of libFuzzer, for instance on
# one input: cargo +nightly fuzz run TARGET INPUT.
#
# -use_cmp=0 keeps libFuzzer from learning from compared values, which include addresses and differ
# between runs. One source of chance remains: the order of a HashMap in a target differs between
# processes.
set -euo pipefail
cd "$(dirname "$0")/.."

# Prints the number of inputs that take three to five seconds on an idle machine.
inputs() {
    case $1 in
        body | origin_response) echo 2000 ;;
        recorded_heads) echo 4000 ;;
        outbound | targeted) echo 10000 ;;
        cache_control | cluster_map | location | range | tags) echo 15000 ;;
        *) echo 25000 ;;
    esac
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Prints the messages of the first failure, and the input, which becomes a seed.
report() {
    printf '\nfuzz %s failed:\n' "$1"
    sed -n '/panicked at\|ERROR: \|error\(\[E[0-9]*\]\)\?: /,$p' "$work/log" | grep -av '^INFO:' | head -n 60
    for input in "$work"/found/*; do
        [ -e "$input" ] || continue
        printf '\n%s, in base64 (base64 -d > fuzz/seeds/%s/NAME):\n' "$(basename "$input")" "$1"
        base64 -w 0 "$input"
        echo
    done
}

if [ $# = 0 ]; then
    for target in fuzz/fuzz_targets/*.rs; do
        [ "$target" = fuzz/fuzz_targets/all_targets.rs ] || set -- "$@" "$(basename "$target" .rs)"
    done
fi
for target in "$@"; do
    runs=${FUZZ_RUNS:-$(inputs "$target")}
    printf 'fuzz %s: %s inputs\n' "$target" "$runs"
    rm -rf "$work"/*
    mkdir "$work/corpus" "$work/found"
    # Sorts the seeds, because the order of files in a folder varies.
    LC_ALL=C find "$PWD/fuzz/seeds/$target" -type f | LC_ALL=C sort | paste -sd, - > "$work/seeds"
    if ! FUZZ_TARGET=$target cargo +nightly fuzz run all_targets "$work/corpus" -- -seed="${FUZZ_SEED:-1}" -runs="$runs" -max_len=4096 \
        -seed_inputs="@$work/seeds" -use_cmp=0 -reload=0 -artifact_prefix="$work/found/" -verbosity=0 > "$work/log" 2>&1; then
        report "$target"
        exit 1
    fi
done
