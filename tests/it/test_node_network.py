"""What containers of a market's jobs reach, with a real node, real engines and the kernel's own packet filter."""
import contextlib
import errno
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading

import pytest

from conftest import BERTH, IMAGE, ROOT, bacalhau, nosana, start_servers, stop_servers
from fleet import Fleet, eventually
from lab import Engine

NETWORK = "berth-filtered"
# Of another machine: a LAN's, a metadata service's kind, public ones. OWN is this machine's. Each test run has others.
N = 1 + os.getpid() % 250
LAN_GATEWAY, LAN, LINK_LOCAL, EXEMPT = f"10.213.{N}.1", f"10.213.{N}.2", f"169.254.{N}.77", f"10.214.{N}.78"
PUBLIC, OWN = f"52.95.{N}.77", f"52.95.{N}.78"


def run(*argv, **more):
    return subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True, **more).stdout


@pytest.fixture(scope="module", autouse=True)
def machine():
    """One where packets can be filtered, and other machines be played by network namespaces."""
    if os.geteuid() != 0:
        pytest.skip("packet filters are root's to set")
    for program in ("nft", "ip", "nsenter", "setpriv", "unshare"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not in PATH: tools/setup test")
    for argv, rules in ((["nft", "-c", "-f", "-"], "table bridge berthprobe { }"), (["unshare", "-n", "true"], "")):
        done = subprocess.run(argv, input=rules, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{' '.join(argv)}: {done.stderr.strip()}")


class Answering:
    """Says "reached" to whoever comes, on all addresses of this machine."""

    def __init__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", "7")
                self.end_headers()
                self.wfile.write(b"reached")

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def here():
    answering = Answering()
    yield answering.port
    answering.close()


@pytest.fixture(scope="module")
def elsewhere():
    """Another machine, as far as the kernel can tell: behind a cable, with addresses of several kinds; port 8080 answers."""
    near, far = f"bl{os.getpid()}a", f"bl{os.getpid()}b"
    script = ("import http.server as h\n"
              "class H(h.BaseHTTPRequestHandler):\n"
              "    def do_GET(self):\n"
              "        self.send_response(200); self.send_header('Content-Length', '7'); self.end_headers(); self.wfile.write(b'reached')\n"
              "    def log_message(self, *_): pass\n"
              "s = h.ThreadingHTTPServer(('0.0.0.0', 8080), H); print('up', flush=True); s.serve_forever()\n")
    # Its namespace and the cable end with it, and it with whoever runs the tests.
    with subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "-n", sys.executable, "-c", script],
                          stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout.readline() == b"up\n"
            within = ["nsenter", "-n", "-t", server.pid, "ip"]
            run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", server.pid)
            for address in (f"{LAN_GATEWAY}/30", f"{OWN}/32"):
                run("ip", "addr", "add", address, "dev", near)
            run("ip", "link", "set", near, "up")
            for address in (f"{LAN}/30", f"{LINK_LOCAL}/32", f"{PUBLIC}/32", f"{EXEMPT}/32"):
                run(*within, "addr", "add", address, "dev", far)
            for device in ("lo", far):
                run(*within, "link", "set", device, "up")
            run(*within, "route", "add", "default", "via", LAN_GATEWAY)
            for address in (LINK_LOCAL, PUBLIC, EXEMPT):
                run("ip", "route", "add", address, "via", LAN)
            yield 8080
        finally:
            subprocess.run(["ip", "link", "del", near], check=False, capture_output=True)
            server.kill()


@contextlib.contextmanager
def market_of(engine):
    with Fleet(BERTH, servers=1, db="sqlite", lease="3s") as fleet:
        fleet.engine = Engine(engine)
        yield fleet.start(max_attempts=2)
        for container in fleet.engine.containers().values():
            fleet.engine.remove(container)


@pytest.fixture
def market(engine):
    with market_of(engine) as one:
        yield one


@pytest.fixture(scope="module")
def networking(state_dir):
    """Podman as it comes: its containers have a network unless they are told otherwise."""
    folder = state_dir / "networking"
    yield start_servers(folder, "podman", PODMAN_NETNS="bridge")["podman"]["address"]
    stop_servers(folder)


@pytest.fixture
def open_market(networking):
    with market_of(networking) as one:
        yield one


def add_node(market, *options, **env):
    return market.add_node(*options, env={"BERTH_ENGINE": market.engine.address, **env})


def ask(host, port):
    """The static busybox has a wget that can't; its nc ends with 0 where nobody answered."""
    return f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {host} {port} 2>/dev/null | grep -o reached"


def reaching(*places):
    """A command that says of each "address:port" whether it answers; "gateway" is where packets leave the container."""
    return ("gateway=$(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p'); for at in " + " ".join(places) + "; do "
            "case $at in gateway:*) to=$gateway:${at#*:};; *) to=$at;; esac; "
            f"echo $at $({ask('${to%:*}', '${to#*:}')} || echo no); done")


def outcome(market, definition):
    """How the job ended, what it said, and what its record says of the network."""
    end = market.await_end(market.post(definition)["id"])
    execution = market.job(end["id"], "executions")["executions"][0]
    said = market.output(end["id"])
    return end, dict(line.split(" ", 1) for line in said.splitlines() if " " in line), execution["record"]["network"]


SLEEP = "trap exit TERM; sleep 600 & wait"


def sleeper(market):
    """A job that runs until it is removed: what finds its network namespace, and its address."""
    job = market.post(nosana([], ["sh", "-c", f"echo at $(hostname -i); {SLEEP}"]))["id"]
    address = eventually("the job to run", lambda: market.output(job)).split()[1]
    seen = [market.engine.call("GET", f"/containers/{c}/json")[1] for c in market.engine.containers().values()]
    pid, = [re.search(rb'"Pid": ?([0-9]+)', body)[1].decode() for body in seen if f'"{address}"'.encode() in body]
    return ["nsenter", "-n", "-t", pid, sys.executable, "-c"], address


def rules(market):
    """Of this engine's own network."""
    status, body = market.engine.call("GET", f"/networks/{NETWORK}")
    assert status == 200, body
    found = json.loads(body[body.find(b"{"):body.rfind(b"}") + 1])
    subnet = found["IPAM"]["Config"][0]["Subnet"]
    tables = [t for t in run("nft", "list", "tables").splitlines() if t.startswith("table bridge berthf")]
    return [t for t in tables if subnet in run("nft", "list", *t.split())], subnet


def test_a_job_reaches_public_addresses_and_no_others(market, here, elsewhere):
    add_node(market)
    places = [f"gateway:{here}", f"{LAN_GATEWAY}:{here}", f"{OWN}:{here}", f"{LAN}:{elsewhere}",
              f"{LINK_LOCAL}:{elsewhere}", f"{PUBLIC}:{elsewhere}"]
    end, said, network = outcome(market, nosana([], ["sh", "-c", reaching(*places)]))
    assert end["state"] == "succeeded" and not end["reason"] and network == "filtered", (end, network)
    assert said == {**{p: "no" for p in places}, f"{PUBLIC}:{elsewhere}": "reached"}


def test_without_the_filter_all_of_them_answer(open_market, here, elsewhere):
    """What the test above would find if the filter did nothing."""
    market = open_market
    add_node(market, BERTH_NODE_NETWORK="full")
    places = [f"gateway:{here}", f"{LAN_GATEWAY}:{here}", f"{OWN}:{here}", f"{LAN}:{elsewhere}",
              f"{LINK_LOCAL}:{elsewhere}", f"{PUBLIC}:{elsewhere}"]
    _, said, network = outcome(market, nosana([], ["sh", "-c", reaching(*places)]))
    assert network == "full" and said == {p: "reached" for p in places}


def test_addresses_that_the_operator_names_are_reached(market, here, elsewhere):
    if market.engine.name == "podman":
        pytest.skip("its network is shared by all Podman services of a machine, and so are the rules")
    add_node(market, BERTH_XFER_ALLOW=f"{LAN_GATEWAY}:{here},{EXEMPT}/32,localhost")
    places = [f"{LAN_GATEWAY}:{here}", f"gateway:{here}", f"{EXEMPT}:{elsewhere}", f"{LAN}:{elsewhere}"]
    _, said, _ = outcome(market, nosana([], ["sh", "-c", reaching(*places)]))
    assert said == dict(zip(places, ["reached", "no", "reached", "no"]))


def test_jobs_do_not_reach_one_another(market, elsewhere):
    add_node(market, "--slots", "2")
    listening = market.post(nosana([], ["sh", "-c", "mkdir /w; echo reached > /w/index.html; httpd -p 8080 -h /w; "
                                        f"echo at $(hostname -i) $({ask('127.0.0.1', 8080)}); {SLEEP}"]))["id"]
    address, own = eventually("the first job to listen", lambda: market.output(listening)).split()[1:3]
    assert own == "reached"
    _, said, network = outcome(market, nosana([], ["sh", "-c", reaching(f"{address}:8080", f"{PUBLIC}:{elsewhere}")]))
    assert network == "filtered" and said == {f"{address}:8080": "no", f"{PUBLIC}:{elsewhere}": "reached"}


SHOUT = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
for to in ("255.255.255.255", "224.0.0.1"):
    s.sendto(f"{sys.argv[1]} {to}".encode(), (to, 9999))
"""
HEAR = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 9999))
print("up", flush=True)
while True:
    print(s.recv(100).decode(), flush=True)
"""


def test_jobs_do_not_hear_what_others_say_to_all(market, tmp_path):
    add_node(market, "--slots", "2")
    (within_one, address), (within_other, _) = sleeper(market), sleeper(market)
    notes = tmp_path / "heard"
    with notes.open("w") as out, subprocess.Popen([*within_one, HEAR], stdout=out) as hearing:
        try:
            def hears(line):
                eventually(f"{line} to be heard", lambda: line in notes.read_text().splitlines())
            hears("up")
            (table,), _ = rules(market)
            bridge = table.split()[-1]
            run("nft", "delete", "table", "inet", bridge)  # which only some machines apply to what stays on a bridge
            run(*within_other, SHOUT, "filtered")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.sendto(b"this machine", (address, 9999))
            hears("this machine")
            run("nft", "delete", "table", "bridge", bridge)
            run(*within_other, SHOUT, "open")  # what would be heard else
            hears("open 255.255.255.255")
            hears("open 224.0.0.1")
        finally:
            hearing.kill()
    assert "filtered" not in notes.read_text()


CONNECT = """
import socket, sys
s = socket.socket()
s.settimeout(20)
s.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes.fromhex(sys.argv[3]))
print(s.connect_ex((sys.argv[1], int(sys.argv[2]))))
"""


def test_packets_with_options_go_nowhere(market, elsewhere):
    """An option can be a source route: to another place than the address that was found to be public."""
    add_node(market)
    within, _ = sleeper(market)
    tried = [run(*within, CONNECT, PUBLIC, elsewhere, options).strip() for options in ("", "01010101")]
    assert tried == ["0", str(errno.EHOSTUNREACH)]


def test_a_job_has_neither_ipv6_nor_raw_sockets(market):
    add_node(market)
    end, said, _ = outcome(market, nosana([], ["sh", "-c", "echo ipv6 $(cat /proc/net/if_inet6 | wc -l); "
                                               "echo rights $(sed -n 's/^CapBnd:.//p' /proc/self/status)"]))
    assert said["ipv6"] == "0" and not int(said["rights"], 16) & 1 << 13, (end, said)


def test_ports_that_other_containers_publish_are_not_reached(open_market, here, elsewhere):
    market = open_market
    with socket.socket() as s:
        s.bind(("", 0))
        port = s.getsockname()[1]
    body = {"Image": IMAGE, "Cmd": ["sh", "-c", "mkdir /w; echo reached > /w/index.html; exec httpd -f -p 80 -h /w"],
            "Labels": {"berth.job": "a-neighbour"}, "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": str(port)}]}}}
    status, body = market.engine.call("POST", "/containers/create", json.dumps(body).encode(), "application/json")
    assert status == 201, body
    container = re.search(rb'"Id": ?"([0-9a-f]+)"', body)[1].decode()
    assert market.engine.call("POST", f"/containers/{container}/start")[0] == 204
    _, body = market.engine.call("GET", f"/containers/{container}/json")
    address = re.search(rb'"IPAddress": ?"([0-9.]+)"', body)[1].decode()
    places = [f"{address}:80", f"gateway:{port}", f"{LAN_GATEWAY}:{port}", f"{OWN}:{port}"]
    for setting, answer in (("filtered", "no"), ("full", "reached")):
        node = add_node(market, BERTH_NODE_NETWORK=setting)
        assert outcome(market, nosana([], ["sh", "-c", reaching(*places)]))[1] == {p: answer for p in places}
        node.process.end()


