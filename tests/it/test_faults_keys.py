"""F1–F4: keys that can't become files, keys that get in each other's way, folders, nothing at all."""
import pytest

from conftest import bacalhau
from faults.kit import fetch, server  # noqa: F401 (a fixture)

BAD_KEYS = {"d/a/../../x": "..", "d//x": "absolute", "d/a//x": "empty", "d/..": "..", "d/./x": ".", "d/n\0l": "", "d/" + "c" * 256: "255"}


@pytest.mark.parametrize("key", BAD_KEYS, ids=["dotdot", "absolute", "empty", "parent", "dot", "nul", "long"])
def test_F1_a_key_that_would_leave_its_folder_is_refused_before_any_write(berth, server, key):
    server.put("b", "d/good", "fine")
    server.put("b", key, "evil")
    got = fetch(berth, server)
    assert got.code == 1
    assert BAD_KEYS[key] in got.errors and "b/d/" in got.errors, got
    assert got.files == {} and not server.asked(op="get")
    assert list(berth.cwd.iterdir()) == []


def test_F1_a_bad_key_on_the_last_page_is_refused_before_any_write(berth, server):
    for i in range(1500):
        server.put("b", f"d/{i:04d}", "x")
    server.put("b", "d/z/../../../etc/cron.d/x", "evil")
    got = fetch(berth, server)
    assert got.code == 1 and "d/z/../../../etc/cron.d/x" in got.errors
    assert got.files == {} and not server.asked(op="get")


def test_F1_two_dots_inside_a_name_are_fine(berth, server):
    server.put("b", "d/a..b", "1")
    server.put("b", "d/..c", "2")
    server.put("b", "d/...", "3")
    got = fetch(berth, server)
    assert got.code == 0 and got.files == {"a..b": b"1", "..c": b"2", "...": b"3"}, got


def test_F1_a_link_in_the_folder_is_not_followed(berth, server, tmp_path):
    server.put("b", "d/sub/x", "evil")
    outside = tmp_path / "outside"
    outside.mkdir()
    (berth.cwd / "out" / "in").mkdir(parents=True)
    (berth.cwd / "out" / "in" / "sub").symlink_to(outside)
    got = fetch(berth, server)
    assert got.code == 1 and "sub" in got.errors, got
    assert list(outside.iterdir()) == []


def test_F2_an_object_that_another_needs_as_a_folder_is_an_error_that_names_both(berth, server):
    server.put("b", "d/a", "file")
    server.put("b", "d/a-1", "sorts between")
    server.put("b", "d/a/b", "below it")
    got = fetch(berth, server)
    assert got.code == 1 and "'a'" in got.errors and "'a/b'" in got.errors, got
    assert got.files == {} and not server.asked(op="get")


def test_F2_an_object_with_an_empty_component_does_not_replace_its_neighbour(berth, server):
    server.put("b", "d/a/b", "one")
    server.put("b", "d/a//b", "two")
    got = fetch(berth, server)
    assert got.code == 1 and "a//b" in got.errors, got
    assert got.files == {} and not server.asked(op="get")


def test_F3_a_marker_of_no_bytes_becomes_a_folder(berth, server):
    server.put("b", "d/empty/", "")
    server.put("b", "d/full/", "")
    server.put("b", "d/full/x", "x")
    got = fetch(berth, server)
    assert got.code == 0 and got.files == {"full/x": b"x"}, got
    assert (got.folder / "empty").is_dir()


def test_F3_a_marker_with_content_is_an_error_that_names_it(berth, server):
    server.put("b", "d/full/", "what is this")
    server.put("b", "d/x", "x")
    got = fetch(berth, server)
    assert got.code == 1 and "b/d/full/" in got.errors and "12 bytes" in got.errors, got
    assert got.files == {} and not server.asked(op="get")


def test_F4_an_empty_object_is_an_empty_file_and_no_range_is_asked_for(berth, server):
    server.put("b", "d/nothing", "", checksums=["sha256"])
    got = fetch(berth, server)
    assert got.code == 0 and got.files == {"nothing": b""}, got
    assert [r.range for r in server.asked(op="get")] == [None]


def test_F4_an_empty_object_by_its_own_name(berth, server):
    server.put("b", "d/nothing", "")
    got = fetch(berth, server, key="d/nothing")
    assert got.code == 0 and got.files == {"nothing": b""}, got
    assert all(r.range is None for r in server.asked())


def obeyed(text):
    """What a terminal would obey: C0, DEL, C1."""
    return [c for c in text if (c < " " and c != "\n") or "\x7f" <= c < "\xa0"]


@pytest.mark.parametrize("flags, out", [(("--dry-run",), "none"), ((), "out")])
def test_a_key_cannot_drive_a_terminal(berth, server, flags, out):
    key = "d/evil\x1b]0;title\x07\x9b31m"
    server.put("b", key, "1")
    listed = fetch(berth, server, *flags, out=out).result
    alone = fetch(berth, server, *flags, out=out + "1", key=key).result
    wrong = fetch(berth, server, *flags, out=out + "2", key=key + "/more").result
    assert (listed.code, alone.code, wrong.code) == (0, 0, 1)
    for got in (listed, alone, wrong):
        assert not obeyed(got.text + got.errors), got
    assert "evil?]0;title" in alone.text + alone.errors


def test_a_job_file_cannot_drive_a_terminal(berth):
    evil = "evil\x1b]0;title\x07\x9b31m"
    job = berth.job({**bacalhau([], "true"), "Name": evil})
    for done in (berth("validate", job), berth("validate", berth.job({**bacalhau([], "true"), evil: 1}, "wrong.json"))):
        assert "evil?]0;title" in done.text and not obeyed(done.text + done.errors), done
