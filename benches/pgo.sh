#!/usr/bin/env bash
# Builds cachewarp with rustc's profile-guided optimisation: a second build uses the profile of a
# first one.
#
#   benches/pgo.sh            target/pgo/cachewarp, in about ten minutes on two cores
#
# The first build counts the branches; benches/compare/train.py sends it the frequent kinds of
# requests; the second build uses the counts. Its behaviour does not change, and
# `CACHEWARP_BIN=target/pgo/cachewarp benches/compare/run.sh` shows its cost. This build is
# optional: CI tests the build without a profile. The script needs Python 3, redis-server, wrk, and
# llvm-tools, which rustup installs if it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in python3 redis-server wrk; do
    command -v "$tool" >/dev/null || { echo "benches/pgo.sh: $tool is not installed" >&2; exit 2; }
done
host=$(rustc -vV | sed -n 's/^host: //p')
merge=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
[ -x "$merge" ] || rustup component add llvm-tools
work=$PWD/target/pgo
rm -rf "$work/counts" "$work/counts.profdata"

# With an explicit target, the flags do not apply to build scripts and macros.
build() { RUSTFLAGS=$1 cargo build --quiet --profile dist --locked --bin cachewarp --target "$host" --target-dir "$work/$2"; }
cargo build --quiet --profile dist --locked --example bare_hyper --example bench_origin
cargo build --quiet --release --locked --manifest-path benches/load/Cargo.toml

echo "building with counters"
build "-Cprofile-generate=$work/counts" counters
echo "running the training load"
CACHEWARP_BIN=$work/counters/$host/dist/cachewarp python3 -B benches/compare/train.py
"$merge" merge -o "$work/counts.profdata" "$work/counts"
echo "building with the profile"
build "-Cprofile-use=$work/counts.profdata" profiled
cp "$work/profiled/$host/dist/cachewarp" "$work/cachewarp"
echo "$work/cachewarp"
