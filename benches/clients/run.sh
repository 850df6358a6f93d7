#!/usr/bin/env bash
# What a GET costs with our client, redis-rs and fred: builds the comparison by itself and runs it.
# ROUNDS and ROUND_MS make it longer. Two cores at least, or the server is in the way.
set -euo pipefail
cd "$(dirname "$0")"
command -v redis-server >/dev/null || { printf 'benches/clients/run.sh: redis-server is needed\n' >&2; exit 1; }
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-../../target/clients} cargo run --release --quiet
