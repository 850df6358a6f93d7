"""A body of 1 GiB, passed through: the server's memory meanwhile, and the throughput.

The client, the origin and the load share the other core, which also bounds the throughput. The CPU
time that a server takes for a GiB is its own.
"""

import threading

from measure import load
from processes import Process
from servers import Servers
from session import options, print_head, row, rule, servers, spread

MIB = 1024 * 1024
SAMPLE_SECONDS = 0.02


def main():
    """Runs all rounds, and prints the table."""
    parser = options(__doc__.splitlines()[0], 5)
    parser.add_argument("--mebibytes", type=int, default=1024, help="size of the body")
    chosen = parser.parse_args()
    with servers(chosen) as started:
        origin, redis = started.origin(), started.redis()
        subjects = [
            ("CacheWarp", started.cachewarp(origin, redis)),
            ("nginx", started.nginx(origin)),
            ("HAProxy", started.haproxy(origin)),
            ("Varnish (pass)", started.varnish(origin)),
        ]
        rounds = [[transfer(started, server, chosen.mebibytes) for _, server in subjects] for _ in range(chosen.rounds)]
    print_head(f"{chosen.mebibytes} MiB, one client, {chosen.rounds} rounds")
    heads = ["MiB per second", "÷ nginx", "CPU s", "÷ nginx", "memory before, MiB", "maximum while passing, MiB"]
    rule("subject", *heads, "errors")
    for index, (name, _) in enumerate(subjects):
        own = [one[index] for one in rounds]
        row(
            name,
            spread([one["rate"] for one in own], ",.0f"),
            spread([one[index]["rate"] / one[1]["rate"] for one in rounds], ".2f"),
            spread([one["cpu"] for one in own], ".2f"),
            spread([one[index]["cpu"] / one[1]["cpu"] for one in rounds], ".2f"),
            spread([one["before"] for one in own], ".1f"),
            spread([one["most"] for one in own], ".1f"),
            str(sum(one["errors"] for one in own)),
        )


def transfer(started: Servers, server: Process, mebibytes: int) -> dict:
    """Runs one round of one subject."""
    path = f"/passed/large?store=no&bytes={mebibytes * MIB}"
    before, cpu = server.resident_bytes(), server.cpu_seconds()
    with Watch(server) as watch:
        options = ["--connections", "1", "--timeout", "120"]
        [result] = load(server, [path], ["body,rate=max,requests=1"], started.cores, *options)
    if result["bytes"] < mebibytes * MIB:
        raise RuntimeError(f"{path}: cut after {result['bytes']} bytes")
    return {
        "rate": result["bytes"] / MIB / result["seconds"],
        "cpu": server.cpu_seconds() - cpu,
        "before": before / MIB,
        "most": max(watch.samples) / MIB,
        "errors": result["errors"],
    }


class Watch:
    """A server's memory over time, sampled from /proc."""

    def __init__(self, server: Process):
        self.samples = [server.resident_bytes()]
        self._server, self._end = server, threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    def _sample(self):
        while not self._end.wait(SAMPLE_SECONDS):
            self.samples.append(self._server.resident_bytes())


if __name__ == "__main__":
    main()
