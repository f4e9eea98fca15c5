"""F32: listings that are hostile, or only very long."""
import pathlib
import re

import pytest

from conftest import SHIPPED, is_sanitized
from faults.kit import fetch, server, source  # noqa: F401 (a fixture)

MIB = 1 << 20
MEMORY_BOUND = 64 * MIB
MILLION = 1_000_000

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
START = "<ListBucketResult><Name>b</Name><IsTruncated>{more}</IsTruncated>"
ENTRY = "<Contents><Key>{key}</Key><Size>1</Size><ETag>&quot;e&quot;</ETag></Contents>"


def page(*keys, more="false", token="", start=HEAD):
    next_page = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return start + START.format(more=more) + next_page + "".join(ENTRY.format(key=k) for k in keys) + "</ListBucketResult>"


def most_memory(process):
    """The most resident memory that a running process has had, in bytes."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) << 10


needs_bare_memory = pytest.mark.skipif(is_sanitized(SHIPPED), reason="sanitizers need memory of their own")

ENTITIES = {
    "external": '<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    "laughs": '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "' + "&a;" * 1000 + '"><!ENTITY x "' + "&b;" * 1000 + '">]>',
    "parameter": '<!DOCTYPE l SYSTEM "http://127.0.0.1:1/x.dtd">',
}


@pytest.mark.parametrize("kind", ENTITIES)
def test_F32_a_listing_with_entities_is_refused(berth, server, kind):
    key = "d/&x;" if kind != "parameter" else "d/x"
    server.bucket("b")
    server.rule(op="list", status=200, body=page(key, start=HEAD + ENTITIES[kind]))
    got = fetch(berth, server)
    assert got.code == 1 and "entities are refused" in got.errors and "root:" not in got.errors, got
    assert not server.asked(op="get")


def test_F32_an_undeclared_entity_is_refused(berth, server):
    server.bucket("b")
    server.rule(op="list", status=200, body=page("d/&x;"))
    got = fetch(berth, server)
    assert got.code == 1 and "XML" in got.errors, got


ENDLESS = {
    "objects": {"head": HEAD + START.format(more="false"), "unit": ENTRY.format(key="d/x" * 100), "tail": "</ListBucketResult>"},
    "one_key": {"head": HEAD + START.format(more="false") + "<Contents><Key>d/", "unit": "x" * 1024,
                "tail": "</Key></Contents></ListBucketResult>"},
    "depth": {"head": HEAD + START.format(more="false"), "unit": "<a>" * 300, "tail": "</ListBucketResult>"},
    "elements_of_no_meaning": {"head": HEAD + START.format(more="false"), "unit": "<a></a>", "tail": "</ListBucketResult>"},
    "comments": {"head": HEAD + START.format(more="false"), "unit": "<!-- x -->", "tail": "</ListBucketResult>"},
    "white_space": {"head": HEAD + START.format(more="false"), "unit": " " * 1024, "tail": "</ListBucketResult>"},
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_F32_a_page_of_a_gigabyte_is_refused_long_before_its_end(berth, server, kind):
    server.bucket("b")
    unit = ENDLESS[kind]["unit"]
    server.rule(op="list", status=200, stream={**ENDLESS[kind], "count": (1 << 30) // len(unit)})
    got = fetch(berth, server)
    assert got.code == 1 and "b/d/" in got.errors, got
    assert server.sent() < 64 * MIB, server.told()


@pytest.mark.parametrize("cycle", [1, 2, 7])
def test_F32_a_continuation_token_that_comes_back_is_refused(berth, server, cycle):
    server.bucket("b")
    for n in range(200):
        server.rule(op="list", nth=1, status=200, body=page(f"d/{n:04d}", more="true", token=f"t{n % cycle}"))
    got = fetch(berth, server)
    assert got.code == 1 and "continuation token" in got.errors, got
    assert len(server.asked(op="list")) <= 4 * cycle + 4 and not server.asked(op="get")


def test_F32_a_page_that_says_more_but_not_where_is_refused(berth, server):
    server.bucket("b")
    server.rule(op="list", status=200, body=page(more="true"))
    got = fetch(berth, server)
    assert got.code == 1 and "goes on, but not where" in got.errors, got


def test_F32_keys_outside_the_prefix_are_refused(berth, server):
    server.bucket("b")
    server.rule(op="list", status=200, body=page("d/x", "other/secret"))
    got = fetch(berth, server)
    assert got.code == 1 and "other/secret" in got.errors and got.files == {}, got


def test_F32_a_web_page_is_no_listing(berth, server):
    server.bucket("b")
    server.rule(op="list", status=200, body="<html><body>Welcome</body></html>", headers={"Content-Type": "text/html"})
    got = fetch(berth, server)
    assert got.code == 1 and "ListBucketResult" in got.errors, got


@needs_bare_memory
@pytest.mark.shipped
def test_F32_few_of_a_million_keys_are_fetched_within_the_memory_bound(berth, server):
    """Measured while the last object is held back: listing, filtering and planning are over then."""
    server.bucket("b", generated=(MILLION, "d/part-{:07d}-of-a-million.bin", 10))
    server.rule(op="get", hold="measured")
    process = berth.start("fetch", source(server, filter=r"-0\d00000-"), "out")
    server.wait(lambda: len(server.asked(op="get")) == 8, 120)
    used = most_memory(process)
    server.release("measured")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and len(list((berth.cwd / "out/in").iterdir())) == 10, errors
    assert len(server.asked(op="list")) == 1000
    assert used <= MEMORY_BOUND, f"{used >> 20} MiB"


@needs_bare_memory
@pytest.mark.shipped
def test_F32_a_million_keys_are_listed_within_the_memory_bound(berth, server):
    """Measured once the first line is printed: all are known and sorted then. The pipe holds back the rest."""
    server.bucket("b", generated=(MILLION, "d/part-{:07d}-of-a-million.bin", 10))
    process = berth.start("fetch", "--dry-run", source(server), "out", bufsize=0)
    first = process.stdout.read(1)
    used = most_memory(process)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and (first + out).count(b"\n") == MILLION, errors
    assert used <= MEMORY_BOUND, f"{used >> 20} MiB"
