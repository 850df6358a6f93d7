#!/usr/bin/env bash
# Counts the instructions of a request in user space, and of finding a route among 200, by
# callgrind, and compares them with expected.json.
#
#   benches/guard/run.sh                the debug build, which the tests have already built
#   benches/guard/run.sh dist           the build of image and packages
#   benches/guard/run.sh release        the build of the first minute
#   benches/guard/run.sh --update       writes the counts into expected.json
#
# Other load on the machine does not change a count, as it changes a time. The count excludes the
# kernel, the CPU's caches and waiting; for those see benches/compare. The debug build takes about
# ten times as many instructions, but its changes have the same causes. Needs valgrind, redis-server
# and Python 3.
set -euo pipefail
cd "$(dirname "$0")/../.."

profile=debug options=()
for argument in "$@"; do
    case $argument in
        dist | release) profile=$argument options=(--profile "$argument") ;;
        --update) update=--update ;;
        *) exit 2 ;;
    esac
done
for tool in valgrind redis-server python3; do
    command -v "$tool" >/dev/null || { echo "benches/guard/run.sh: $tool is not installed" >&2; exit 2; }
done
cargo build --quiet --locked "${options[@]}" --bin cachewarp
cargo build --quiet --locked "${options[@]}" --example bare_hyper --example find_routes
exec python3 -B benches/guard/guard.py "$profile" "${CARGO_TARGET_DIR:-target}/$profile" ${update:-}
