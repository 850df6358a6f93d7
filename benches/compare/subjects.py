"""The rows of the large table, and their requests."""

import os
from dataclasses import dataclass

from processes import Process
from servers import FOLDER, ORIGIN_FIELDS, Servers, fields_of_a_hit

PRIVATE_FIELDS = ["content-type: application/json", "cache-control: no-store"]


@dataclass
class Subject:
    """One row of the table."""

    name: str
    server: Process
    path: str
    # The origin behind the server: its CPU time shows that the answers were no hits.
    origin: Process
    is_hit: bool
    wrk_script: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}{self.path}"


def subjects(servers: Servers) -> list[Subject]:
    """Starts all servers, and returns the subjects; the baseline comes first."""
    # A hello-world takes the least time of the core that it shares with the load.
    origin = servers.bare_hyper(servers.cores.load, ORIGIN_FIELDS)
    private = servers.bare_hyper(servers.cores.load, PRIVATE_FIELDS)
    redis = servers.redis()
    memory = servers.cachewarp(origin, redis)
    tiers = servers.cachewarp(origin, redis, cache_memory_size="0", redis_pool_size="20")
    passing = servers.cachewarp(private, redis)
    nginx, haproxy, varnish = servers.nginx(origin), servers.haproxy(origin), servers.varnish(origin)
    # The baseline sends exactly the fields of a hit in memory.
    bare = servers.bare_hyper(servers.cores.server, fields_of_a_hit(memory))
    post = os.path.join(FOLDER, "post.lua")
    return [
        Subject("bare hyper", bare, "/cached", origin, True),
        Subject("CacheWarp, hit in memory", memory, "/cached", origin, True),
        Subject("CacheWarp, hit in Redis", tiers, "/cached", origin, True),
        Subject("HAProxy, hit", haproxy, "/cached", origin, True),
        Subject("nginx, hit", nginx, "/cached", origin, True),
        Subject("Varnish, hit", varnish, "/cached", origin, True),
        Subject("CacheWarp, POST passed through (and invalidated)", passing, "/passed", private, False, post),
        Subject("CacheWarp, GET not stored", passing, "/passed", private, False),
        Subject("bare hyper, passed through", servers.bare_proxy(private), "/passed", private, False),
        Subject("nginx, passed through", nginx, "/passed", origin, False),
        Subject("HAProxy, passed through", haproxy, "/passed", origin, False),
    ]
