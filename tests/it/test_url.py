"""URL and pre-signed URL inputs: how they are called, what is used again, and what goes wrong."""
import itertools
import json
import re
import urllib.parse

import pytest

from conftest import bacalhau, tree
from faults.kit import PART, other, server, sets  # noqa: F401 (fixtures)

BOOK = b"Call me Ishmael.\n" * 1000


def fetch(berth, url, *flags, **more):
    return berth("fetch", "--no-progress", *flags, url, "out", **more)


def got(berth):
    return tree(berth.cwd / "out")


def url_input(url, target="/data", kind="urlDownload"):
    return {"Target": target, "Source": {"Type": kind, "Params": {"PreSignedURL" if kind == "s3PreSigned" else "URL": url}}}


@pytest.fixture
def run(berth, one_engine):
    runs = itertools.count()

    def go(job, *flags, **more):
        return berth("run", "--engine", one_engine, "--no-progress", *flags, "--results", f"results{next(runs)}", berth.job(job), **more)
    return go


# ---- what the file is called ----

@pytest.mark.parametrize("disposition, name", [
    (None, "2701-0.txt"),
    ('attachment; filename="moby dick.txt"', "moby dick.txt"),
    ("attachment; filename=ascii.txt; filename*=UTF-8''%E7%99%BD%E9%AF%A8.txt", "白鯨.txt"),
    ("attachment; filename*=iso-8859-1'en'caf%E9.txt", "café.txt"),
    ('attachment; filename="../../etc/passwd"', "passwd"),
    ('attachment; filename="C:\\\\temp\\\\x.bin"', "x.bin"),
    ('attachment; filename=".bashrc"', "_bashrc"),
    ('attachment; filename=".."', "2701-0.txt"),
    ("inline", "2701-0.txt"),
])
def test_the_server_may_propose_a_name_of_one_safe_component(berth, server, disposition, name):
    server.put("b", "files/2701-0.txt", BOOK)
    if disposition:
        server.rule(headers={"Content-Disposition": disposition.encode().decode("latin-1")})
    result = fetch(berth, f"{server.url}/b/files/2701-0.txt")
    assert result.code == 0 and got(berth) == {name: BOOK}, result


def test_the_name_is_that_of_the_url_that_answers_in_the_end(berth, server, other):
    other.put("b", "real name.bin", BOOK)
    server.put("b", "latest", b"")
    server.rule(status=302, location=f"{other.url}/b/real%20name.bin?token=canary")
    result = fetch(berth, f"{server.url}/b/latest")
    assert result.code == 0 and got(berth) == {"real name.bin": BOOK}, result


def test_a_url_without_a_last_segment_is_called_download(berth, server):
    server.page("/", (200, "hello", {}))
    assert fetch(berth, f"{server.url}/?x=1").code == 0
    assert got(berth) == {"download": b"hello"}


# ---- servers of all kinds ----

def test_a_server_that_refuses_head_is_asked_for_the_first_byte(berth, server):
    o = server.put("b", "x.bin", size=2 * PART + 5)
    server.rule(method="HEAD", status=405, code="MethodNotAllowed")
    result = fetch(berth, f"{server.url}/b/x.bin")
    assert result.code == 0 and o.now.content.same_as(berth.cwd / "out/x.bin"), result
    assert len([r for r in server.asked(op="get") if r.range and tuple(r.range) != (0, 0)]) == 3


def test_a_server_without_head_and_ranges_is_not_read_twice(berth, server):
    o = server.put("b", "x.bin", size=4 * PART)
    server.rule(method="HEAD", status=403, code="AccessDenied")
    server.rule(op="get", ignore_range=True)
    result = fetch(berth, f"{server.url}/b/x.bin")
    assert result.code == 0 and o.now.content.same_as(berth.cwd / "out/x.bin"), result
    assert server.sent(op="get") < 7 * PART  # sockets take several MiB of what nobody reads


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_no_content_length_is_needed(berth, server, framing):
    server.put("b", "x.txt", BOOK)
    server.rule(framing=framing, ignore_range=True)
    result = fetch(berth, f"{server.url}/b/x.txt")
    assert result.code == 0 and got(berth) == {"x.txt": BOOK}, result