def test_rules_that_somebody_flushed_are_set_again_before_the_next_job(market, here):
    add_node(market)
    assert outcome(market, nosana([], ["true"]))[2] == "filtered"
    (table,), _ = rules(market)
    for family in ("inet", "bridge"):
        run("nft", "delete", "table", family, table.split()[-1])
    place = f"gateway:{here}"
    assert outcome(market, nosana([], ["sh", "-c", reaching(place)]))[1] == {place: "no"}
    assert rules(market)[0] == [table]


def test_a_job_that_asks_for_no_network_has_none(market):
    add_node(market)
    job = bacalhau([], "ls /sys/class/net | tr '\\n' ' '; echo", Network={"Type": "None"})
    end = market.await_end(market.post(job)["id"])
    assert market.output(end["id"]).split() == ["lo"] and not end["reason"]
    assert market.job(end["id"], "executions")["executions"][0]["record"]["network"] == "none"


@pytest.mark.parametrize("case", ["there is no nft", "the operator gives none"])
def test_without_a_filter_there_is_no_network_and_the_end_says_why(market, case, tmp_path):
    if case == "there is no nft":
        for program in ("podman", "runc", "mount", "umount"):  # what else berth starts
            with contextlib.suppress(FileNotFoundError, subprocess.CalledProcessError):
                (tmp_path / program).symlink_to(run("which", program).strip())
        add_node(market, PATH=str(tmp_path))
        why = 'the filter cannot be set: the program "nft" is not in PATH'
    else:
        add_node(market, BERTH_NODE_NETWORK="none")
        why = "this machine gives jobs none"
    end = market.await_end(market.post(nosana([], ["sh", "-c", "ls /sys/class/net"]))["id"])
    assert market.output(end["id"]).split() == ["lo"] and end["state"] == "succeeded"
    assert why in end["reason"] and "network" in end["reason"]
    assert market.job(end["id"], "executions")["executions"][0]["record"]["network"].startswith(f"none: {why}")


