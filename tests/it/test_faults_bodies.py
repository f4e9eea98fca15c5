"""F5–F9: bodies that are not what was stated."""
import gzip

import pytest

from faults.content import KINDS
from faults.kit import PART, TRIES, fetch, ranges, server  # noqa: F401 (a fixture)

ONE_AT_A_TIME = {"xfer__max_connections_host": 1}

# Nothing but its size is known of the object then, so that no digest helps.
BY_SIZE = {"etag": "opaque"}
WRONG = {"ended early": {"truncate": 1000}, "said to be shorter": {"short": 1000}, "longer": {"extra": 10},
         "chunked, ended early": {"framing": "chunked", "truncate": 1000}, "chunked, shorter": {"framing": "chunked", "short": 1000},
         "chunked, longer": {"framing": "chunked", "extra": 10}, "closed, shorter": {"framing": "close", "short": 1000},
         "closed, longer": {"framing": "close", "extra": 10}}
each_wrong = pytest.mark.parametrize("fault", WRONG, ids=lambda f: f.replace(", ", "_").replace(" ", "_"))


@each_wrong
@pytest.mark.parametrize("size", [300_000, 2 * PART + 5], ids=["whole", "parts"])
def test_F5_a_body_of_the_wrong_length_is_fetched_again(berth, server, fault, size):
    o = server.put("b", "d/x.bin", size=size, **BY_SIZE)
    bad = server.rule(op="get", nth=1, **WRONG[fault])
    got = fetch(berth, server)
    assert got.code == 0 and got.has("x.bin", o.now), got
    assert bad.applied == 1 and server.sent(op="get") < 2 * size + 1000


@each_wrong
def test_F5_a_body_that_is_always_of_the_wrong_length_is_never_committed(berth, server, fault):
    server.put("b", "d/x.bin", size=300_000, **BY_SIZE)
    bad = server.rule(op="get", **WRONG[fault])
    got = fetch(berth, server)
    assert got.code == 1 and "x.bin" in got.errors, got
    assert got.files == {} and bad.applied <= TRIES


def test_F5_an_object_that_is_shorter_than_its_listing_says_is_never_committed(berth, server):
    server.put("b", "d/x.bin", size=300_000, listed_size=300_001, **BY_SIZE)
    got = fetch(berth, server)
    assert got.code == 1 and "x.bin" in got.errors and "300001" in got.errors, got
    assert got.files == {}


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_F5_a_body_of_unstated_length_is_taken_whole(berth, server, framing):
    o = server.put("b", "d/x.bin", size=2 * PART + 5, **BY_SIZE)
    server.rule(op="get", framing=framing)
    got = fetch(berth, server)
    assert got.code == 0 and got.has("x.bin", o.now), got


def test_F5_an_answer_that_breaks_off_behind_its_last_byte_is_asked_for_again(berth, server):
    """Every byte of the part has come, but not the end of the last chunk."""
    o = server.put("b", "d/x.bin", size=2 * PART, **BY_SIZE)
    bad = server.rule(op="get", nth=1, framing="chunked", truncate=PART)
    got = fetch(berth, server)
    assert got.code == 0 and got.has("x.bin", o.now), got
    assert bad.applied == 1 and all(first <= last for first, last in ranges(server)), server.told()


def test_F5_a_server_without_ranges_that_always_breaks_off_is_given_up(berth, server):
    """Each try brings much, and none comes further than the one before."""
    server.put("b", "d/x.bin", size=3 * PART, **BY_SIZE)
    server.rule(op="get", ignore_range=True, truncate=PART)
    got = fetch(berth, server)
    assert got.code == 1 and "x.bin" in got.errors and got.files == {}, got
    assert len(server.asked(op="get")) <= 2 * TRIES + 2


@pytest.mark.parametrize("kind", ["md5", *KINDS])
def test_F6_a_flipped_bit_is_noticed_and_the_bytes_are_fetched_again(berth, server, kind):
    """md5: the ETag is all that is stated."""
    stated = {"etag": "opaque", "checksums": [kind]} if kind != "md5" else {}
    o = server.put("b", "d/x.bin", size=100_000, **stated)
    bad = server.rule(op="get", nth=1, flip=77_777)
    got = fetch(berth, server)
    assert got.code == 0 and got.has("x.bin", o.now), got
    assert bad.applied == 1 and len(server.asked(op="get")) == 2


@pytest.mark.parametrize("kind", ["md5", *KINDS])
def test_F6_a_bit_that_flips_each_time_is_a_failure_with_both_digests(berth, server, kind):
    stated = {"etag": "opaque", "checksums": [kind]} if kind != "md5" else {}
    o = server.put("b", "d/x.bin", size=100_000, **stated)
    server.rule(op="get", flip=77_777)
    got = fetch(berth, server)
    assert got.code == 1 and got.files == {}, got
    wanted = o.now.content.hex(kind)
    assert "x.bin" in got.errors and kind in got.errors and wanted in got.errors, got
    assert len(server.asked(op="get")) <= TRIES