def test_an_empty_file_is_an_empty_file(berth, server):
    server.put("b", "none.txt", b"")
    assert fetch(berth, f"{server.url}/b/none.txt").code == 0
    assert got(berth) == {"none.txt": b""}


def test_a_web_page_in_place_of_a_file_is_worth_a_warning(berth, server):
    server.put("b", "model.bin", b"<html>sign in</html>")
    server.rule(headers={"Content-Type": "text/html; charset=utf-8"})
    result = fetch(berth, f"{server.url}/b/model.bin")
    assert result.code == 0 and "web page" in result.errors, result
    server.put("b", "page.html", b"<html></html>")
    assert "web page" not in fetch(berth, f"{server.url}/b/page.html").errors


def test_F6_a_stated_digest_is_held_against_what_came(berth, server):
    server.put("b", "x.txt", BOOK)
    wrong = "sha-256=:" + "A" * 43 + "=:"
    server.rule(headers={"Repr-Digest": wrong})
    result = fetch(berth, f"{server.url}/b/x.txt")
    assert result.code == 1 and "sha256" in result.errors and got(berth) == {}, result


def test_F7_a_file_that_is_replaced_meanwhile_is_never_mixed(berth, server):
    o = server.put("b", "x.bin", size=4 * PART)
    server.rule(op="get", range=True, nth=3, change=True)
    result = fetch(berth, f"{server.url}/b/x.bin")
    assert result.code == 0 and o.now.content.same_as(berth.cwd / "out/x.bin"), result


@pytest.mark.parametrize("status, code, words", [(404, "NoSuchKey", "no such file"), (403, "AccessDenied", "access denied"),
                                                (401, "Unauthorized", "wants credentials"), (410, "Gone", "no such file")])
def test_refusals_are_told_apart_and_not_repeated(berth, server, status, code, words):
    server.put("b", "x.txt", BOOK)
    server.rule(status=status, code=code)
    result = fetch(berth, f"{server.url}/b/x.txt")
    assert result.code == 1 and words in result.errors and f"{server.url}/b/x.txt" in result.errors, result
    assert len(server.log) == 2, server.told()


def test_F10_a_busy_server_is_waited_for(berth, server):
    o = server.put("b", "x.bin", size=6 * PART)
    server.rule(op="get", seconds=2, status=429, code="TooManyRequests", headers={"Retry-After": "1"})
    result = fetch(berth, f"{server.url}/b/x.bin")
    assert result.code == 0 and o.now.content.same_as(berth.cwd / "out/x.bin"), result
    assert len([r for r in server.asked() if r.status == 429]) <= 40


def test_F11_a_connection_that_trickles_is_overtaken(berth, server):
    o = server.put("b", "x.bin", size=3 * PART)
    server.rule(op="get", range=True, nth=2, trickle_ms=1000)
    result = fetch(berth, f"{server.url}/b/x.bin", *sets(xfer__stall="1s"))
    assert result.code == 0 and o.now.content.same_as(berth.cwd / "out/x.bin"), result


def test_F21_an_address_that_is_not_public_is_refused_for_strangers(berth, server):
    server.put("b", "x.txt", BOOK)
    result = fetch(berth, f"{server.url}/b/x.txt", *sets(xfer__public_only="true"))
    assert result.code == 1 and "loopback" in result.errors and server.connections == 0, result


def test_F21_a_redirect_to_an_address_that_is_not_allowed_is_not_followed(berth, server, other):
    for s in (server, other):
        s.put("b", "x.txt", BOOK)
    server.rule(status=302, location=f"{other.url}/b/x.txt")
    result = fetch(berth, f"{server.url}/b/x.txt", *sets(xfer__public_only="true", xfer__allow=server.authority))
    assert result.code == 1 and "not public" in result.errors and other.connections == 0, result