def test_a_setting_that_is_none_is_refused(berth, one_engine):
    out = berth("node", "start", "--set", "node.network=open", "--server", "http://127.0.0.1:1", env={"BERTH_ENGINE": one_engine})
    assert out.code != 0 and "node.network" in out.errors and "filtered, none or full" in out.errors, out


@pytest.mark.parametrize("setting", ["filtered", "none", "full"])
def test_doctor_says_what_jobs_would_get(berth, engine, setting):
    rows = berth("doctor", "--json", "--set", f"node.network={setting}", env={"BERTH_ENGINE": engine}).json
    found, = [r for r in rows if r["check"] == "node network"]
    assert found["state"] == "ok"
    assert {"filtered": "public addresses", "none": "no network", "full": "all that this machine"}[setting] in found["found"]


def test_doctor_says_why_the_filter_cannot_be_set(berth, engine):
    argv, env = berth.command("doctor", "--json", env={"BERTH_ENGINE": engine})
    out = subprocess.run(["unshare", "-n", *argv], env=env, capture_output=True, check=False)
    found, = [r for r in json.loads(out.stdout) if r["check"] == "node network"]
    assert found["state"] == "note" and "another network namespace" in found["found"]


def test_the_service_has_the_rights_that_the_filter_takes(berth, engine):
    unit = (ROOT / "packaging/systemd/berth-node.service").read_text()
    rights = [r.removeprefix("CAP_").lower() for r in re.search("^CapabilityBoundingSet=(.+)$", unit, re.M)[1].split()]
    argv, env = berth.command("doctor", "--json", env={"BERTH_ENGINE": engine})
    bounds = ["setpriv", "--no-new-privs", "--inh-caps", "-all", "--bounding-set", ",".join(["-all", *(f"+{r}" for r in rights)])]
    out = subprocess.run([*bounds, *argv], env=env, capture_output=True, check=False)
    found, = [r for r in json.loads(out.stdout) if r["check"] == "node network"]
    assert found["state"] == "ok", found


def test_a_run_of_ones_own_has_the_network_that_it_asks_for(berth, engine, here):
    out = berth("run", "--json", berth.job(nosana([], ["sh", "-c", "true"])), env={"BERTH_ENGINE": engine})
    record = json.loads(next(berth.cwd.rglob("berth.json")).read_text())
    assert out.code == 0 and record["network"] == "full", out
