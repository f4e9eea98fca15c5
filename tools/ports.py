"""Ports for servers that have to be told theirs before they start."""
import pathlib
import random
import socket

MOST = 20000  # how many to choose from: two who choose at once rarely choose the same
TRIES = 100


def free_port() -> int:
    """On loopback, and not one that the kernel lends to whoever connects: such a one could be taken before the server has it."""
    lent_from = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    first = max(1024, lent_from - MOST)
    for _ in range(TRIES if first < lent_from else 0):
        port = random.randrange(first, lent_from)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
