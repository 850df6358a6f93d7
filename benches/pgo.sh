#!/usr/bin/env bash
# Builds cachewarp a second time, laid out by what a first build was seen to do (profile-guided optimisation, as rustc has it).
#
#   benches/pgo.sh            target/pgo/cachewarp, in about ten minutes on two cores
#
# The first build counts which way each branch goes; benches/compare/train.py asks it for what a node answers often; the
# second build is told. What it answers is the same; what it costs, `CACHEWARP_BIN=target/pgo/cachewarp
# benches/compare/run.sh` shows beside the peers. Nobody needs this for a build: `cargo build --release` is what CI tests.
# Needs Python 3, redis-server, wrk and, by rustup, llvm-tools, which is installed if it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in python3 redis-server wrk; do
    command -v "$tool" >/dev/null || { echo "benches/pgo.sh: $tool is needed" >&2; exit 2; }
done
host=$(rustc -vV | sed -n 's/^host: //p')
merge=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
[ -x "$merge" ] || rustup component add llvm-tools
work=$PWD/target/pgo
rm -rf "$work/counts" "$work/counts.profdata"

# For a target that is named, the flags are not those of build scripts and macros as well.
build() { RUSTFLAGS=$1 cargo build --quiet --release --locked --bin cachewarp --target "$host" --target-dir "$work/$2"; }
cargo build --quiet --release --locked --example bare_hyper --example bench_origin
cargo build --quiet --release --locked --manifest-path benches/load/Cargo.toml

echo "a build that counts"
build "-Cprofile-generate=$work/counts" counting
echo "what it is asked"
CACHEWARP_BIN=$work/counting/$host/release/cachewarp python3 -B benches/compare/train.py
"$merge" merge -o "$work/counts.profdata" "$work/counts"
echo "a build that knows"
build "-Cprofile-use=$work/counts.profdata" knowing
cp "$work/knowing/$host/release/cachewarp" "$work/cachewarp"
echo "$work/cachewarp"
