"""TLS 1.3: the CPU time of a server for a full handshake, for a resumed one, and for a hit.

All servers have one thread on one core, one certificate with a P-256 key, and their own choice of
cipher and key exchange, which the report names. A handshake is a new connection that the client
closes behind it. A resumed one uses the ticket of an earlier connection, and the client checks that
the server has accepted it. The hits are those of wrk over kept-alive connections.
"""

import os
import re
import socket
import ssl
import subprocess

from measure import CONNECTIONS, EXTRA_SECONDS, run
from processes import Process
from servers import Servers
from session import options, print_head, row, rule, servers, spread

PATH = "/cached"


def main():
    """Runs all rounds, and prints the table."""
    parser = options(__doc__.splitlines()[0], 5)
    parser.add_argument("--handshakes", type=int, default=1000, help="handshakes of each kind in a round")
    parser.add_argument("--seconds", type=int, default=2, help="time of the hits in a round")
    chosen = parser.parse_args()
    with servers(chosen) as started:
        certificate, key = make_certificate(started.folder)
        both = os.path.join(started.folder, "both.pem")
        with open(both, "w", encoding="ascii") as file:
            for part in (certificate, key):
                with open(part, encoding="ascii") as source:
                    file.write(source.read())
        origin = started.origin()
        tls = {"tls_cert_file": certificate, "tls_key_file": key, "log_level": "error"}
        subjects = [
            ("CacheWarp", started.cachewarp(origin, None, **tls)),
            ("nginx", started.nginx(origin, both)),
            ("HAProxy", started.haproxy(origin, both)),
        ]
        suites = {name: suite(server) for name, server in subjects}
        rounds = [[measure(started, server, chosen) for _, server in subjects] for _ in range(chosen.rounds)]
    print_head(f"TLS 1.3, {chosen.rounds} rounds of {chosen.handshakes} handshakes; microseconds of CPU")
    kinds = ["full", "resumed", "hit"]
    rule("subject", *(head for kind in kinds for head in (kind, "÷ nginx")), "cipher")
    for index, (name, _) in enumerate(subjects):
        cells = []
        for kind in kinds:
            cells.append(spread([one[index][kind] for one in rounds], ".1f"))
            cells.append(spread([one[index][kind] / one[1][kind] for one in rounds], ".2f"))
        row(name, *cells, suites[name])


def make_certificate(folder: str) -> tuple[str, str]:
    """Makes a certificate with a P-256 key, and returns both paths."""
    certificate, key = os.path.join(folder, "certificate.pem"), os.path.join(folder, "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    subprocess.run([*command, *names, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    return certificate, key


def context() -> ssl.SSLContext:
    """Returns a client's configuration without trust, whose checks would cost the client only."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    return client


def connect(client: ssl.SSLContext, server: Process, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    """Opens a connection, whose handshake is complete for the client."""
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    return client.wrap_socket(plain, server_hostname="localhost", session=session)


def ticket(client: ssl.SSLContext, server: Process) -> ssl.SSLSession:
    """Returns a session that the server can resume. Its ticket comes behind the handshake."""
    with connect(client, server) as connection:
        connection.sendall(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"port {server.port} answers {answer[:80]}")
        return connection.session


def suite(server: Process) -> str:
    """Returns the cipher that the server chooses."""
    with connect(context(), server) as connection:
        return connection.cipher()[0]


def measure(started: Servers, server: Process, chosen) -> dict[str, float]:
    """Runs one round of one subject."""
    client = context()
    kinds = {"full": None, "resumed": ticket(client, server)}
    costs = {}
    for kind, session in kinds.items():
        before = server.cpu_seconds()
        for _ in range(chosen.handshakes):
            with connect(client, server, session) as connection:
                if connection.session_reused != (session is not None):
                    raise RuntimeError(f"port {server.port}: the handshake is not {kind}")
        # The answer on a last connection shows that the server has seen the others.
        ticket(context(), server)
        costs[kind] = 1e6 * (server.cpu_seconds() - before) / (chosen.handshakes + 1)
    before = server.cpu_seconds()
    wrk = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{chosen.seconds}s", f"https://127.0.0.1:{server.port}{PATH}"]
    text = run(started.cores.on(started.cores.load, wrk), chosen.seconds + EXTRA_SECONDS)
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(text)
    requests = int(re.search(r"(\d+) requests in", text).group(1))
    # The handshakes of wrk are no part of a hit.
    hits = server.cpu_seconds() - before - CONNECTIONS * costs["full"] / 1e6
    costs["hit"] = 1e6 * hits / requests
    return costs


if __name__ == "__main__":
    main()
