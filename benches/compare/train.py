"""The training load of a profile-guided build: benches/pgo.sh.

The load has every frequent kind of request, in a closed loop of 64 connections. Rare kinds are left
out: the compiler takes a branch that was never taken for a rare one, which is right.
"""

import os

from measure import CONNECTIONS, cost, flawless
from processes import Process
from servers import BODY_BYTES, FOLDER, Servers
from session import options, servers
from subjects import PRIVATE_FIELDS, Subject

ENTRIES = 1_000
SIZES = [200, BODY_BYTES, 8_000]


def main():
    """Runs the load. Each node writes its profile when it ends, at the end of the program."""
    parser = options(__doc__.splitlines()[0], 1)
    parser.add_argument("--seconds", type=float, default=3, help="seconds of load for each kind in a round")
    chosen = parser.parse_args()
    with servers(chosen) as started:
        for _ in range(chosen.rounds):
            train(started, chosen.seconds)


def train(started: Servers, seconds: float):
    """Runs one round of all kinds."""
    origin, redis = started.origin(), started.redis()
    private = started.bare_hyper(started.cores.load, PRIVATE_FIELDS)
    nodes = [
        started.cachewarp(origin, redis),
        started.cachewarp(origin, redis, cache_memory_size="0"),
        started.cachewarp(origin, None),
    ]
    passing = started.cachewarp(private, redis)
    for size in SIZES:
        hot = f"/cached/{{0..{ENTRIES}}}?bytes={size}"
        fresh = f"/cached/{size}-{{0..1000000000}}?bytes={size}"
        for node in nodes:
            ask(started, node, hot, seconds)
            # Misses are a small part of the load.
            ask(started, node, fresh, seconds / 3)
            ask(started, node, hot, seconds / 3, "--header", 'if-none-match: "none"')
    ask(started, passing, "/passed", seconds)
    ask(started, passing, f"/passed/{{0..{ENTRIES}}}", seconds, "--header", "authorization: Bearer {0..100}")
    post = os.path.join(FOLDER, "post.lua")
    cost(Subject("POST", passing, "/passed", private, False, post), seconds, started.cores)


def ask(started: Servers, node: Process, path: str, seconds: float, *more: str):
    """Runs a closed loop."""
    flawless(node, path, f"ask,rate=max,seconds={seconds}", started.cores, "--connections", str(CONNECTIONS), *more)


if __name__ == "__main__":
    main()
