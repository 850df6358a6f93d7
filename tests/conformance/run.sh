#!/usr/bin/env bash
# Tests CacheWarp with the public cache-tests suite: run.sh [--update] [--only TEST] [PROFILE...]
# CACHEWARP_BIN names the binary to test; without it, the script builds the release binary. CACHE_TESTS_DIR
# names a checkout of the suite whose tests run instead of those of the npm release. See README.md.
set -euo pipefail
[ -z "${CACHEWARP_BIN:-}" ] || CACHEWARP_BIN=$(realpath -- "$CACHEWARP_BIN")
[ -z "${CACHE_TESTS_DIR:-}" ] || CACHE_TESTS_DIR=$(realpath -- "$CACHE_TESTS_DIR")
export CACHE_TESTS_DIR="${CACHE_TESTS_DIR:-}"
cd "$(dirname "$0")"

for tool in node npm redis-server; do
    command -v "$tool" >/dev/null || { echo "tests/conformance/run.sh: $tool is needed" >&2; exit 2; }
done

if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
fi

if [ -z "${CACHEWARP_BIN:-}" ]; then
    cargo build --quiet --release --locked --manifest-path ../../Cargo.toml
    CACHEWARP_BIN=${CARGO_TARGET_DIR:-../../target}/release/cachewarp
fi
exec node run.mjs "$CACHEWARP_BIN" "$@"
