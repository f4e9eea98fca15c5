"""F17–F20, F22: whose keys sign, for which region, by which clock, and who gets to see them."""
import datetime
import json
import sys

import pytest

from conftest import bacalhau, s3_input
from faults.kit import PART, fetch, other, server, source  # noqa: F401 (fixtures)

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDFIRST0000000000", "AWS_SECRET_ACCESS_KEY": "first-secret"}
FIRST, SECOND = "AKIDFIRST0000000000", "AKIDSECOND000000000"


def signed(server, **more):
    """The server takes nothing that is not signed by the keys of KEYS."""
    server.verify = True
    return server.identity(FIRST, "first-secret", **more)


def refusals(server, *statuses):
    return [r for r in server.asked() if r.status in statuses]


# ---- F17: credentials expire ----


def in_an_hour():
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def two_identities(server):
    server.verify = True
    server.identity(FIRST, "first-secret", token="first-token")
    server.identity(SECOND, "second-secret", token="second-token")


def handed_out(name, end):
    return {"AccessKeyId": f"AKID{name.upper()}".ljust(19, "0"), "SecretAccessKey": f"{name}-secret", "Expiration": end}


def by_container(server, berth):
    """The credentials endpoint of a container: first one pair of keys, then another."""
    answers = [(200, json.dumps({**handed_out(n, in_an_hour()), "Token": f"{n}-token"}), {}) for n in ("first", "second")]
    server.page("/creds", *answers)
    return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/creds"}, lambda: len(server.asked(op="page"))


def by_process(server, berth):
    """A credential_process that notes each call and hands out the next pair of keys."""
    calls = berth.cwd / "calls"
    program = berth.cwd / "keys.py"
    pairs = [{"Version": 1, **handed_out(n, in_an_hour()), "SessionToken": f"{n}-token"} for n in ("first", "second")]
    program.write_text(f"import json, os\ncalls = open({str(calls)!r}, 'ab')\ncalls.write(b'x')\ncalls.flush()\n"
                       f"print(json.dumps({pairs!r}[min(os.path.getsize({str(calls)!r}), 2) - 1]))\n")
    (berth.home / ".aws").mkdir()
    (berth.home / ".aws/config").write_text(f"[default]\ncredential_process = {sys.executable} {program}\n")
    return {}, lambda: calls.stat().st_size


@pytest.mark.parametrize("origin", [by_container, by_process])
def test_F17_keys_that_expire_during_a_download_are_refreshed_and_no_part_starts_over(berth, server, origin):
    two_identities(server)
    o = server.put("b", "d/x.bin", size=12 * PART)
    env, times_asked = origin(server, berth)
    server.rule(op="get", range=True, nth=3, expire=True)
    got = fetch(berth, server, env=env)
    assert got.code == 0 and got.has("x.bin", o.now), got
    good = [tuple(r.range) for r in server.asked(op="get") if r.status == 206]
    assert len(good) == len(set(good)) == 12, "a part was fetched twice"
    assert times_asked() == 2
    assert {r.access for r in server.asked(op="get")} == {FIRST, SECOND}
    assert 1 <= len(refusals(server, 400)) <= 12
    assert server.asked(op="get")[-1].access == SECOND


def test_F17_keys_that_expire_during_a_listing_are_refreshed(berth, server):
    two_identities(server)
    for i in range(2500):
        server.put("b", f"d/{i:04d}", "")
    server.rule(op="list", nth=1, expire=True)
    env, times_asked = by_container(server, berth)
    got = fetch(berth, server, "--dry-run", env=env)
    assert got.code == 0, got
    assert times_asked() == 2 and len(refusals(server, 400)) == 1, server.told()


def test_F17_keys_that_stay_expired_are_an_error_after_bounded_tries(berth, server):
    signed(server).expired = True
    server.put("b", "d/x", "x")
    got = fetch(berth, server, env=KEYS)
    assert got.code == 1 and "expired" in got.errors.lower() and "environment" in got.errors, got
    assert len(server.asked()) <= 4 and got.files == {}


# ---- F18: the clock ----


@pytest.mark.parametrize("minutes", [-20, 20])
def test_F18_a_clock_that_is_off_is_corrected_once_from_the_answer(berth, server, minutes):
    signed(server)
    server.clock_offset = minutes * 60
    o = server.put("b", "d/x.bin", size=6 * PART)
    got = fetch(berth, server, env=KEYS)
    assert got.code == 0 and got.has("x.bin", o.now), got
    assert len(refusals(server, 403)) == 1, server.told()


