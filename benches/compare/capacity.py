"""The cost of a request for a node and for Redis, and the computed capacity of fleets.

The measured figures are the CPU time of each process for a request in a closed loop, and the bytes
that Redis reports as sent and received. The computation assumes one fully used core for each worker
and each Redis, so its result is the saturation point; plan for two thirds of it. It ignores losses
by imbalance, of keys over shards or of connections over workers.
"""

import socket
from dataclasses import dataclass, fields
from statistics import median

from measure import CONNECTIONS, load
from processes import Process
from servers import BODY_BYTES, Servers, fetches
from session import options, print_head, row, rule, servers, spread

ENTRIES = 1_000
WORKERS_PER_NODE = 4
# Ten gigabits a second: the network card of one Redis server.
LINK_BYTES_PER_SECOND = 10e9 / 8
FLEETS = [("10 nodes, one Redis", 10, 1), ("100 nodes, a Cluster of 16", 100, 16)]
MEMORY_SHARES = [0.0, 0.9, 0.99]


@dataclass
class Spent:
    """The cost of one request."""

    node_micros: float
    redis_micros: float
    sent_bytes: float
    received_bytes: float


def main():
    """Measures, computes, and prints."""
    parser = options(__doc__.splitlines()[0], 5)
    parser.add_argument("--seconds", type=float, default=2, help="seconds of load for each kind in a round")
    chosen = parser.parse_args()
    kinds = ["hit in memory", "hit in Redis", "miss, fetched and stored"]
    rounds = []
    with servers(chosen) as started:
        origin, redis = started.origin(), started.redis()
        memory = started.cachewarp(origin, None)
        tiers = started.cachewarp(origin, redis, cache_memory_size="0")
        for number in range(chosen.rounds):
            path = f"/cached/{{0..{ENTRIES}}}?bytes={BODY_BYTES}"
            # Each request of the round has its own number.
            fresh = f"/cached/{number}-{{0..1000000000}}?bytes={BODY_BYTES}"
            rounds.append([
                spent(started, memory, None, origin, path, chosen.seconds, 0),
                spent(started, tiers, redis, origin, path, chosen.seconds, 0),
                spent(started, tiers, redis, origin, fresh, chosen.seconds, 1),
            ])
    print_head(f"{BODY_BYTES} bytes of JSON, {CONNECTIONS} connections, {chosen.rounds} rounds of {chosen.seconds} s")
    rule("request", "CPU µs of the node", "CPU µs of Redis", "bytes from Redis", "bytes to Redis")
    for index, kind in enumerate(kinds):
        own = [one[index] for one in rounds]
        row(
            kind,
            spread([one.node_micros for one in own], ".1f"),
            spread([one.redis_micros for one in own], ".1f"),
            spread([one.sent_bytes for one in own], ",.0f"),
            spread([one.received_bytes for one in own], ",.0f"),
        )
    print_fleets(*(middle([one[index] for one in rounds]) for index in (0, 1)))


def middle(rounds: list[Spent]) -> Spent:
    """Returns the median of each figure."""
    return Spent(*(median(getattr(one, part.name) for one in rounds) for part in fields(Spent)))


def spent(
    started: Servers, server: Process, redis: Process | None, origin: Process, path: str, seconds: float, fetched: int
) -> Spent:
    """Runs one round of one kind, with this many expected fetches for each request."""
    order = ["--order", "sequential"]
    if not fetched:
        load(server, [path], [f"fill,rate=max,requests={2 * ENTRIES}"], started.cores, *order)
    asked, node = fetches(origin), server.cpu_seconds()
    before = account(redis) if redis else (0.0, 0, 0)
    [result] = load(server, [path], [f"ask,rate=max,seconds={seconds}"], started.cores, *order)
    node = server.cpu_seconds() - node
    after = account(redis) if redis else (0.0, 0, 0)
    share = (fetches(origin) - asked) / result["answers"]
    if result["errors"] or abs(share - fetched) > 0.02:
        raise RuntimeError(f"{path}: {share:.2f} fetches for each request, {result['errors']} errors")
    cpu, sent, received = (late - early for early, late in zip(before, after))
    answers = result["answers"]
    return Spent(1e6 * node / answers, 1e6 * cpu / answers, sent / answers, received / answers)


def account(redis: Process) -> tuple[float, int, int]:
    """Returns the CPU seconds of a Redis, the bytes sent, and the bytes received."""
    with socket.create_connection(("127.0.0.1", redis.port), timeout=10) as stream:
        stream.sendall(b"INFO stats\r\nQUIT\r\n")
        text = b"".join(iter(lambda: stream.recv(65536), b"")).decode()
    statistics = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return redis.cpu_seconds(), int(statistics["total_net_output_bytes"]), int(statistics["total_net_input_bytes"])


def print_fleets(memory: Spent, tiers: Spent):
    """Prints the capacity of each part of a fleet, and the part that saturates first."""
    print()
    rule("fleet", "hits in memory", "nodes, a second", "Redis' CPU, a second", "Redis' link, a second", "saturates first")
    for name, nodes, shards in FLEETS:
        for share in MEMORY_SHARES:
            node = 1e6 / (share * memory.node_micros + (1 - share) * tiers.node_micros)
            carried = {
                "the nodes": nodes * WORKERS_PER_NODE * node,
                "Redis' CPU": shards * 1e6 / tiers.redis_micros / (1 - share),
                "Redis' link": shards * LINK_BYTES_PER_SECOND / tiers.sent_bytes / (1 - share),
            }
            figures = [f"{rate / 1e6:,.2f} million" for rate in carried.values()]
            row(f"{name}, {WORKERS_PER_NODE} workers each", f"{share:.0%}", *figures, min(carried, key=carried.get))


if __name__ == "__main__":
    main()
