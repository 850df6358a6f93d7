"""A cold key: 500 clients ask at once for what nobody has, and the origin takes 100 ms.

All of them could have their answer after little more than 100 ms, and one fetch is enough. Each round has a key of its
own. nginx holds the others back by `proxy_cache_lock`; Varnish and HAProxy do what they do by themselves.
"""

from measure import load
from servers import Servers, fetches
from session import options, print_head, row, rule, servers, spread

CLIENTS = 500
DELAY_MILLIS = 100
# All are due within half a millisecond: sooner than the load can send them, so that its own sending is in the figures.
RATE = 1_000_000


def main():
    """Measures, and prints."""
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
        times = [spread([told["latency_micros"][part] / 1e3 for told, _ in own], ".0f") for part in ("p50", "p99", "max")]
        row(name, *times, spread([asked for _, asked in own], ".0f"), str(sum(told["errors"] for told, _ in own)))


def burst(started: Servers, server, origin, number: int) -> tuple[dict, int]:
    """One round of one subject: what the load tells, and how often the origin was asked."""
    before = fetches(origin)
    path = f"/cached/cold-{number}?delay={DELAY_MILLIS}"
    phase = f"burst,rate={RATE},requests={CLIENTS}"
    [told] = load(server, [path], [phase], started.cores, "--connections", str(CLIENTS))
    return told, fetches(origin) - before


if __name__ == "__main__":
    main()