def test_a_mirror_serves_in_place_of_the_url(berth, server):
    server.put("b", "x.txt", BOOK)
    result = fetch(berth, "https://files.example/pub/x.txt", f"--set=mirrors=https://files.example/pub={server.url}/b")
    assert result.code == 0 and got(berth) == {"x.txt": BOOK}, result


# ---- the cache ----

def bytes_got(server):
    return sum(r.sent for r in server.asked(op="get"))


def test_the_same_etag_is_not_fetched_again_and_another_one_is(run, server):
    server.put("b", "x.txt", BOOK)
    job = bacalhau([url_input(f"{server.url}/b/x.txt")], "cat /data/x.txt")
    assert run(job).out == BOOK
    server.forget()
    again = run(job)
    assert again.out == BOOK and bytes_got(server) == 0, again
    server.put("b", "x.txt", b"changed\n")
    assert run(job).out == b"changed\n"


def test_a_server_that_is_away_is_an_error_or_by_choice_the_file_of_before(run, server):
    server.put("b", "x.txt", BOOK)
    job = bacalhau([url_input(f"{server.url}/b/x.txt")], "cat /data/x.txt")
    assert run(job).out == BOOK
    server.rule(status=503)
    assert run(job).code == 125
    result = run(job, env={"BERTH_CACHE_STALE_IF_ERROR": "true"})
    assert result.out == BOOK and "stale_if_error" in result.errors, result


def test_without_a_strong_etag_a_file_is_fetched_anew(run, server, berth):
    server.put("b", "x.txt", BOOK)
    server.rule(without=("ETag",))
    job = bacalhau([url_input(f"{server.url}/b/x.txt")], "cat /data/x.txt")
    assert run(job).out == BOOK and run(job).out == BOOK
    assert bytes_got(server) >= 2 * len(BOOK)
    blobs = [b for b in (berth.cache / "blobs").rglob("*") if b.is_file()]
    assert len(blobs) == 1, "the same bytes are kept once"


# ---- in a container ----

def test_what_comes_without_a_size_keeps_to_the_quota(run, server, berth):
    server.put("b", "x.bin", size=80 << 20)
    server.rule(key="x.bin", framing="chunked", ignore_range=True)
    job = bacalhau([url_input(f"{server.url}/b/x.bin")], "wc -c < /data/x.bin")
    got = run(job, env={"BERTH_CACHE_MAX_BYTES": "50MB"})
    assert got.code == 125 and "needed" in got.errors and "cache.max_bytes" in got.errors, got
    assert server.sent(op="get") < 80 << 20
    assert sum(p.stat().st_size for p in (berth.cache / "partial").iterdir()) == 0
    assert run(job).out.strip() == b"%d" % (80 << 20)


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_a_job_needs_no_content_length_either(run, server, framing):
    server.put("b", "x.txt", BOOK)
    server.rule(framing=framing, ignore_range=True)
    job = bacalhau([url_input(f"{server.url}/b/x.txt")], "cat /data/x.txt")
    first, again = run(job), run(job)
    assert first.out == BOOK and again.out == BOOK, (first, again)


def test_the_file_lies_below_its_target_or_at_it_where_that_ends_in_its_name(run, server):
    server.put("b", "2701-0.txt", BOOK)
    url = f"{server.url}/b/2701-0.txt"
    cmd = "cd /; ls data books; head -n1 data/*; ! echo x > /data/2701-0.txt"
    got = run(bacalhau([url_input(url), url_input(url, "/books/2701-0.txt")], cmd))
    assert got.code == 0 and got.text == "books:\n2701-0.txt\n\ndata:\n2701-0.txt\nCall me Ishmael.\n", got


# ---- pre-signed ----

@pytest.fixture
def signed(s3):
    bucket = s3.bucket()
    s3.put(bucket, "private/r.txt", BOOK)

    def sign(expires=600, key="private/r.txt"):
        return s3.client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=expires)
    return sign


def secrets_of(url):
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    return [v for k, v in query.items() if k.lower() in ("signature", "x-amz-signature", "x-amz-credential", "awsaccesskeyid")]


