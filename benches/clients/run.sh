#!/usr/bin/env bash
# Measures the cost of a GET with CacheWarp's client, redis-rs and fred: builds the comparison and
# runs it. ROUNDS and ROUND_MS make it longer. Needs two cores, so that the server has its own.
set -euo pipefail
cd "$(dirname "$0")"
command -v redis-server >/dev/null || { printf 'benches/clients/run.sh: redis-server is not installed\n' >&2; exit 1; }
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-../../target/clients} cargo run --release --quiet
