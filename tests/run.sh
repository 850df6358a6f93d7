#!/usr/bin/env bash
# Runs all checks: format, lints, tests, one run of each bench, the fuzz targets for some seconds
# each, the public cache-tests suite. Installs missing tools: redis-server, node with npm, and
# cargo-fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s (after %d s)\n' "$*" "$SECONDS"; }
missing() { printf 'tests/run.sh: %s is needed: %s\n' "$1" "$2" >&2; exit 1; }

command -v cargo >/dev/null || missing cargo "install a Rust toolchain of at least the rust-version in Cargo.toml"

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
install() {
    say "installing $*"
    command -v apt-get >/dev/null || missing "$1" "install it with your package manager"
    { as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq "$@"; } \
        || missing "$1" "apt-get could not install it"
}
command -v redis-server >/dev/null || install redis-server
command -v npm >/dev/null || install nodejs npm

for component in rustfmt clippy; do
    cargo "${component/rust/}" --version >/dev/null 2>&1 || rustup component add "$component"
done

say "format"
cargo fmt --all --check
cargo fmt --manifest-path fuzz/Cargo.toml --check
cargo fmt --manifest-path benches/load/Cargo.toml --check
cargo fmt --manifest-path benches/faults/Cargo.toml --check

say "lints"
cargo clippy --quiet --all-targets --locked -- -D warnings

say "tests"
cargo test --quiet --locked --no-run
# The tests spend much of their time waiting, above all for fail-overs. One job builds the fuzz
# targets meanwhile, in one binary, which leaves a processor to the tests.
can_fuzz=
if cargo +nightly --version >/dev/null 2>&1; then
    can_fuzz=yes
    fuzz=$(mktemp -d)
    # A process group of its own, so that the trap ends the compilers too and not the shell alone.
    set -m
    {
        cargo fuzz --version >/dev/null 2>&1 || cargo install --quiet --locked --jobs 1 cargo-fuzz
        CARGO_BUILD_JOBS=1 cargo +nightly fuzz build all_targets
    } > "$fuzz/log" 2>&1 < /dev/null &
    fuzz_build=$!
    set +m
    trap 'kill -- "-$fuzz_build" 2>/dev/null || true; rm -rf "$fuzz"' EXIT
fi
cargo test --quiet --locked

say "the load generator"
cargo clippy --quiet --manifest-path benches/load/Cargo.toml --all-targets --locked -- -D warnings
cargo test --quiet --manifest-path benches/load/Cargo.toml --locked
cargo clippy --quiet --manifest-path benches/faults/Cargo.toml --all-targets --locked -- -D warnings

say "the documentation's links"
RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --quiet --locked --no-deps --document-private-items

# This script does not install cargo-deny, because its build takes minutes.
if cargo deny --version >/dev/null 2>&1; then
    say "licences, bans and sources of the dependencies"
    cargo deny --offline --log-level error check licenses bans sources
else
    say "cargo-deny is missing: licences, bans and sources of the dependencies are not checked"
fi

# The scenario promtool_finds_no_fault needs it; it is part of Prometheus.
if ! command -v promtool >/dev/null 2>&1; then
    say "promtool is missing: the format of the metrics is checked by our own reader alone"
fi

say "the files for operators"
tests/packaging.sh

say "one run of each bench"
cargo bench --quiet --locked --profile dev -- --test

# The guard uses the build of the tests. Without valgrind, only tests/allocations.rs watches the
# costs.
if command -v valgrind >/dev/null && command -v python3 >/dev/null; then
    say "instructions per request"
    benches/guard/run.sh
fi

# Fuzzing needs a nightly compiler. Without one, only the seeds have run, above
# (tests/fuzz_seeds.rs).
if [ -n "$can_fuzz" ]; then
    say "fuzz"
    wait "$fuzz_build" || { cat "$fuzz/log" >&2; exit 1; }
    tests/fuzz.sh
else
    say "no nightly toolchain: the fuzz targets ran on their seeds only"
fi

# The suite runs against the build of the tests: the verdicts are the same as for a release build,
# and no second build is needed.
say "the public cache-tests suite"
CACHEWARP_BIN=${CARGO_TARGET_DIR:-target}/debug/cachewarp tests/conformance/run.sh

say "all checks passed"
