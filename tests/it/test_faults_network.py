"""F10–F12: servers that are busy, slow, or gone."""
import subprocess

import pytest

from conftest import tree
from faults.kit import PART, TRIES, fetch, part_of, ranges, server  # noqa: F401 (a fixture)
from faults.server import FaultServer
from ports import free_port


def refused(server):
    return [r for r in server.asked() if r.status in (429, 503)]


@pytest.mark.parametrize("status, code", [(503, "SlowDown"), (429, "TooManyRequests"), (503, "ServiceUnavailable")])
def test_F10_refusals_for_a_while_slow_berth_down_and_do_not_make_it_storm(berth, server, status, code):
    o = server.put("b", "d/x.bin", size=12 * PART)
    server.rule(op="get", seconds=3, status=status, code=code)
    got = fetch(berth, server, timeout=90)
    assert got.code == 0 and got.has("x.bin", o.now), got
    first_volley = 8
    assert len(refused(server)) <= first_volley * 6, server.told()  # without back-off these are thousands


def test_F10_each_volley_of_refusals_halves_how_much_is_asked_at_once(berth, server):
    o = server.put("b", "d/x.bin", size=12 * PART)
    server.rule(op="get", nth=list(range(1, 15)), status=503, code="SlowDown", delay_ms=50)
    got = fetch(berth, server)
    assert got.code == 0 and got.has("x.bin", o.now), got
    together = [r.together for r in refused(server)]
    assert len(together) == 14 and max(together) <= 8 and max(together[8:]) <= 4 and max(together[12:]) <= 2, together


def test_F10_retry_after_is_waited_for(berth, server):
    """The server is busy just as long as it says: nobody who waits that long meets a second refusal."""
    o = server.put("b", "d/x.bin", size=12 * PART)
    server.rule(op="get", seconds=2, status=429, code="TooManyRequests", headers={"Retry-After": "2"})
    got = fetch(berth, server, timeout=90)
    assert got.code == 0 and got.has("x.bin", o.now), got
    assert 1 <= len(refused(server)) <= 8, server.told()


def test_F10_a_listing_that_is_refused_is_asked_for_again(berth, server):
    server.put("b", "d/x", "x")
    server.rule(op="list", nth=[1, 2, 3], status=503, code="SlowDown")
    got = fetch(berth, server)
    assert got.code == 0 and got.files == {"x": b"x"}, got


def test_F10_a_server_that_stays_busy_is_an_error_after_bounded_tries(berth, server):
    server.put("b", "d/x", "x")
    server.rule(op="list", status=503, code="SlowDown")
    got = fetch(berth, server, timeout=120)
    assert got.code == 1 and "503" in got.errors and "b/d/" in got.errors, got
    assert len(refused(server)) <= TRIES * 5


def test_F11_a_connection_that_trickles_is_overtaken(berth, server):
    o = server.put("b", "d/x.bin", size=4 * PART)
    slow = server.rule(op="get", range=True, nth=2, trickle_ms=1000)
    got = fetch(berth, server, settings={"xfer__stall": "1s"})
    assert got.code == 0 and got.has("x.bin", o.now), got
    assert slow.applied == 1 and len(ranges(server)) == 5 and len(set(ranges(server))) == 4, server.told()
    trickling = [r for r in server.asked(op="get") if r.sent < PART]
    assert len(trickling) == 1


def test_F11_a_connection_that_stops_is_overtaken_while_it_is_still_open(berth, server):
    o = server.put("b", "d/x.bin", size=2 * PART)
    server.rule(op="get", range=True, nth=1, hold_at=PART // 2, gate="never")
    got = fetch(berth, server, settings={"xfer__stall": "1s"})
    assert got.code == 0 and got.has("x.bin", o.now), got
    assert server.sent(op="get") <= 2 * PART + PART // 2


def test_F12_a_reset_in_the_middle_of_every_part_keeps_what_has_come(berth, server):
    o = server.put("b", "d/x.bin", size=5 * PART)
    bad = server.rule(op="get", range=True, per="part", nth=1, reset=PART // 2)
    got = fetch(berth, server)
    assert got.code == 0 and got.has("x.bin", o.now), got
    again = [first for first, _ in ranges(server) if first % PART != 0]
    assert bad.applied == 5 and len(ranges(server)) == 10
    assert len(again) == 5, "what came before the reset was asked for once more"


def test_F12_resets_that_let_something_through_are_got_past(berth, server):
    o = server.put("b", "d/x.bin", size=2 * PART)
    server.rule(op="get", range=True, reset=PART // 16)
    got = fetch(berth, server, timeout=120)
    assert got.code == 0 and got.has("x.bin", o.now), got
    assert server.sent(op="get") <= 2 * PART + PART


def test_F12_a_part_that_never_comes_fails_after_bounded_tries_and_the_others_are_kept(berth, server):
    o = server.put("b", "d/x.bin", size=5 * PART)
    server.rule(op="get", last=3 * PART - 1, until="mended", reset=0)
    got = fetch(berth, server)
    assert got.code == 1 and "x.bin" in got.errors and got.files == {}, got
    assert [part_of(first) for first, _ in ranges(server)].count(2) == TRIES

    server.release("mended")
    server.forget()
    got = fetch(berth, server)
    assert got.code == 0 and got.has("x.bin", o.now), got
    assert 2 in {part_of(first) for first, _ in ranges(server)}
    assert server.sent(op="get") <= 2 * PART, "parts that were there came once more"


def test_F12_a_refused_connection_is_a_clear_error(berth):
    port = free_port()
    result = berth("fetch", f"src=s3://b/d/,dst=/in,opt=endpoint=http://127.0.0.1:{port}", "out", timeout=60)
    assert result.code == 1 and str(port) in result.errors and "s3://b/d/" in result.errors, result
    assert "refused" in result.errors.lower() and tree(berth.cwd) == {}


def test_F12_a_host_that_has_no_address_is_a_clear_error(berth):
    result = berth("fetch", "src=s3://b/d/,dst=/in,opt=endpoint=http://storage.invalid:9000", "out", timeout=90)
    assert result.code == 1 and "storage.invalid" in result.errors and "resolve" in result.errors, result


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def test_F12_a_certificate_that_nobody_vouches_for_is_refused_before_any_request(berth, certificate):
    with FaultServer(tls=certificate) as server:
        server.put("b", "d/x", "x")
        got = fetch(berth, server)
        assert got.code == 1 and "certificate" in got.errors and got.files == {}, got
        assert server.log == []
        got = fetch(berth, server, settings={"xfer__ca_file": certificate[0]})
        assert got.code == 0 and got.files == {"x": b"x"}, got


def test_F12_a_certificate_for_another_name_is_refused(berth, certificate):
    with FaultServer(tls=certificate) as server:
        server.put("b", "d/x", "x")
        got = fetch(berth, server, endpoint=f"https://localhost:{server.port}", settings={"xfer__ca_file": certificate[0]})
        assert got.code == 1 and "localhost" in got.errors and server.log == [], got


def test_F12_a_server_without_tls_behind_https_is_a_clear_error(berth, server):
    got = fetch(berth, server, endpoint=server.url.replace("http:", "https:"))
    assert got.code == 1 and str(server.port) in got.errors and server.log == [], got
