"""F21: where requests may go when only public addresses are allowed."""
import os
import shutil
import subprocess

import pytest

from conftest import Result
from faults.kit import PART, fetch, other, server, sets, source  # noqa: F401 (fixtures)
from faults.server import FaultServer

PUBLIC_ONLY = {"xfer__public_only": "true"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1.2.3", "0.0.0.0"])
def test_F21_this_machine_is_refused_and_no_connection_is_made(berth, server, host):
    server.put("b", "d/x", "x")
    got = fetch(berth, server, endpoint=f"http://{host}:{server.port}", settings=PUBLIC_ONLY)
    assert got.code == 1 and "not public" in got.errors and host.strip("[]") in got.errors, got
    assert server.connections == 0


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "10.1.2.3", "172.16.9.9", "192.168.0.1", "100.64.0.1",
                                  "[::1]", "[fe80::1]", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]"])
def test_F21_metadata_and_private_addresses_are_refused(berth, host):
    got = berth("fetch", *sets(**PUBLIC_ONLY), f"src=s3://b/d/,dst=/in,opt=endpoint=http://{host}", "out", timeout=30)
    assert got.code == 1 and "not public" in got.errors and host.strip("[]") in got.errors, got


def test_F21_the_operator_may_allow_an_address(berth, server):
    server.put("b", "d/x", "x")
    got = fetch(berth, server, settings={**PUBLIC_ONLY, "xfer__allow": server.authority})
    assert got.code == 0 and got.files == {"x": b"x"}, got


@pytest.mark.parametrize("op", ["list", "get"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_F21_a_redirect_to_an_address_that_is_not_allowed_is_not_followed(berth, server, other, op, host):
    for s in (server, other):
        s.put("b", "d/x", "x")
    server.rule(op=op, status=307, location=f"http://{host}:{other.port}/b/d/x")
    got = fetch(berth, server, settings={**PUBLIC_ONLY, "xfer__allow": server.authority})
    assert got.code == 1 and "not public" in got.errors and got.files == {}, got
    assert other.connections == 0


@pytest.mark.parametrize("host", ["169.254.169.254", "10.1.2.3", "[::1]"])
def test_F21_an_address_that_is_not_allowed_is_not_handed_to_a_proxy_either(berth, other, host):
    settings = sets(**PUBLIC_ONLY, xfer__allow=other.authority)
    got = berth("fetch", *settings, f"src=s3://b/d/,dst=/in,opt=endpoint=http://{host}", "out", timeout=30, env={"http_proxy": other.url})
    assert got.code == 1 and "not public" in got.errors and other.log == [], got


def own_hosts_file(hosts):
    """A command prefix: what follows sees `hosts` as its /etc/hosts, and may be told another one later."""
    return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts)]


needs_mounts = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root for a hosts file of its own")


@needs_mounts
def test_F21_a_name_is_judged_by_the_address_it_leads_to(berth, server, tmp_path):
    server.put("b", "d/x", "x")
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 storage.example\n")
    argv, env = berth.command("fetch", *sets(**PUBLIC_ONLY), source(server, endpoint=f"http://storage.example:{server.port}"), "out")
    got = Result(subprocess.run([*own_hosts_file(hosts), *argv], env=env, cwd=berth.cwd, capture_output=True, timeout=60))
    assert got.code == 1 and "storage.example" in got.errors and "127.0.0.1 is loopback" in got.errors, got
    assert server.connections == 0


@needs_mounts
def test_F21_a_name_that_is_rebound_between_two_connections_is_refused(berth, tmp_path):
    """Allowed is 127.0.0.2; while the listing is under way, the name moves to 127.0.0.1, on the same port."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.2 storage.example\n")
    with FaultServer(host="127.0.0.2") as good, FaultServer(host="127.0.0.1", port=good.port) as inner:
        for s in (good, inner):
            s.put("b", "d/x.bin", size=2 * PART)
        good.rule(op="list", hold="rebound", headers={"Connection": "close"})
        settings = sets(xfer__public_only="true", xfer__allow="127.0.0.2")
        argv, env = berth.command("fetch", *settings, source(good, endpoint=f"http://storage.example:{good.port}"), "out")
        p = subprocess.Popen([*own_hosts_file(hosts), *argv], env=env, cwd=berth.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        good.wait(lambda: good.log)
        hosts.write_text("127.0.0.1 storage.example\n")
        good.release("rebound")
        _, errors = p.communicate(timeout=60)
        assert p.returncode == 1 and b"not public" in errors, errors
        assert inner.connections == 0
