"""Counts instructions per request and per route match, and compares them with expected.json. Started by run.sh.

One client sends one request after the other, so that the number of events in a turn of the loop
does not depend on the machine. Work that depends on the clock (a date, a sweep, the heartbeat of
each connection to Redis) takes a larger share on a busy machine, since the requests take longer
there. With two connections to Redis instead of twenty, it is small beside the requests.
"""

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(FOLDER, "..", "compare"))
from processes import Process, free_port  # noqa: E402

EXPECTED = os.path.join(FOLDER, "expected.json")
WARMING = 30
REQUESTS = 200
# Other processors have other instructions for copying and hashing.
TOLERANCE = 0.08
BODY = '{"quotes":"' + "q" * 1127 + '"}'
PINNED = ["taskset", "--cpu-list", "0"]
STORED = ["content-type: application/json", "cache-control: public, max-age=36000"]
PRIVATE = ["content-type: application/json", "cache-control: no-store"]
UNSTATED = ["content-type: application/json"]
JSON = {"content-type": "application/json"}
CURL = {"user-agent": "curl/8.5.0", "accept": "*/*"}
# Chrome behind a load balancer.
CHROME = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36",
    "accept": "application/json, text/plain, */*",
    "accept-language": "en-GB,en;q=0.9",
    "sec-ch-ua": '"Chromium";v="140", "Not=A?Brand";v="24"',
    "sec-ch-ua-mobile": "?0",
    "sec-ch-ua-platform": '"Linux"',
    "sec-fetch-dest": "empty",
    "sec-fetch-mode": "cors",
    "sec-fetch-site": "same-origin",
    "referer": "https://app.example.test/quotes",
    "origin": "https://app.example.test",
    "priority": "u=1, i",
    "x-forwarded-for": "192.0.2.7",
    "x-forwarded-proto": "https",
    "x-forwarded-port": "443",
    "x-amzn-trace-id": "Root=1-67891233-abcdef012345678912345678",
}
# The name, the origin's fields, the request, and the settings of each case.
CASES = [
    ("hit in memory", STORED, ("GET", None, {}), {}),
    ("hit, logged", STORED, ("GET", None, {}), {"ACCESS_LOG": "json"}),
    ("hit, not sampled", STORED, ("GET", None, {}), {"OTLP_ENDPOINT": "http://127.0.0.1:9", "TRACE_SAMPLE": "0"}),
    ("hit in Redis", STORED, ("GET", None, {}), {"CACHE_MEMORY_SIZE": "0", "REDIS_TIMEOUT": "5s"}),
    ("hit for curl", UNSTATED, ("GET", None, CURL), {"CACHE_DEFAULT_TTL": "1h"}),
    ("hit for Chrome", UNSTATED, ("GET", None, CHROME), {"CACHE_DEFAULT_TTL": "1h"}),
    ("GET not stored", PRIVATE, ("GET", None, {}), {}),
    ("POST passed", PRIVATE, ("POST", "{}", JSON), {}),
]
# The cases of examples/find_routes.rs: one match among 200 routes.
ROUTES = ["two-segments", "capture", "four-segments", "uuid", "encoded", "no-route", "not-plain"]
MATCHES = 1000


def main():
    """Counts all cases, prints their changes, and fails if a case has become dearer."""
    profile, target = sys.argv[1:3]
    with open(EXPECTED, encoding="utf-8") as file:
        expected = json.load(file)
    with tempfile.TemporaryDirectory(prefix="guard-") as folder:
        counts, dearer = {}, []

        def compare(name: str, counted: int):
            counts[name] = counted
            before = expected.get(profile, {}).get(name, counted)
            change = counted / before - 1
            print(f"{name:20} {counted:>9,} instructions, expected {before:>9,} ({change:+.1%})", flush=True)
            if change > TOLERANCE:
                dearer.append(name)

        for name, *case in CASES:
            compare(name, count(folder, target, *case))
        for name in ROUTES:
            compare(f"route, {name}", count_match(folder, target, name))
        for name, words in [("hit, logged", "with the access log"), ("hit, not sampled", "with traces on, unsampled,")]:
            print(f"a hit {words} costs {counts[name] / counts['hit in memory']:.3f} of one without", flush=True)
    if "--update" in sys.argv:
        expected[profile] = counts
        with open(EXPECTED, "w", encoding="utf-8") as file:
            file.write(json.dumps(expected, indent=1) + "\n")
    elif dearer:
        sys.exit(f"dearer than expected: {', '.join(dearer)}; if this is intended, run again with --update")