def test_F18_a_server_that_is_never_content_with_the_clock_is_an_error(berth, server):
    signed(server)
    server.put("b", "d/x", "x")
    server.rule(op="list", status=403, code="RequestTimeTooSkewed")
    got = fetch(berth, server, env=KEYS)
    assert got.code == 1 and "clock" in got.errors, got
    assert len(server.asked()) <= 3


def test_F18_a_clock_that_goes_wrong_during_the_download_is_corrected_then(berth, server):
    signed(server)
    o = server.put("b", "d/x.bin", size=12 * PART)
    server.rule(op="get", nth=1, hold="moved")
    process = berth.start("fetch", source(server), "out", env=KEYS)
    server.wait(lambda: server.asked(op="get"))
    server.clock_offset = 20 * 60
    server.release("moved")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and o.now.content.same_as(berth.cwd / "out/in/x.bin"), errors
    assert 1 <= len(refusals(server, 403)) <= 12, server.told()


# ---- F19: the region ----


def test_F19_a_wrong_region_is_learned_from_a_malformed_authorization(berth, server):
    signed(server)
    server.region = "eu-west-7"
    o = server.put("b", "d/x.bin", size=4 * PART)
    got = fetch(berth, server, env=KEYS)
    assert got.code == 0 and got.has("x.bin", o.now), got
    assert len(refusals(server, 400)) == 1, server.told()
    assert {r.region for r in server.asked(op="get")} == {"eu-west-7"}


@pytest.mark.parametrize("status", [301, 307])
def test_F19_a_wrong_region_is_learned_from_the_header_of_a_redirect(berth, server, status):
    signed(server)
    server.put("b", "d/x", "x")
    server.rule(op="list", nth=1, status=status, code="PermanentRedirect", region_header="eu-west-7")
    got = fetch(berth, server, env=KEYS)
    assert got.code == 0 and got.files == {"x": b"x"}, got
    assert [r.region for r in server.asked()] == ["us-east-1", "eu-west-7", "eu-west-7"]


def test_F19_a_region_that_is_only_known_while_downloading_is_learned_then(berth, server):
    signed(server)
    o = server.put("b", "d/x.bin", size=4 * PART)
    server.rule(op="get", nth=1, status=400, code="AuthorizationHeaderMalformed", region_header="eu-west-7")
    got = fetch(berth, server, env=KEYS)
    assert got.code == 0 and got.has("x.bin", o.now), got
    assert "eu-west-7" in {r.region for r in server.asked(op="get")} and len(refusals(server, 400)) == 1


def test_F19_a_region_that_is_always_another_is_an_error(berth, server):
    signed(server)
    server.put("b", "d/x", "x")
    server.rule(op="list", nth=[1, 3, 5], status=400, code="AuthorizationHeaderMalformed", region_header="eu-west-7")
    server.rule(op="list", status=400, code="AuthorizationHeaderMalformed", region_header="eu-west-8")
    got = fetch(berth, server, env=KEYS)
    assert got.code == 1 and "region" in got.errors, got
    assert len(server.asked()) <= 4


def test_F19_a_region_that_is_no_name_of_one_is_not_used(berth, server):
    signed(server)
    server.put("b", "d/x", "x")
    server.rule(op="list", status=301, code="PermanentRedirect", region_header="x.evil.example/")
    got = fetch(berth, server, env=KEYS)
    assert got.code == 1 and {r.region for r in server.asked()} == {"us-east-1"}, got


def mirrors(**hosts):
    return {"mirrors": ",".join(f"https://s3.{region.replace('_', '-')}.amazonaws.com={s.url}" for region, s in hosts.items())}


@pytest.mark.parametrize("status", [301, 307])
def test_F19_amazon_in_another_region_is_asked_there_and_signed_for_it(berth, server, other, status):
    """Both regions are on this machine by way of mirrors. Where the Location leads, nobody goes."""
    for s in (server, other):
        signed(s)
        s.put("b-ucket", "d/x", "x")
    other.region = "eu-west-1"
    server.rule(status=status, code="PermanentRedirect", region_header="eu-west-1", location="https://evil.invalid/")
    got = fetch(berth, server, bucket="b-ucket", endpoint=None, env=KEYS, settings=mirrors(us_east_1=server, eu_west_1=other))
    assert got.code == 0 and got.files == {"x": b"x"}, got
    assert len(server.asked()) == 1 and {r.region for r in other.asked()} == {"eu-west-1"}


