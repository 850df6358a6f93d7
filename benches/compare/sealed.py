"""The cost and the gain of seals and compression in Redis, for quotes of 1, 10 and 100 KB.

Four nodes with one worker differ in `entry_key_file` and `entry_compression` only, have no memory
tier, and answer each request from one Redis. The report has the bytes of an entry in Redis, the
instructions of a hit in user space (callgrind, as benches/guard counts them), the CPU time of the
node for a hit in a closed loop, the kernel's included, and that of Redis, from which the hits that
one core of Redis would carry follow. Ratios compare figures of one round.
"""

import os
import random
import socket
import sys
from statistics import median

from measure import CONNECTIONS, hits
from processes import Process, free_port
from servers import ORIGIN_FIELDS, TARGET, Servers, ask
from session import options, print_head, row, rule, servers

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "guard"))
import guard  # noqa: E402

SIZES = {"1 KB": 1 << 10, "10 KB": 10 << 10, "100 KB": 100 << 10}
FORMS = {
    "plain": {"entry_compression": "off"},
    "zstd": {"entry_compression": "zstd"},
    "sealed": {"entry_compression": "off", "entry_key_file": "keys"},
    "both": {"entry_compression": "zstd", "entry_key_file": "keys"},
}
PLAIN = next(iter(FORMS))
KEY = "bench:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
WARM_REQUESTS = 200
# Returns the bytes of the entries of a node, without tombstones.
BYTES = (
    "local sum = 0 for _, name in ipairs(redis.call('KEYS', ARGV[1])) do local value = redis.pcall('GET', name) "
    "if type(value) == 'string' and string.sub(value, 1, 2) == 'CW' and string.byte(value, 4) ~= 3 "
    "then sum = sum + #value end end return sum"
)


def main():
    """Measures, and prints."""
    parser = options(__doc__.splitlines()[0], 5)
    parser.add_argument("--seconds", type=float, default=1, help="seconds of load for each node in a round")
    chosen = parser.parse_args()
    sizes, node_micros, redis_micros, counts = {}, {}, {}, {}
    with servers(chosen) as started:
        keys = key_file(started.folder)
        redis = started.redis()
        nodes = {(size, form): node(started, redis, size, form, keys) for size in SIZES for form in FORMS}
        for name, one in nodes.items():
            sizes[name] = entry_bytes(redis, one)
        for _ in range(chosen.rounds):
            for name, one in nodes.items():
                node_cpu, redis_cpu = hit(started, one, redis, chosen.seconds)
                node_micros.setdefault(name, []).append(node_cpu)
                redis_micros.setdefault(name, []).append(redis_cpu)
        for size, form in nodes:
            settings = {name.upper(): value for name, value in of_form(form, keys).items()}
            settings |= {"CACHE_MEMORY_SIZE": "0", "REDIS_TIMEOUT": "5s"}
            counts[size, form] = guard.count(
                started.folder, TARGET, guard.STORED, ("GET", None, {}), settings, quotes(SIZES[size])
            )
    print_head(f"{CONNECTIONS} connections, {chosen.rounds} rounds of {chosen.seconds} s; medians, and ratios to plain")
    costs = ["instructions of a hit", "CPU µs of the node", "CPU µs of Redis", "hits that one Redis carries"]
    rule("quotes", "form", "bytes in Redis", *costs)
    for (size, form), entry in sizes.items():
        plain = (size, PLAIN)
        row(
            size,
            form,
            f"{entry:,} ({entry / sizes[plain]:.2f})",
            f"{counts[size, form]:,} ({counts[size, form] / counts[plain]:.2f})",
            compared(node_micros[size, form], node_micros[plain]),
            compared(redis_micros[size, form], redis_micros[plain]),
            f"{1e6 / median(redis_micros[size, form]):,.0f} a second",
        )


def quotes(bytes_least: int) -> str:
    """Returns quotes of about this size, with numbers that differ."""
    chance, rows, length = random.Random(7), [], 0
    while length < bytes_least:
        bid, at = chance.randrange(90_000, 120_000), chance.randrange(86_400)
        rows.append(
            f'{{"symbol":"EURUSD","bid":{bid / 1e5},"ask":{(bid + 3) / 1e5},"size":{chance.randrange(1, 50) * 100_000},'
            f'"at":"2026-11-22T{at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}Z"}}'
        )
        length += len(rows[-1]) + 1
    return "[" + ",".join(rows) + "]"


def key_file(folder: str) -> str:
    """Writes a key file, and returns its path."""
    path = os.path.join(folder, "keys")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
        file.write(KEY)
    return path


def of_form(form: str, keys: str) -> dict[str, str]:
    """Returns the settings of a form."""
    return {name: keys if value == "keys" else value for name, value in FORMS[form].items()}


def node(started: Servers, redis: Process, size: str, form: str, keys: str) -> Process:
    """Starts an origin with quotes of this size and a node in front of it, whose hits come from Redis."""
    port = free_port()
    body = os.path.join(started.folder, f"quotes-{port}.json")
    with open(body, "w", encoding="ascii") as file:
        file.write(quotes(SIZES[size]))
    binary = os.path.join(TARGET, "examples", "bare_hyper")
    origin = started.start([binary, f"127.0.0.1:{port}", body, *ORIGIN_FIELDS], port, started.cores.load)
    one = started.cachewarp(origin, redis, cache_memory_size="0", redis_timeout="5s", **of_form(form, keys))
    asked = origin.cpu_seconds()
    for _ in range(WARM_REQUESTS):
        fields, _ = ask(one, "/quotes")
        if "hit" in dict(fields).get("cache-status", ""):
            return one
    raise RuntimeError(f"{size}, {form}: no hit, and {origin.cpu_seconds() - asked:.2f} s of the origin")


def hit(started: Servers, one: Process, redis: Process, seconds: float) -> tuple[float, float]:
    """Returns the CPU microseconds of the node and of Redis for each hit in a closed loop."""
    cpu, found = account(redis)
    node_cpu, _ = hits(one, "/quotes", seconds, started.cores)
    cpu_after, found_after = account(redis)
    return node_cpu, 1e6 * (cpu_after - cpu) / (found_after - found)


def account(redis: Process) -> tuple[float, int]:
    """Returns the CPU seconds of a Redis as it counts them, and the reads that found a value."""
    with socket.create_connection(("127.0.0.1", redis.port), timeout=10) as stream:
        stream.sendall(b"INFO cpu\r\nINFO stats\r\nQUIT\r\n")
        text = b"".join(iter(lambda: stream.recv(65536), b"")).decode()
    statistics = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    cpu = float(statistics["used_cpu_user"]) + float(statistics["used_cpu_sys"])
    return cpu, int(statistics["keyspace_hits"])


def entry_bytes(redis: Process, one: Process) -> int:
    """Returns the bytes of the only entry of a node."""
    words = ["EVAL", BYTES, "0", f"bench-{one.port}:*"]
    command = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    with socket.create_connection(("127.0.0.1", redis.port), timeout=10) as stream:
        stream.sendall(command.encode())
        return int(stream.makefile("rb").readline().strip().removeprefix(b":"))


def compared(values: list[float], plain: list[float]) -> str:
    """Formats a median, and the median of the ratios of the rounds."""
    ratios = [value / other for value, other in zip(values, plain)]
    return f"{median(values):.1f} ({median(ratios):.2f}; {min(ratios):.2f} – {max(ratios):.2f})"


if __name__ == "__main__":
    main()
