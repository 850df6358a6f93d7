"""The growth of a hit's cost with entries, connections, the body, variants, and workers.

Each point is the CPU time of the server for each hit in memory, in a closed loop, beside that of
bare hyper, which gets equal load in that round and answers with as many bytes. The program writes
benches/growth/growth.csv, a line for each point and round, and the plots beside it (plot.py). With
two workers the server runs on both cores, which it then shares with the load: that row shows the
cost of a second worker, not its gain.
"""

import csv
from dataclasses import dataclass, field

from measure import fill, hits, load
from plot import CSV, TITLES, plot_all
from processes import Process
from servers import BODY_BYTES, Servers, fetches, fields_of_a_hit
from session import options, servers

CONNECTIONS = 64
# The number of entries of the points that do not vary it.
ENTRIES = 1_000
# The body size of the points that vary the number of entries: a million of them fit.
SMALL_BYTES = 256
MEMORY = "3GiB"
# The share of a point's requests that may be misses.
MISSES_MAX = 0.01
COLUMNS = ["what", "value", "round", "cpu_micros", "bare_micros", "per_second", "errors"]


@dataclass
class Point:
    """A point of one plot."""

    what: str
    value: int
    server: Process
    bare: Process
    # The path of the requests, with one range for the entries.
    path: str
    connections: int = CONNECTIONS
    header: list[str] = field(default_factory=list)


def main():
    """Measures, writes the file, and plots."""
    parser = options(__doc__.splitlines()[0], 3)
    parser.add_argument("--seconds", type=float, default=2, help="seconds of load for each point in a round")
    parser.add_argument("--entries", type=int, default=1_000_000, help="the largest number of entries")
    parser.add_argument("--only", choices=TITLES, help="measure one plot, and keep the rest of the file")
    chosen = parser.parse_args()
    with servers(chosen) as started:
        points = [] if chosen.only not in (None, "entries") else by_entries(started, chosen.entries)
        points += [] if chosen.only == "entries" else by_the_rest(started, chosen.only)
        lines = kept(chosen.only) if chosen.only else []
        for number in range(chosen.rounds):
            for point in points:
                lines.append([point.what, point.value, number, *measured(started, point, chosen.seconds)])
    with open(CSV, "w", newline="", encoding="ascii") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *lines])
    plot_all()


def kept(other: str) -> list[list[str]]:
    """Returns the lines of the file that are not measured again."""
    with open(CSV, newline="", encoding="ascii") as file:
        return [line for line in list(csv.reader(file))[1:] if line[0] != other]


def by_entries(started: Servers, most: int) -> list[Point]:
    """Starts a server for each number of entries, from a thousand up to `most`."""
    origin = started.origin()
    points = []
    count = 1_000
    while count <= most:
        server = started.cachewarp(origin, None, cache_memory_size=MEMORY, cache_admission_budget=MEMORY)
        path = f"/cached/{{0..{count}}}?bytes={SMALL_BYTES}"
        fill(server, path, count, started.cores)
        fields = fields_of_a_hit(server, f"/cached/0?bytes={SMALL_BYTES}")
        bare = started.bare_hyper(started.cores.server, fields, SMALL_BYTES)
        points.append(checked(started, origin, Point("entries", count, server, bare, path)))
        count *= 10
    return points


def by_the_rest(started: Servers, only: str | None) -> list[Point]:
    """Starts one server for the points that differ by their requests only: one plot, or all."""
    origin = started.origin()
    server = started.cachewarp(origin, None)
    bodies = {}

    def bare(bytes_each: int) -> Process:
        if bytes_each not in bodies:
            fields = fields_of_a_hit(server, f"/cached/0?bytes={bytes_each}")
            bodies[bytes_each] = started.bare_hyper(started.cores.server, fields, bytes_each)
        return bodies[bytes_each]

    path = f"/cached/{{0..{ENTRIES}}}?bytes={BODY_BYTES}"
    points = [
        Point("connections", count, server, bare(BODY_BYTES), path, count) for count in (1, 4, 16, 64, 256, 1024, 4096)
    ]
    for kib in (1, 2, 4, 8, 16, 32, 64):
        # A number that fits into memory beside the other points.
        few = f"/cached/{{0..100}}?bytes={kib * 1024}"
        points.append(Point("body-kib", kib, server, bare(kib * 1024), few))
    for count in (1, 2, 4, 8):
        varying = f"/cached/vary-{count}?vary=x-variant&bytes={BODY_BYTES}"
        header = ["--header", f"x-variant: {{0..{count}}}"]
        points.append(Point("variants", count, server, bare(BODY_BYTES), varying, header=header))
    for count in (1, 2):
        cores = started.cores.server if count == 1 else f"{started.cores.server},{started.cores.load}"
        workers = started.cachewarp(origin, None, cores, worker_threads=str(count))
        points.append(Point("workers", count, workers, bare(BODY_BYTES), path))
    return [checked(started, origin, point) for point in points if only in (None, point.what)]


def checked(started: Servers, origin: Process, point: Point) -> Point:
    """Stores all entries of a point, and checks that further requests are hits."""
    ask = ["--connections", str(CONNECTIONS), *point.header]
    if point.what != "entries":
        load(point.server, [point.path], [f"fill,rate=max,requests={2 * ENTRIES}"], started.cores, "--order", "sequential", *ask)
    before = fetches(origin)
    load(point.server, [point.path], [f"probe,rate=max,requests={ENTRIES}"], started.cores, *ask)
    if fetches(origin) - before > MISSES_MAX * ENTRIES:
        raise RuntimeError(f"{point.what} {point.value}: {fetches(origin) - before} of {ENTRIES} were misses")
    return point


def measured(started: Servers, point: Point, seconds: float) -> list[str]:
    """Returns the costs of the server and of bare hyper, and the server's throughput and errors."""
    ask = ["--connections", str(point.connections), *point.header]
    cost, result = hits(point.server, point.path, seconds, started.cores, *ask)
    bare, _ = hits(point.bare, point.path, seconds, started.cores, *ask)
    return [f"{cost:.3f}", f"{bare:.3f}", f"{result['per_second']:.0f}", str(result["errors"])]


if __name__ == "__main__":
    main()
