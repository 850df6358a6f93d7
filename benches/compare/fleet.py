"""Several nodes on one Redis: shared fetches, staleness, purges.

cold     ten nodes, one cold key, 500 clients, an origin that takes 100 ms: fetches and latencies
stale    two nodes: the time for which one serves an old response after a change by the other, or
         by hand in Redis
storm    hits of one node while another purges continuously, beside hits without purges
million  a purge of a tag of a million entries, beside one of a tag of one entry: time, and commands
         that Redis runs

Clients name the host by X-Forwarded-Host, so that all nodes get requests for one resource.
"""

import http.client
import json
import socket
import threading
import time

from measure import LOAD, EXTRA_SECONDS, fill, load, run
from processes import Process
from servers import Servers, fetches
from session import options, print_head, row, rule, servers, spread

# The host of all requests.
HOST = ["--header", "x-forwarded-host: api.test"]
# A storage budget for a million new entries.
SETTINGS = {"trusted_proxies": "127.0.0.1", "redis_key_prefix": "fleet:", "cache_admission_budget": "8GiB"}
NODES = 10
CLIENTS = 500
DELAY_MILLIS = 100
# The rate of cold.py.
RATE = 1_000_000
# The number of changes of each kind.
CHANGES = 200
# Time after a change's acknowledgement for which node B gets requests.
WATCHED_SECONDS = 0.1
STORM_RATE = 2_000
STORM_SECONDS = 4
# A rate that leaves the machine's two cores time for the hits.
PURGES_PER_SECOND = 200
STORM_KEYS = 1_000
# The number of the million entries that each node is tested for.
SAMPLES = 500


def main():
    """Runs the chosen measurements, and prints their tables."""
    parser = options(__doc__.splitlines()[0], 5)
    parser.add_argument("--only", default="cold,stale,storm,million", help="measurements to run, separated by commas")
    parser.add_argument("--entries", type=int, default=1_000_000, help="entries with the tag of `million`")
    chosen = parser.parse_args()
    print_head(f"several nodes on one Redis, {chosen.rounds} rounds")
    for name in chosen.only.split(","):
        with servers(chosen) as started:
            MEASURED[name](started, chosen)
        print(flush=True)


def fleet(started: Servers, count: int, **settings: str) -> tuple[list[Process], Process, Process]:
    """Starts nodes that receive each other's messages, their origin and their Redis."""
    origin, redis = started.origin(), started.redis()
    # Both cores: ten processes on one core would not behave like a fleet.
    cores = f"{started.cores.server},{started.cores.load}"
    nodes = [started.cachewarp(origin, redis, cores, **SETTINGS, **settings) for _ in range(count)]
    for node in nodes:
        while purge(node, tag="nothing")["confirmed"] < count:
            time.sleep(0.05)
    return nodes, origin, redis


def purge(node: Process, **order) -> dict:
    """Sends a `POST /purge`, and returns the outcome."""
    client = http.client.HTTPConnection("127.0.0.1", node.admin_port, timeout=30)
    client.request("POST", "/purge", json.dumps(order), {"content-type": "application/json"})
    outcome = json.load(client.getresponse())
    client.close()
    return outcome


def redis_command(redis: Process, *words: str) -> bytes:
    """Sends one command, and returns the bytes of the reply."""
    with socket.create_connection(("127.0.0.1", redis.port)) as connection:
        wire = b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)
        connection.sendall(b"*%d\r\n" % len(words) + wire + b"*1\r\n$4\r\nQUIT\r\n")
        reply = b""
        while piece := connection.recv(1 << 20):
            reply += piece
    return reply


class Client:
    """A kept-alive connection to one node."""

    def __init__(self, node: Process):
        self.connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=30)

    def get(self, path: str, **fields: str) -> tuple[int, bytes]:
        """Requests a path, and returns the status and the body."""
        self.connection.request("GET", path, headers={"x-forwarded-host": "api.test", **fields})
        response = self.connection.getresponse()
        return response.status, response.read()

    def has(self, path: str) -> bool:
        """Returns whether the node has the response in its cache."""
        return self.get(path, **{"cache-control": "only-if-cached"})[0] == 200


