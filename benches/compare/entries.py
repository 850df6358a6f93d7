"""The memory of an entry of 1 KiB, among 500,000 of them.

Each server has memory for all entries. It gets one request for each, then requests for some of them
at random, which must not reach the origin. The figure is the growth of resident memory, from /proc,
divided by the number of entries.
"""

import re
import urllib.request

from measure import fill, load
from processes import Process
from servers import Servers, fetches
from session import options, print_head, row, rule, servers, spread

BODY_BYTES = 1024
MEMORY = {"CacheWarp": "4GiB", "Varnish": "4g"}
# The number of repeated requests.
PROBES = 20_000


def main():
    """Runs all rounds, and prints the table."""
    parser = options(__doc__.splitlines()[0], 1)
    parser.add_argument("--entries", type=int, default=500_000, help="number of entries")
    chosen = parser.parse_args()
    found: dict[str, list[dict]] = {name: [] for name in MEMORY}
    for _ in range(chosen.rounds):
        for name in MEMORY:
            with servers(chosen) as started:
                found[name].append(filled(started, name, chosen.entries))
    print_head(f"{chosen.entries:,} entries of {BODY_BYTES} bytes, {chosen.rounds} rounds")
    rule("subject", "resident bytes per entry", "MiB before", "MiB after", "hits among probes", "its own metric, bytes per entry")
    for name, own in found.items():
        row(
            name,
            spread([one["each"] for one in own], ",.0f"),
            spread([one["before"] / 2**20 for one in own], ".1f"),
            spread([one["after"] / 2**20 for one in own], ",.1f"),
            spread([one["hits"] for one in own], ".1%"),
            spread([one["account"] for one in own], ",.0f") if own[0]["account"] else "-",
        )


def filled(started: Servers, name: str, entries: int) -> dict:
    """Runs one round of one subject."""
    origin = started.origin()
    if name == "CacheWarp":
        server = started.cachewarp(origin, None, cache_memory_size=MEMORY[name], cache_admission_budget=MEMORY[name])
    else:
        server = started.varnish(origin, MEMORY[name])
    path = f"/cached/{{0..{entries}}}?bytes={BODY_BYTES}"
    # Allocates memory that does not depend on the entries: connections, buffers, code.
    load(server, ["/cached/warm"], ["warm,rate=max,requests=1000"], started.cores)
    before = server.resident_bytes()
    fill(server, path, entries, started.cores)
    after, asked = server.resident_bytes(), fetches(origin)
    load(server, [path], [f"probe,rate=max,requests={PROBES}"], started.cores)
    hits = 1 - (fetches(origin) - asked) / PROBES
    return {
        "each": (after - before) / (entries * hits),
        "before": before,
        "after": after,
        "hits": hits,
        "account": own_metric(server) / entries if server.admin_port else 0,
    }


def own_metric(server: Process) -> float:
    """Returns the size of the memory tier by CacheWarp's metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.admin_port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return float(re.search(r"^cachewarp_memory_bytes(?:\{.*\})? (\S+)$", text, re.MULTILINE).group(1))


if __name__ == "__main__":
    main()
