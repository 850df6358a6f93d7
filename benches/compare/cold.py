"""A cold key: 500 clients request an unstored resource at once, and the origin takes 100 ms.

All of them could have their answer after little more than 100 ms, and one fetch is enough. Each
round has its own key. nginx makes the other requests wait by `proxy_cache_lock`; Varnish and
HAProxy have their defaults.
"""

from measure import load
from servers import Servers, fetches
from session import options, print_head, row, rule, servers, spread

CLIENTS = 500
DELAY_MILLIS = 100
# All requests are due within half a millisecond, faster than the load can send them, so that its
# sending is part of the figures.
RATE = 1_000_000


def main():
    """Runs all rounds, and prints the table."""
    chosen = options(__doc__.splitlines()[0], 9).parse_args()
    with servers(chosen) as started:
        origin = started.origin()
        subjects = [
            ("CacheWarp over Redis", started.cachewarp(origin, started.redis())),
            ("CacheWarp, memory alone", started.cachewarp(origin, None)),
            ("nginx, proxy_cache_lock", started.nginx(origin)),
            ("Varnish", started.varnish(origin)),
            ("HAProxy", started.haproxy(origin)),
        ]
        rounds = [[burst(started, server, origin, number) for _, server in subjects] for number in range(chosen.rounds)]
    print_head(f"{CLIENTS} clients, one cold key, an origin of {DELAY_MILLIS} ms, {chosen.rounds} rounds")
    rule("subject", "P50 ms", "P99 ms", "max ms", "fetches", "errors")
    for index, (name, _) in enumerate(subjects):
        own = [one[index] for one in rounds]
        times = [spread([result["latency_micros"][part] / 1e3 for result, _ in own], ".0f") for part in ("p50", "p99", "max")]
        row(name, *times, spread([asked for _, asked in own], ".0f"), str(sum(result["errors"] for result, _ in own)))


def burst(started: Servers, server, origin, number: int) -> tuple[dict, int]:
    """Runs one round of one subject. Returns the load's results and the number of fetches."""
    before = fetches(origin)
    path = f"/cached/cold-{number}?delay={DELAY_MILLIS}"
    phase = f"burst,rate={RATE},requests={CLIENTS}"
    [result] = load(server, [path], [phase], started.cores, "--connections", str(CLIENTS))
    return result, fetches(origin) - before


if __name__ == "__main__":
    main()