def cold(started: Servers, chosen):
    """Measures `cold`, as described above."""
    print(f"{NODES} nodes, {CLIENTS} clients, one cold key, an origin of {DELAY_MILLIS} ms: min / median / max\n")
    rule("fetch_lease", "P50 ms", "P99 ms", "max ms", "fetches", "errors")
    for lease in ("on", "off"):
        nodes, origin, redis = fleet(started, NODES, fetch_lease=lease)
        results = []
        for number in range(chosen.rounds):
            before = fetches(origin)
            path = f"/cold-{number}?delay={DELAY_MILLIS}"
            urls = [f"http://127.0.0.1:{node.port}{path}" for node in nodes]
            phase = f"burst,rate={RATE},requests={CLIENTS}"
            connections = ["--connections", str(CLIENTS // NODES)]
            text = run([LOAD, "--json", *HOST, *connections, "--phase", phase, *urls], EXTRA_SECONDS)
            results.append((json.loads(text), fetches(origin) - before))
        times = [spread([one["latency_micros"][part] / 1e3 for one, _ in results], ".0f") for part in ("p50", "p99", "max")]
        row(lease, *times, spread([asked for _, asked in results], ".0f"), str(sum(one["errors"] for one, _ in results)))
        for process in [*nodes, origin, redis]:
            started.stop(process)


def stale(started: Servers, chosen):
    """Measures `stale`, as described above."""
    (one, other), _, redis = fleet(started, 2)
    clients = [Client(one), Client(other)]

    def names() -> list[str]:
        found = redis_command(redis, "KEYS", "fleet:" + "?" * 32).decode().split("\r\n")
        return [name for name in found if name.startswith("fleet:")]

    url = "http://api.test/stale?bytes=64"
    kinds = {
        "purge": lambda: purge(one, url=url),
        "overwrite": lambda: redis_command(redis, "SET", names()[0], "another"),
        "DEL": lambda: redis_command(redis, "DEL", names()[0]),
        "FLUSHALL": lambda: redis_command(redis, "FLUSHALL"),
    }
    print(f"old responses of node B after a change, {CHANGES} of each kind, ms from the beginning of the change\n")
    rule("change", "P50", "P90", "P99", "max", "old responses after the acknowledgement")
    for kind, change in kinds.items():
        delays, late = [], 0
        # A purge leaves tombstones under the keys of both schemes.
        redis_command(redis, "FLUSHALL")
        for _ in range(CHANGES):
            for client in clients:
                while not client.has("/stale?bytes=64"):
                    client.get("/stale?bytes=64")
            delay, after = watched(clients[1], change)
            delays.append(delay * 1e3)
            late += after
        delays.sort()
        shares = [delays[min(len(delays) - 1, int(len(delays) * share))] for share in (0.5, 0.9, 0.99)]
        row(kind, *(f"{share:.1f}" for share in [*shares, delays[-1]]), str(late))


def watched(client: Client, change) -> tuple[float, int]:
    """Makes a change. Returns the time to the last request that got the old response, and the
    number of such requests after the acknowledgement."""
    moments: list[float] = []
    ended = threading.Event()

    def watch():
        while not ended.is_set():
            asked = time.monotonic()
            if client.has("/stale?bytes=64"):
                moments.append(asked)

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = time.monotonic()
    change()
    acknowledged = time.monotonic()
    time.sleep(WATCHED_SECONDS)
    ended.set()
    watcher.join()
    after = sum(moment > acknowledged for moment in moments)
    return max([0.0, *(moment - begun for moment in moments)]), after


def storm(started: Servers, chosen):
    """Measures `storm`, as described above."""
    (one, other), _, _ = fleet(started, 2)
    path = f"/{{0..{STORM_KEYS}}}?bytes=1024&tag=all"
    fill(one, path, 2 * STORM_KEYS, started.cores, *HOST)
    phase = f"hits,rate={STORM_RATE},seconds={STORM_SECONDS}"
    print(f"hits of node A at {STORM_RATE} a second, without purges and while node B purges other tags: min / median / max\n")
    rule("", "P50 ms", "P99 ms", "P99.9 ms", "purges a second", "errors")
    results = {"no purges": [], "purges": []}
    for _ in range(chosen.rounds):
        for load_name, rounds in results.items():
            ended, purges = threading.Event(), [0]

            def purge_on():
                begun = time.monotonic()
                while not ended.is_set():
                    purge(other, tag=f"other-{purges[0] % 100}")
                    purges[0] += 1
                    time.sleep(max(0.0, begun + purges[0] / PURGES_PER_SECOND - time.monotonic()))

            purger = threading.Thread(target=purge_on)
            if load_name == "purges":
                purger.start()
            [one_round] = load(one, [path], [phase], started.cores, *HOST, "--idle", "sleep")
            ended.set()
            if load_name == "purges":
                purger.join()
            rounds.append((one_round, purges[0] / STORM_SECONDS))
    for load_name, rounds in results.items():
        times = [spread([one["latency_micros"][part] / 1e3 for one, _ in rounds], ".2f") for part in ("p50", "p99", "p999")]
        errors = str(sum(one["errors"] for one, _ in rounds))
        row(load_name, *times, spread([purges for _, purges in rounds], ",.0f"), errors)


def million(started: Servers, chosen):
    """Measures `million`, as described above."""
    (one, other), _, redis = fleet(started, 2, redis_timeout="5s")
    fill(one, f"/{{0..{chosen.entries}}}?bytes=2&tag=all", chosen.entries, started.cores, *HOST)
    fill(one, "/single?bytes=2&tag=single", 1, started.cores, *HOST)
    size = int(redis_command(redis, "DBSIZE").split(b"\r\n")[0][1:])

    def commands() -> int:
        text = redis_command(redis, "INFO", "stats").decode()
        return int(text.split("total_commands_processed:")[1].split("\r\n")[0])

    print(f"{size:,} keys in Redis\n")
    rule("purge of a tag of", "ms", "commands, with those of scripts", "nodes", "served before", "served afterwards")
    step = max(1, chosen.entries // SAMPLES)
    all_of_them = [f"/{number}?bytes=2&tag=all" for number in range(0, chosen.entries, step)][:SAMPLES]
    clients = [Client(one), Client(other)]

    def served(paths: list[str]) -> str:
        found = sum(client.has(path) for client in clients for path in paths)
        return f"{found:,} of {len(clients) * len(paths):,}"

    for name, tag, paths in (("one entry", "single", ["/single?bytes=2&tag=single"]), ("all others", "all", all_of_them)):
        held = served(paths)
        before, begun = commands(), time.monotonic()
        outcome = purge(one, tag=tag)
        took = time.monotonic() - begun
        # Without the two INFO commands.
        ran = commands() - before - 2
        row(name, f"{took * 1e3:.1f}", str(ran), f"{outcome['confirmed']} of {outcome['nodes']}", held, served(paths))


MEASURED = {"cold": cold, "stale": stale, "storm": storm, "million": million}


if __name__ == "__main__":
    main()
