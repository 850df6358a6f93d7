#!/usr/bin/env bash
# Compares CacheWarp with bare hyper, nginx, HAProxy and Varnish.
#
#   benches/compare/run.sh            CPU time per request, and P50, P99, P99.9 at 8,000 and 30,000
#                                     a second: 9 rounds of 4 s for each subject, about 20 minutes
#   benches/compare/run.sh --quick    3 rounds of 1 s
#   benches/compare/run.sh --only 'CacheWarp.*hit'        only matching subjects, and bare hyper
#   benches/compare/run.sh cold       500 clients on one cold key; the origin takes 100 ms
#   benches/compare/run.sh large      1 GiB passed through: memory over time, throughput
#   benches/compare/run.sh entries    memory for each of 500,000 entries of 1 KiB
#   benches/compare/run.sh start      from the start of the process to the first answer
#   benches/compare/run.sh capacity   cost of a request for a node and Redis; capacity of fleets
#   benches/compare/run.sh fleet      ten nodes on one cold key; staleness; a purge storm; a million
#                                     entries purged by their tag
#   benches/compare/run.sh handshakes TLS 1.3: cost of a full and of a resumed handshake, and of a
#                                     hit, for the server and for its peers
#   benches/compare/run.sh growth     cost of a hit by entries, connections, body, variants and
#                                     workers: benches/growth
#   benches/compare/run.sh sealed     seals and compression: bytes in Redis, instructions and CPU of
#                                     a hit, CPU of Redis (needs valgrind)
#
# Each takes --help, --rounds, and --realtime for a machine with other load (needs root). The script
# installs missing programs by apt-get: nginx, haproxy, varnish, wrk, redis-server. It needs Linux,
# two cores and Python 3. All servers use free loopback ports and a temporary folder, are stopped by
# their process ids, and end with the program that started them. measure.py describes the
# measurements, servers.py the servers.
set -euo pipefail
cd "$(dirname "$0")/../.."

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
PATH=$PATH:/usr/sbin:/usr/local/sbin
lacking=()
for pair in nginx:nginx haproxy:haproxy varnishd:varnish wrk:wrk redis-server:redis-server; do
    command -v "${pair%:*}" >/dev/null || lacking+=("${pair#*:}")
done
if [ ${#lacking[@]} -gt 0 ]; then
    echo "installing ${lacking[*]}" >&2
    { as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq "${lacking[@]}"; } >&2
fi

# Separate builds: together they would share the features of the tests' dependencies.
cargo build --quiet --profile dist --locked --bin cachewarp
cargo build --quiet --profile dist --locked --example bare_hyper --example bare_proxy --example bench_origin
cargo build --quiet --release --locked --manifest-path benches/load/Cargo.toml

program=compare
case "${1:-}" in
    cold | large | entries | start | capacity | fleet | growth | handshakes | sealed) program=$1 && shift ;;
esac
exec python3 -B "benches/compare/$program.py" "$@"
