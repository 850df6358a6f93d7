"""Every server that is measured or stands behind one: how it is started and configured."""

import http.client
import os
import string

from processes import Cores, Process, free_port

FOLDER = os.path.dirname(os.path.abspath(__file__))
TARGET = os.path.join(FOLDER, "..", "..", "target", "release")
# Another build of ours than that one.
CACHEWARP = os.environ.get("CACHEWARP_BIN") or os.path.join(TARGET, "cachewarp")
BODY_BYTES = 1140
# What a JSON API says of an answer that everybody may have.
ORIGIN_FIELDS = [
    "content-type: application/json",
    "cache-control: public, max-age=36000",
    'etag: "5f0c6b1e7a"',
]
# What hyper writes by itself.
OF_HYPER = ["content-length"]


class Servers:
    """All servers of one run: those that are measured on one core, everything else on another."""

    def __init__(self, folder: str, cores: Cores):
        self.folder, self.cores = folder, cores
        self.started: list[Process] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        while self.started:
            self.stop(self.started[-1])

    def stop(self, process: Process):
        """Stops one of them."""
        self.started.remove(process)
        process.stop()

    def start(self, command: list[str], port: int, cores: str, settings: dict[str, str] | None = None) -> Process:
        """Starts anything; it serves when this returns."""
        log = os.path.join(self.folder, f"{os.path.basename(command[0])}-{port}.log")
        process = Process(self.cores.on(cores, []), command, port, log, settings or {})
        self.started.append(process)
        return process

    def bare_hyper(self, cores: str, fields: list[str], body_bytes: int = BODY_BYTES) -> Process:
        """A hello-world of so many bytes."""
        port = free_port()
        path = os.path.join(self.folder, f"body-{port}.json")
        with open(path, "w", encoding="ascii") as body:
            body.write('"' + "q" * (body_bytes - 2) + '"')
        binary = os.path.join(TARGET, "examples", "bare_hyper")
        return self.start([binary, f"127.0.0.1:{port}", path, *fields], port, cores)

    def bare_proxy(self, origin: Process) -> Process:
        """The least that a proxy of hyper's own client and server can be."""
        port = free_port()
        binary = os.path.join(TARGET, "examples", "bare_proxy")
        return self.start([binary, f"127.0.0.1:{port}", f"127.0.0.1:{origin.port}"], port, self.cores.server)

    def origin(self) -> Process:
        """One that does what its URLs say, and counts."""
        port = free_port()
        binary = os.path.join(TARGET, "examples", "bench_origin")
        return self.start([binary, f"127.0.0.1:{port}"], port, self.cores.load)

    def redis(self) -> Process:
        """Empty, and never on disk."""
        port = free_port()
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder]
        return self.start(command, port, self.cores.load)

    def cachewarp(self, origin: Process, redis: Process | None, cores: str = "", **settings: str) -> Process:
        """Ours, with one worker and over this Redis, unless settings say otherwise."""
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

    def nginx(self, origin: Process) -> Process:
        """proxy_cache on /cached, past it elsewhere."""
        return self._configured("nginx.conf", ["nginx", "-e", "stderr", "-c"], origin)

    def haproxy(self, origin: Process) -> Process:
        """Its cache on /cached, past it elsewhere."""
        return self._configured("haproxy.cfg", ["haproxy", "-db", "-f"], origin)

    def varnish(self, origin: Process, memory: str = "64m") -> Process:
        """Its memory for everything."""
        port = free_port()
        path, work = self._rendered("varnish.vcl", port, origin)
        options = ["-j", "none", "-s", f"malloc,{memory}", "-n", os.path.join(work, "work")]
        command = ["varnishd", "-F", *options, "-a", f"127.0.0.1:{port}", "-f", path]
        return self.start(command, port, self.cores.server)

    def _configured(self, template: str, command: list[str], origin: Process) -> Process:
        port = free_port()
        path, _ = self._rendered(template, port, origin)
        return self.start([*command, path], port, self.cores.server)

    def _rendered(self, template: str, port: int, origin: Process) -> tuple[str, str]:
        """A server's file, and the folder that is its own."""
        folder = os.path.join(self.folder, f"{template}-{port}")
        os.makedirs(folder)
        user = "user root;" if os.geteuid() == 0 else ""
        with open(os.path.join(FOLDER, template), encoding="utf-8") as source:
            text = string.Template(source.read())
        path = os.path.join(folder, template)
        with open(path, "w", encoding="utf-8") as target:
            target.write(text.substitute(folder=folder, port=port, origin=origin.port, user=user))
        return path, folder


def ask(process: Process, path: str) -> tuple[list[tuple[str, str]], bytes]:
    """Fields and body of one answer."""
    client = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
    client.request("GET", path)
    response = client.getresponse()
    body = response.read()
    client.close()
    if response.status != 200:
        raise RuntimeError(f"{path}: {response.status}")
    return response.getheaders(), body


def fields_of_a_hit(server: Process, path: str = "/cached") -> list[str]:
    """What a second request is answered with, but for what hyper adds by itself."""
    ask(server, path)
    fields, _ = ask(server, path)
    return [f"{name.lower()}: {value}" for name, value in fields if name.lower() not in OF_HYPER]


def fetches(origin: Process) -> int:
    """How often a counting origin was asked."""
    return int(ask(origin, "/-/count")[1])