def test_F6_a_flipped_bit_in_one_part_of_many_is_mended(berth, server):
    o = server.put("b", "d/x.bin", size=3 * PART)
    bad = server.rule(op="get", range=True, nth=2, flip=PART + 4711)
    got = fetch(berth, server, settings=ONE_AT_A_TIME)
    assert got.code == 0 and got.has("x.bin", o.now), got
    assert bad.applied == 1


@pytest.mark.parametrize("key", ["d/x.bin", "d/"], ids=["named", "listed"])
def test_F6_the_checksum_of_the_job_is_stronger_than_what_the_origin_states(berth, server, key):
    """Bytes that agree with the ETag but not with ChecksumSHA256 are refused."""
    server.put("b", "d/x.bin", "not what was promised")
    got = fetch(berth, server, key=key, checksum_256="ab" * 32)
    assert got.code != 0 and got.files == {}, got
    assert "ab" * 32 in got.errors if key == "d/x.bin" else "checksum-256" in got.errors


@pytest.mark.parametrize("etag", ["md5", "opaque", "weak", "none"])
def test_F7_an_object_that_changes_during_the_download_is_fetched_anew_and_never_mixed(berth, server, etag):
    o = server.put("b", "d/x.bin", size=3 * PART, etag=etag)
    server.rule(op="get", nth=2, change=True)
    got = fetch(berth, server, settings=ONE_AT_A_TIME)
    assert got.code == 0 and got.has("x.bin", o.versions[1]), got
    assert len(server.asked(op="list")) == 2, server.told()


@pytest.mark.parametrize("etag", ["opaque", "weak", "none"])
def test_F7_an_object_that_keeps_changing_is_an_error(berth, server, etag):
    server.put("b", "d/x.bin", size=3 * PART, etag=etag)
    server.rule(op="get", nth="2-", change=True)
    got = fetch(berth, server, settings=ONE_AT_A_TIME)
    assert got.code == 1 and "x.bin" in got.errors and "chang" in got.errors, got
    assert got.files == {} and len(server.asked(op="list")) == 2


def test_F7_every_range_carries_if_match(berth, server):
    o = server.put("b", "d/x.bin", size=3 * PART)
    assert fetch(berth, server).code == 0
    assert {r.headers.get("if-match") for r in server.asked(op="get")} == {o.now.etag}
    assert len(ranges(server)) == 3


def test_F7_an_object_that_is_deleted_during_the_download_is_an_error(berth, server):
    server.put("b", "d/x.bin", size=3 * PART)
    server.rule(op="get", nth="2-", status=404, code="NoSuchKey")
    got = fetch(berth, server, settings=ONE_AT_A_TIME)
    assert got.code == 1 and "x.bin" in got.errors and "gone" in got.errors, got
    assert got.files == {}


def test_F8_a_200_to_a_range_becomes_one_stream(berth, server):
    o = server.put("b", "d/x.bin", size=3 * PART)
    server.rule(op="get", ignore_range=True)
    got = fetch(berth, server)
    assert got.code == 0 and got.has("x.bin", o.now), got


def test_F8_a_200_to_a_later_range_becomes_one_stream(berth, server):
    o = server.put("b", "d/x.bin", size=3 * PART)
    server.rule(op="get", nth="2-", ignore_range=True)
    got = fetch(berth, server, settings=ONE_AT_A_TIME)
    assert got.code == 0 and got.has("x.bin", o.now), got


WRONG_RANGES = {"other_bytes": f"bytes {PART}-{2 * PART - 1}/{3 * PART}", "missing": None, "garbage": "bytes all of it",
                "backwards": f"bytes 9-3/{3 * PART}", "huge": "bytes 0-99999999999999999999999/99999999999999999999999"}


@pytest.mark.parametrize("wrong", WRONG_RANGES)
def test_F8_a_206_that_does_not_say_what_was_asked_for_is_a_protocol_error(berth, server, wrong):
    server.put("b", "d/x.bin", size=3 * PART)
    server.rule(op="get", last=PART - 1, nth=1, content_range=WRONG_RANGES[wrong])
    got = fetch(berth, server, settings=ONE_AT_A_TIME)
    assert got.code == 1 and "x.bin" in got.errors, got
    assert got.files == {}


def test_F8_a_206_whose_total_is_not_the_listed_size_is_a_change(berth, server):
    o = server.put("b", "d/x.bin", size=3 * PART)
    server.rule(op="get", last=PART - 1, nth=1, content_range=f"bytes 0-{PART - 1}/{3 * PART + 1}")
    got = fetch(berth, server, settings=ONE_AT_A_TIME)
    assert got.code == 0 and got.has("x.bin", o.now), got
    assert len(server.asked(op="list")) == 2


def test_F9_an_object_that_is_labelled_gzip_arrives_as_it_is(berth, server):
    packed = gzip.compress(b"text " * 1000, mtime=0)
    server.put("b", "d/x.txt.gz", packed, headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"})
    got = fetch(berth, server)
    assert got.code == 0 and got.files == {"x.txt.gz": packed}, got
    assert all("accept-encoding" not in r.headers for r in server.asked(op="get"))