def test_F19_amazon_that_redirects_a_download_is_asked_in_the_right_region_and_signed_for_it(berth, server, other):
    for s in (server, other):
        signed(s)
        s.put("b-ucket", "d/x.bin", size=2 * PART)
    other.region = "eu-west-1"
    server.rule(op="get", status=307, code="TemporaryRedirect", region_header="eu-west-1", location=f"{other.url}/b-ucket/d/x.bin")
    got = fetch(berth, server, bucket="b-ucket", endpoint=None, env=KEYS, settings=mirrors(us_east_1=server, eu_west_1=other))
    assert got.code == 0 and got.has("x.bin", other.buckets["b-ucket"].objects["d/x.bin"].now), (got, server.told(), other.told())
    assert {r.region for r in other.asked() if r.status == 206} == {"eu-west-1"}


# ---- F20: redirects ----

TELLING = ("authorization", "cookie", "x-amz-security-token", "x-amz-date", "x-amz-content-sha256",
           "x-amz-server-side-encryption-customer-key")


def nothing_told(requests):
    return [(r.method, name) for r in requests for name in r.headers if name in TELLING or name.startswith("x-amz-")]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("op", ["list", "get"])
def test_F20_another_host_is_told_nothing_about_who_asks(berth, server, other, op, status):
    signed(server, token="first-token")
    for s in (server, other):
        s.put("b", "d/x.bin", size=2 * PART)
    path = "/b/d/x.bin" if op == "get" else "/b?list-type=2&encoding-type=url&max-keys=1000&prefix=d%2F"
    server.rule(op=op, status=status, location=other.url + path)
    got = fetch(berth, server, env={**KEYS, "AWS_SESSION_TOKEN": "first-token"})
    assert got.code == 0 and got.has("x.bin", server.buckets["b"].objects["d/x.bin"].now), got
    assert other.asked(op=op) and nothing_told(other.asked()) == []


def test_F20_a_head_that_is_redirected_tells_nothing_either(berth, server, other):
    signed(server, token="first-token")
    for s in (server, other):
        s.put("b", "d/x", "x")
    server.rule(op="head", status=307, location=f"{other.url}/b/d/x")
    got = fetch(berth, server, key="d/x", env={**KEYS, "AWS_SESSION_TOKEN": "first-token"})
    assert got.code == 0 and got.files == {"x": b"x"}, got
    assert other.asked(op="head") and nothing_told(other.asked()) == []


def test_F20_redirects_go_round_five_times_at_most(berth, server):
    server.put("b", "d/x", "x")
    server.rule(op="get", status=307, location=f"{server.url}/b/d/x")
    got = fetch(berth, server)
    assert got.code == 1 and "redirect" in got.errors and got.files == {}, got
    assert len(server.asked(op="get")) == 6


def test_F20_a_redirect_to_something_else_than_http_is_refused(berth, server):
    server.put("b", "d/x", "x")
    server.rule(op="get", status=307, location="file:///etc/passwd")
    got = fetch(berth, server)
    assert got.code == 1 and got.files == {}, got


# ---- F22: whose keys ----


def test_F22_a_job_with_keys_of_its_own_never_uses_those_of_the_machine(berth, server, one_engine):
    server.verify = True
    server.identity(FIRST, "first-secret")                    # the machine's own: may read all
    server.identity("AKIDSTRANGER0000000", "stranger-secret", buckets=["theirs"])
    server.put("ours", "d/x", "private")
    job = berth.job({"version": "0.1", "type": "container", "ops": [{"id": "op", "type": "container/run", "args": {
        "image": "localhost/busybox:latest", "cmd": "cat /data/x", "resources": [
            {"type": "S3", "url": f"{server.url}/ours/d", "bucket": "ours", "target": "/data",
             "IAM": {"ACCESS_KEY_ID": "AKIDSTRANGER0000000", "SECRET_ACCESS_KEY": "stranger-secret"}}]}}]})
    result = berth("run", "--engine", one_engine, "--results", "out", job, env=KEYS)
    assert result.code == 125 and "denied" in result.errors and "job's own IAM keys" in result.errors, result
    assert b"private" not in result.out
    assert {r.access for r in server.asked()} == {"AKIDSTRANGER0000000"}