def count(folder: str, target: str, fields: list[str], request, settings: dict[str, str], content: str = BODY) -> int:
    """Returns the instructions per request of one case, with its own servers."""
    method, body, headers = request
    started = []

    def start(command: list[str], port: int, environment=None) -> Process:
        started.append(Process(PINNED, command, port, os.path.join(folder, "log"), environment or {}))
        return started[-1]

    try:
        body_path = os.path.join(folder, "body.json")
        with open(body_path, "w", encoding="ascii") as file:
            file.write(content)
        origin, redis, port = free_port(), free_port(), free_port()
        start([os.path.join(target, "examples", "bare_hyper"), f"127.0.0.1:{origin}", body_path, *fields], origin)
        start(["redis-server", "--port", str(redis), "--bind", "127.0.0.1", "--save", "", "--dir", folder], redis)
        counts = os.path.join(folder, f"counts-{port}")
        callgrind = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={counts}"]
        environment = {
            "LISTEN_ADDR": f"127.0.0.1:{port}",
            "ADMIN_ADDR": "off",
            "WORKER_THREADS": "1",
            "ORIGIN_URL": f"http://127.0.0.1:{origin}",
            "REDIS_URL": f"redis://127.0.0.1:{redis}",
            "REDIS_CONNECT_TIMEOUT": "30s",
            "REDIS_POOL_SIZE": "2",
            **settings,
        }
        proxy = start([*callgrind, os.path.join(target, "cachewarp")], port, environment)
        client = http.client.HTTPConnection("127.0.0.1", port)
        await_redis(client)
        ask(client, WARMING, method, body, headers)
        control(proxy, "on")
        ask(client, REQUESTS, method, body, headers)
        control(proxy, "off")
        client.close()
        proxy.stop()
        return total_of(counts) // REQUESTS
    finally:
        for process in reversed(started):
            process.stop()


def count_match(folder: str, target: str, case: str) -> int:
    """Returns the instructions of one match: the difference between processes with and without matches."""

    def total(times: int) -> int:
        counts = os.path.join(folder, f"counts-{case}-{times}")
        callgrind = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={counts}"]
        subprocess.run([*callgrind, os.path.join(target, "examples", "find_routes"), case, str(times)], check=True)
        return total_of(counts)

    return (total(2 * MATCHES) - total(MATCHES)) // MATCHES


def total_of(counts: str) -> int:
    """Returns the sum of a file of callgrind."""
    with open(counts, encoding="utf-8") as file:
        return int(re.findall(r"^(?:summary|totals): (\d+)", file.read(), re.MULTILINE)[-1])


def await_redis(client: http.client.HTTPConnection):
    """Waits until the pool is up, which is slow under callgrind."""
    for _ in range(300):
        client.request("GET", "/health")
        if b'"connected"' in client.getresponse().read():
            return
        time.sleep(0.1)
    raise RuntimeError("CacheWarp does not connect to Redis")


def ask(client: http.client.HTTPConnection, times: int, method: str, body, headers: dict[str, str]):
    """Sends this many requests, each after the answer to the previous one."""
    for _ in range(times):
        client.request(method, "/quotes", body, headers)
        response = client.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"{method} returned {response.status}")


def control(proxy: Process, switch: str):
    """Begins or ends the counting."""
    command = ["callgrind_control", "-i", switch, str(proxy.popen.pid)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
