#!/usr/bin/env bash
# The quick tier: format, lints, unit tests without simulations, and the rules of tests/tidy.rs. After a
# first build it takes a minute or two. `tests/run.sh` runs everything.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s (after %d s)\n' "$*" "$SECONDS"; }

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --quiet --lib --bins --locked -- -D warnings

step "unit tests"
# The simulations of fleets and of Redis servers take minutes.
cargo test --quiet --locked --lib -- --skip store::tests:: --skip redis::tests::

step "the rules of the tree"
cargo test --quiet --locked --test tidy

step "the quick checks passed; tests/run.sh runs the others"