def test_F22_a_cached_object_is_not_handed_to_who_may_list_but_not_read(berth, server, one_engine):
    """Listing is not reading: the first use of what is cached proves that these keys may read it."""
    server.verify = True
    server.identity(FIRST, "first-secret")
    server.identity("AKIDLISTER000000000", "lister-secret")
    server.rule(access="AKIDLISTER000000000", op="head", status=403, code="AccessDenied")
    server.rule(access="AKIDLISTER000000000", op="get", status=403, code="AccessDenied")
    server.put("ours", "d/x", "private")
    job = berth.job(bacalhau([s3_input("ours", "d/", Endpoint=server.url)], "cat /data/x"))
    mine = berth("run", "--engine", one_engine, "--results", "mine", job, env=KEYS)
    assert mine.code == 0 and mine.out == b"private", mine
    lister = {"AWS_ACCESS_KEY_ID": "AKIDLISTER000000000", "AWS_SECRET_ACCESS_KEY": "lister-secret"}
    theirs = berth("run", "--engine", one_engine, "--results", "theirs", job, env=lister)
    assert theirs.code == 125 and "denied" in theirs.errors and b"private" not in theirs.out, theirs
    assert server.asked(access="AKIDLISTER000000000", op="list")


def test_F23_reading_an_origin_of_ones_own_proves_nothing_about_another_of_the_same_shape(berth, server, other, one_engine):
    """The same names, sizes and ETags at an endpoint where these keys may read everything."""
    server.verify = True
    server.identity(FIRST, "first-secret")
    server.identity("AKIDLISTER000000000", "lister-secret")
    server.rule(access="AKIDLISTER000000000", op="head", status=403, code="AccessDenied")
    server.rule(access="AKIDLISTER000000000", op="get", status=403, code="AccessDenied")
    server.put("ours", "d/x", "private", etag='"the-same"')
    other.put("ours", "d/x", "my very", etag='"the-same"')
    job = berth.job(bacalhau([s3_input("ours", "d/", Endpoint=server.url)], "cat /data/x"))
    assert berth("run", "--engine", one_engine, "--results", "mine", job, env=KEYS).out == b"private"
    lister = {"AWS_ACCESS_KEY_ID": "AKIDLISTER000000000", "AWS_SECRET_ACCESS_KEY": "lister-secret"}
    decoy = berth.job(bacalhau([s3_input("ours", "d/", Endpoint=other.url)], "cat /data/x"), "decoy.json")
    assert berth("run", "--engine", one_engine, "--results", "decoy", decoy, env=lister).out == b"my very"
    theirs = berth("run", "--engine", one_engine, "--results", "theirs", job, env=lister)
    assert theirs.code == 125 and "denied" in theirs.errors and b"private" not in theirs.out, theirs
    again = berth("run", "--engine", one_engine, "--results", "again", decoy, env=lister)
    assert again.out == b"my very", again


def test_F23_what_was_proved_and_has_not_changed_is_not_asked_for_again(berth, server, one_engine):
    """Names that a listing and a folder put into different orders."""
    server.verify = True
    server.identity(FIRST, "first-secret")
    objects = {name: server.put("ours", f"d/{name}", name) for name in ("a/x", "a.txt", "a-1", "b")}
    job = berth.job(bacalhau([s3_input("ours", "d/", Endpoint=server.url)], "cat /data/a.txt"))
    assert berth("run", "--engine", one_engine, "--results", "first", job, env=KEYS).out == b"a.txt"
    server.forget()
    objects["b"].change()
    again = berth("run", "--engine", one_engine, "--results", "again", job, env=KEYS)
    assert again.out == b"a.txt" and {r.key for r in server.asked()} <= {"d/b", None, ""}, [r for r in server.asked()]


def test_F22_a_cached_object_is_not_handed_to_a_job_that_may_not_read_it(berth, server, one_engine):
    """The machine's own run fills the cache; a stranger's job then asks for the same."""
    server.verify = True
    server.identity(FIRST, "first-secret")
    server.identity("AKIDSTRANGER0000000", "stranger-secret", buckets=["theirs"])
    server.put("ours", "d/x", "private")
    own = berth.job(bacalhau([s3_input("ours", "d/x", Endpoint=server.url)], "cat /data/x"), "own.json")
    mine = berth("run", "--engine", one_engine, "--results", "mine", own, env=KEYS)
    assert mine.code == 0 and mine.out == b"private", mine
    stranger = {"AWS_ACCESS_KEY_ID": "AKIDSTRANGER0000000", "AWS_SECRET_ACCESS_KEY": "stranger-secret"}
    for who in (stranger, {}):
        theirs = berth("run", "--engine", one_engine, "--results", f"theirs-{len(who)}", own, env=who)
        assert theirs.code == 125 and "denied" in theirs.errors and b"private" not in theirs.out, theirs
