#!/usr/bin/env bash
# Whether a request has become dearer: instructions in user space, counted by callgrind, held against expected.json.
#
#   benches/guard/run.sh                the debug build, which the tests have made already
#   benches/guard/run.sh release        the release build, which is what users run
#   benches/guard/run.sh --update       what was counted is what is expected from now on
#
# A count does not lie on a busy machine, as a clock does. It says nothing of the kernel's share, of caches or of waiting:
# for those see benches/compare. The debug build takes about ten times as many, but no more of them for no reason.
# Needs valgrind, redis-server and Python 3.
set -euo pipefail
cd "$(dirname "$0")/../.."

profile=debug options=()
for argument in "$@"; do
    case $argument in release) profile=release options=(--release) ;; --update) update=--update ;; *) exit 2 ;; esac
done
for tool in valgrind redis-server python3; do
    command -v "$tool" >/dev/null || { echo "benches/guard/run.sh: $tool is needed" >&2; exit 2; }
done
cargo build --quiet --locked "${options[@]}" --bin cachewarp
cargo build --quiet --locked "${options[@]}" --example bare_hyper
exec python3 -B benches/guard/guard.py "$profile" "${CARGO_TARGET_DIR:-target}/$profile" ${update:-}
