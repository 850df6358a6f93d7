"""All measured servers, and the servers behind them, with their configuration."""

import http.client
import os
import string

from processes import Cores, Process, free_port

FOLDER = os.path.dirname(os.path.abspath(__file__))
TARGET = os.path.join(FOLDER, "..", "..", "target", "dist")
# Another build of CacheWarp, if the variable is set.
CACHEWARP = os.environ.get("CACHEWARP_BIN") or os.path.join(TARGET, "cachewarp")
BODY_BYTES = 1140
# The fields of a public answer of a JSON API.
ORIGIN_FIELDS = [
    "content-type: application/json",
    "cache-control: public, max-age=36000",
    'etag: "5f0c6b1e7a"',
]
# The fields that hyper writes by itself.
OF_HYPER = ["content-length"]


class Servers:
    """All servers of one run: the measured ones on one core, the others on another."""

    def __init__(self, folder: str, cores: Cores):
        self.folder, self.cores = folder, cores
        self.started: list[Process] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        while self.started:
            self.stop(self.started[-1])

    def stop(self, process: Process):
        """Stops one server."""
        self.started.remove(process)
        process.stop()

    def start(self, command: list[str], port: int, cores: str, settings: dict[str, str] | None = None) -> Process:
        """Starts a server, and returns once it serves."""
        log = os.path.join(self.folder, f"{os.path.basename(command[0])}-{port}.log")
        process = Process(self.cores.on(cores, []), command, port, log, settings or {})
        self.started.append(process)
        return process

    def bare_hyper(self, cores: str, fields: list[str], body_bytes: int = BODY_BYTES) -> Process:
        """Starts a hello-world with a body of this size."""
        port = free_port()
        path = os.path.join(self.folder, f"body-{port}.json")
        with open(path, "w", encoding="ascii") as body:
            body.write('"' + "q" * (body_bytes - 2) + '"')
        binary = os.path.join(TARGET, "examples", "bare_hyper")
        return self.start([binary, f"127.0.0.1:{port}", path, *fields], port, cores)

    def bare_proxy(self, origin: Process) -> Process:
        """Starts a minimal proxy of hyper's client and server."""
        port = free_port()
        binary = os.path.join(TARGET, "examples", "bare_proxy")
        return self.start([binary, f"127.0.0.1:{port}", f"127.0.0.1:{origin.port}"], port, self.cores.server)

    def origin(self) -> Process:
        """Starts an origin whose URLs choose the answer, and which counts."""
        port = free_port()
        binary = os.path.join(TARGET, "examples", "bench_origin")
        return self.start([binary, f"127.0.0.1:{port}"], port, self.cores.load)

    def redis(self) -> Process:
        """Starts an empty Redis without persistence."""
        port = free_port()
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder]
        return self.start(command, port, self.cores.load)

    def cachewarp(self, origin: Process, redis: Process | None, cores: str = "", **settings: str) -> Process:
        """Starts CacheWarp, by default with one worker and this Redis."""
        port, admin = free_port(), free_port()
        settings = {
            "listen_addr": f"127.0.0.1:{port}",
            "admin_addr": f"127.0.0.1:{admin}",
            "worker_threads": "1",
            "origin_url": f"http://127.0.0.1:{origin.port}",
            "redis_url": f"redis://127.0.0.1:{redis.port}" if redis else "off",
            "redis_key_prefix": f"bench-{port}:",
            **settings,
        }
        environment = {name.upper(): value for name, value in settings.items()}
        process = self.start([CACHEWARP], port, cores or self.cores.server, environment)
        process.admin_port = admin
        return process

    def nginx(self, origin: Process, certificate: str = "") -> Process:
        """Starts nginx, with proxy_cache on /cached, and without it elsewhere; over TLS with a certificate."""
        tls = f" ssl; ssl_protocols TLSv1.3; ssl_certificate {certificate}; ssl_certificate_key {certificate}"
        return self._configured("nginx.conf", ["nginx", "-e", "stderr", "-c"], origin, tls if certificate else "")

    def haproxy(self, origin: Process, certificate: str = "") -> Process:
        """Starts HAProxy, with its cache on /cached, and without it elsewhere; over TLS with a certificate."""
        tls = f" ssl crt {certificate} ssl-min-ver TLSv1.3" if certificate else ""
        return self._configured("haproxy.cfg", ["haproxy", "-db", "-f"], origin, tls)

    def varnish(self, origin: Process, memory: str = "64m") -> Process:
        """Starts Varnish, which caches everything in memory."""
        port = free_port()
        path, work = self._rendered("varnish.vcl", port, origin)
        options = ["-j", "none", "-s", f"malloc,{memory}", "-n", os.path.join(work, "work")]
        command = ["varnishd", "-F", *options, "-a", f"127.0.0.1:{port}", "-f", path]
        return self.start(command, port, self.cores.server)

    def _configured(self, template: str, command: list[str], origin: Process, tls: str) -> Process:
        port = free_port()
        path, _ = self._rendered(template, port, origin, tls)
        return self.start([*command, path], port, self.cores.server)

    def _rendered(self, template: str, port: int, origin: Process, tls: str = "") -> tuple[str, str]:
        """Writes a server's configuration, and returns its path and folder."""
        folder = os.path.join(self.folder, f"{template}-{port}")
        os.makedirs(folder)
        user = "user root;" if os.geteuid() == 0 else ""
        with open(os.path.join(FOLDER, template), encoding="utf-8") as source:
            text = string.Template(source.read())
        path = os.path.join(folder, template)
        with open(path, "w", encoding="utf-8") as target:
            target.write(text.substitute(folder=folder, port=port, origin=origin.port, user=user, tls=tls))
        return path, folder


def ask(process: Process, path: str) -> tuple[list[tuple[str, str]], bytes]:
    """Requests a path, and returns the fields and body of the answer."""
    client = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
    client.request("GET", path)
    response = client.getresponse()
    body = response.read()
    client.close()
    if response.status != 200:
        raise RuntimeError(f"{path}: {response.status}")
    return response.getheaders(), body


def fields_of_a_hit(server: Process, path: str = "/cached") -> list[str]:
    """Returns the fields of the answer to a second request, without those that hyper adds."""
    ask(server, path)
    fields, _ = ask(server, path)
    return [f"{name.lower()}: {value}" for name, value in fields if name.lower() not in OF_HYPER]


def fetches(origin: Process) -> int:
    """Returns the number of requests that a counting origin has received."""
    return int(ask(origin, "/-/count")[1])