def test_a_pre_signed_url_gives_its_object_and_keeps_its_secret(run, berth, signed):
    url = signed()
    result = run(bacalhau([url_input(url, kind="s3PreSigned")], "cat /data/r.txt"), env={"BERTH_LOG_LEVEL": "debug"})
    assert result.code == 0 and result.out == BOOK, result
    seen = result.err + b"".join(p.read_bytes() for d in (berth.cache, berth.cwd / "results0") for p in d.rglob("*") if p.is_file())
    for secret in secrets_of(url):
        assert secret.encode() not in seen
    record = json.loads((berth.cwd / "results0/berth.json").read_bytes())
    assert "2701" not in str(record["inputs"]) and "r.txt" in str(record["inputs"])


def test_another_signature_for_the_same_object_moves_no_bytes(run, berth, signed):
    first, second = signed(600), signed(601)
    assert first != second
    assert run(bacalhau([url_input(first, kind="s3PreSigned")], "cat /data/r.txt")).out == BOOK
    result = run(bacalhau([url_input(second, kind="s3PreSigned")], "cat /data/r.txt"))
    record = json.loads((berth.cwd / "results1/berth.json").read_bytes())
    assert result.out == BOOK and record["inputs"][0]["bytes_received"] == 0, record["inputs"]


def test_F23_a_wrong_signature_gets_nothing_from_the_cache(run, signed):
    url = signed()
    assert run(bacalhau([url_input(url, kind="s3PreSigned")], "cat /data/r.txt")).out == BOOK
    forged = re.sub("(Signature=)[^&]*", r"\g<1>" + "A" * 64, url)
    for wrong in (forged, url.split("?")[0]):
        result = run(bacalhau([url_input(wrong, kind="s3PreSigned")], "cat /data/r.txt"))
        assert result.code == 125 and b"Ishmael" not in result.out and "HTTP 403" in result.errors, result
        assert "Ishmael" not in result.errors and "A" * 64 not in result.errors


def test_a_pre_signed_url_for_nothing_says_so(run, signed):
    result = run(bacalhau([url_input(signed(key="private/none.txt"), kind="s3PreSigned")], "true"))
    assert result.code == 125 and "none.txt" in result.errors and "404" in result.errors, result


def test_F20_what_a_url_asks_for_goes_to_no_other_host(berth, server, other):
    other.put("b", "x.txt", BOOK)
    server.put("b", "x.txt", b"")
    server.rule(status=307, location=f"{other.url}/b/x.txt")
    assert fetch(berth, f"{server.url}/b/x.txt?X-Amz-Signature=canary").code == 0
    for r in other.asked():
        assert "canary" not in str(r.record()) and not {"authorization", "cookie", "referer"} & {h.lower() for h in r.headers}


# ---- run records ----

def test_a_record_runs_again_with_the_same_file_and_says_when_it_is_another(run, berth, server):
    server.put("b", "x.txt", BOOK)
    assert run(bacalhau([url_input(f"{server.url}/b/x.txt")], "cat /data/x.txt")).out == BOOK
    record = json.loads((berth.cwd / "results0/berth.json").read_bytes())
    again = run(record)
    assert again.code == 0 and again.out == BOOK, again
    server.put("b", "x.txt", b"changed\n")
    result = run(record)
    assert result.code == 125 and "no longer what the recorded run had" in result.errors, result


def test_a_record_without_an_etag_is_held_against_the_sha256(run, berth, server):
    server.put("b", "x.txt", BOOK)
    server.rule(without=("ETag",))
    assert run(bacalhau([url_input(f"{server.url}/b/x.txt")], "cat /data/x.txt")).out == BOOK
    record = json.loads((berth.cwd / "results0/berth.json").read_bytes())
    assert run(record).out == BOOK
    server.put("b", "x.txt", BOOK[:-1] + b"?")
    result = run(record)
    assert result.code == 125 and "sha256" in result.errors and result.out == b"", result
