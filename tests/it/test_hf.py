"""Repositories of the Hugging Face Hub, fetched to a folder: what is meant, what is refused, and who gets to see the token."""
import hashlib
import json
import os

import pytest

from conftest import tree
from hub_cache import etag, scan
from hub_server import Hub, Lfs

CANARY = "hf_canaryCANARYcanary0123456789"
MODEL = {"config.json": b'{"layers": 1}\n', "README.md": b"# tiny\n", "onnx/model.onnx": Lfs(b"onnx" * 1000), "onnx/small/a.json": b"[]\n",
         "model-00001-of-00002.safetensors": Lfs(b"one" * 5000), "model-00002-of-00002.safetensors": Lfs(b"two" * 5000),
         "empty": b"", "a b+c%20#?&.txt": b"odd name\n", "münchen/ß.txt": b"utf-8\n", "a..b": b"dots\n", "data[1].bin": b"set\n"}


@pytest.fixture
def hub():
    with Hub() as server:
        yield server


@pytest.fixture
def model(hub):
    repo = hub.repo("models", "owner/name")
    repo.commit(MODEL)
    return repo


@pytest.fixture
def fetch(berth, hub):
    """berth fetch to ./out."""
    def go(src, *options, env=None, **more):
        return berth("fetch", *options, src, "out", env={"HF_ENDPOINT": hub.url, **(env or {})}, **more)
    return go


@pytest.fixture
def out(berth):
    return lambda: tree(berth.cwd / "out")


def token_of(asked):
    return asked.headers.get("authorization", "").removeprefix("Bearer ") or None


# --- what is meant ----------------------------------------------------------------------------------------------------

def test_a_repository_comes_whole_and_below_its_own_paths(fetch, model, out):
    got = fetch("hf://owner/name")
    assert got.code == 0, got
    assert out() == MODEL


def test_every_kind_of_repository_has_its_own_place(hub, fetch, out):
    for kind, prefix in (("models", ""), ("datasets", "datasets/"), ("spaces", "spaces/")):
        hub.repo(kind, "owner/name").commit({"f": kind.encode(), "big": Lfs(kind.encode() * 9)})
    for kind, prefix in (("models", ""), ("datasets", "datasets/"), ("spaces", "spaces/")):
        got = fetch(f"src=hf://{prefix}owner/name,dst=/{kind}")
        assert got.code == 0, got
        assert out()[f"{kind}/f"] == kind.encode() and out()[f"{kind}/big"] == kind.encode() * 9


def test_a_branch_a_tag_and_a_commit_are_revisions(fetch, model, out):
    old = model.find("main")
    model.refs["v1.0"] = old
    model.commit({"config.json": b"new"})
    model.commit({"pr": b"pull request"}, ref="refs/pr/1")
    for src, expected in (("hf://owner/name@v1.0", MODEL), (f"hf://owner/name@{old}", MODEL), ("hf://owner/name@main", {"config.json": b"new"}),
                          ("src=hf://owner/name,opt=revision=refs/pr/1", {"pr": b"pull request"})):
        got = fetch(src, "--json", "--force")
        assert got.code == 0, got
        assert {f["path"] for f in got.json["files"]} == set(expected)


@pytest.mark.parametrize("path, names", [
    ("config.json", ["config.json"]),
    ("*.json", ["config.json", "onnx/small/a.json"]),
    ("onnx/", ["onnx/model.onnx", "onnx/small/a.json"]),
    ("onnx/*", ["onnx/model.onnx", "onnx/small/a.json"]),
    ("model-0000?-of-*", ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]),
    ("model-0000[!1]-of-*", ["model-00002-of-00002.safetensors"]),
    ("m?nchen/*", ["münchen/ß.txt"]),
    ("data[1].bin", ["data[1].bin"]),
    ("a b+c%20#?&.txt", ["a b+c%20#?&.txt"]),
])
def test_names_and_globs_pick_files(fetch, model, out, path, names):
    got = fetch(f"hf://owner/name/{path}")
    assert got.code == 0, got
    assert out() == {n: MODEL[n] for n in names}


@pytest.mark.parametrize("path, says", [
    ("confg.json", "near it: 'config.json'"),
    ("model.onnx", "near it: 'onnx/model.onnx'"),
    ("onnx", "it is a folder: write 'onnx/'"),
    ("*.gguf", "no file of the repository matches '*.gguf'"),
])
def test_a_name_that_is_not_there_is_an_error_with_near_misses(fetch, model, out, path, says):
    got = fetch(f"hf://owner/name/{path}")
    assert got.code == 1 and says in got.errors, got
    assert out() == {}


def test_a_tree_is_read_page_by_page(hub, fetch, model, out):
    hub.page_length = 2
    got = fetch("hf://owner/name")
    assert got.code == 0, got
    assert out() == MODEL
    assert len(hub.asked("/tree/")) > 5 and all("recursive=true" in a.target for a in hub.asked("/tree/"))


def test_a_link_that_repeats_is_refused(hub, fetch, model):
    hub.rule(path="/tree/", headers={"Link": '<http://x/?recursive=true&cursor=1>; rel="next"'}, entries=lambda e: [])
    got = fetch("hf://owner/name")
    assert got.code == 1 and "would never end" in got.errors, got
    assert len(hub.asked("/tree/")) < 10


def test_a_link_can_not_lead_elsewhere(hub, fetch, model):
    """Only its query counts: the token stays with the hub."""
    hub.page_length = 6
    hub.tokens[CANARY] = "me"
    hub.rule(path="/tree/", times=1, headers={"Link": f'<{hub.storage}/steal?recursive=true&cursor=6>; rel="next"'})
    got = fetch("hf://owner/name", env={"HF_TOKEN": CANARY})
    assert got.code == 0, got
    assert hub.asked("/steal") == [] and all(token_of(a) is None for a in hub.asked(host="localhost"))


def test_an_endpoint_may_end_in_a_path(berth):
    with Hub(prefix="/proxy/hub") as hub:
        hub.repo("models", "owner/name").commit(MODEL)
        hub.page_length = 3
        got = berth("fetch", "hf://owner/name", "out", env={"HF_ENDPOINT": hub.url + "/"})
        assert got.code == 0, got
        assert tree(berth.cwd / "out") == MODEL


def test_a_mirror_stands_in_for_the_public_hub(berth, hub, model):
    got = berth("fetch", "hf://owner/name", "out", env={"BERTH_MIRRORS": f"https://huggingface.co={hub.url}"})
    assert got.code == 0, got
    assert tree(berth.cwd / "out") == MODEL


def test_a_renamed_repository_is_followed_with_a_warning(hub, fetch, model, out):
    hub.rename(model, "new-owner/new-name")
    got = fetch("hf://owner/name")
    assert got.code == 0 and "'owner/name' is now called 'new-owner/new-name'" in got.errors, got
    assert out() == MODEL
    assert [a.path for a in hub.asked("/owner/name/")] == ["/api/models/owner/name/revision/main"]


def test_what_lies_there_already_is_not_moved_again(hub, fetch, model, out, berth):
    assert fetch("hf://owner/name").code == 0
    model.commit({"config.json": b'{"layers": 2}\n'}, keep=True)  # of the same size
    (berth.cwd / "out" / "README.md").write_bytes(b"# edit\n")
    hub.forget()
    got = fetch("hf://owner/name")
    assert got.code == 0, got
    assert out() == {**MODEL, "config.json": b'{"layers": 2}\n'}
    assert len(hub.asked("/resolve/")) == 2


# --- bytes ------------------------------------------------------------------------------------------------------------

def test_a_large_file_comes_in_parts_from_storage(hub, fetch, model, out):
    body = Lfs(os.urandom(1 << 20) * 40)
    hub.tokens[CANARY] = "me"
    model.commit({"big.bin": body})
    got = fetch("hf://owner/name", "--json", env={"HF_TOKEN": CANARY})
    assert got.code == 0, got
    assert out()["big.bin"] == body
    assert got.json["inputs"][0]["files_verified_by_digest"] == 1
    assert len(hub.asked(host="localhost")) >= 5
    assert all(token_of(a) is None for a in hub.asked(host="localhost"))
    assert all(token_of(a) == CANARY for a in hub.asked(host="127.0.0.1"))


def test_F20_storage_never_sees_a_token_or_a_cookie(hub, fetch, model):
    hub.tokens[CANARY] = "me"
    assert fetch("hf://owner/name", env={"HF_TOKEN": CANARY}).code == 0
    stored = hub.asked(host="localhost")
    assert len(stored) == 3
    assert not [h for a in stored for h in a.headers if h in ("authorization", "cookie") or CANARY in a.headers[h]]


@pytest.mark.parametrize("where", ["/revision/", "/tree/", "/resolve/"])
def test_F20_a_redirect_to_another_host_leaves_the_token_behind(hub, fetch, model, where):
    hub.tokens[CANARY] = "me"
    hub.rule(path=where, host="127.0.0.1", status=307, headers={"Location": hub.storage + "/elsewhere"})
    got = fetch("hf://owner/name/config.json", env={"HF_TOKEN": CANARY})
    assert got.code == 1, got
    assert len(hub.asked(host="localhost")) == 1
    assert not [h for a in hub.asked(host="localhost") for h in a.headers.values() if CANARY in h]


@pytest.mark.parametrize("path, host", [("config.json", "127.0.0.1"), ("onnx/model.onnx", "localhost")], ids=["git", "lfs"])
def test_damaged_bytes_are_never_kept(hub, fetch, model, out, path, host):
    hub.rule(host=host, path="/resolve/" if host == "127.0.0.1" else "/repos/", damage=True)
    got = fetch(f"hf://owner/name/{path}")
    assert got.code == 1 and path in got.errors, got
    assert out() == {}


def test_a_bit_that_flips_once_is_fetched_again(hub, fetch, model, out):
    hub.rule(host="localhost", times=1, damage=True)
    got = fetch("hf://owner/name/onnx/model.onnx")
    assert got.code == 0, got
    assert out() == {"onnx/model.onnx": MODEL["onnx/model.onnx"]}


def test_a_link_to_other_content_than_the_tree_states_is_refused(hub, berth, fetch, model):
    hub.rule(path="/tree/", entries=lambda e: [{**x, "lfs": {**x["lfs"], "oid": "0" * 64}} if "lfs" in x else x for x in e])
    got = fetch("hf://owner/name/onnx/model.onnx")
    assert got.code == 1 and "onnx/model.onnx" in got.errors and "sha256" in got.errors, got


# --- refusals ---------------------------------------------------------------------------------------------------------

def refusals(hub):
    """Five situations: (source, environment, what is said, how often the hub is asked)."""
    hub.tokens.update({CANARY: "me", "hf_stranger": "stranger"})
    open_one = hub.repo("models", "owner/open")
    open_one.commit({"f": b"x"})
    gated = hub.repo("models", "owner/gated", gated=True, readers=["me"])
    gated.commit({"f": b"x"})
    hub.repo("models", "owner/private", private=True, readers=["me"]).commit({"f": b"x"})
    return {
        "401": ("hf://owner/open", "hf_wrong", ["does not accept the token of HF_TOKEN", "401"], 1),
        "401 anonymous": ("hf://owner/private", None, ["wants a token", "401"], 1),
        "403 gated": ("hf://owner/gated", "hf_stranger", ["is gated: accept the terms at " + hub.url + "/owner/gated"], 3),
        "gated anonymous": ("hf://owner/gated", None, ["is gated: accept the terms at " + hub.url + "/owner/gated", "give the token"], 3),
        "404 repository": ("hf://owner/private", "hf_stranger", ["no such repository: " + hub.url + "/owner/private"], 1),
        "404 revision": ("hf://owner/open@v9", CANARY, ["owner/open has no revision 'v9'"], 1),
        "404 entry": ("hf://owner/open/g", CANARY, ["no file 'g' in the repository"], 2),
    }


@pytest.mark.parametrize("which", ["401", "401 anonymous", "403 gated", "gated anonymous", "404 repository", "404 revision", "404 entry"])
def test_F30_each_refusal_has_its_own_words_and_is_not_retried(hub, fetch, out, which):
    src, token, says, requests = refusals(hub)[which]
    got = fetch(src, env={"HF_TOKEN": token} if token else None)
    assert got.code == 1 and all(s in got.errors for s in says), got
    assert len(hub.asked()) == requests
    assert out() == {} and CANARY not in got.errors and "hf_stranger" not in got.errors


def test_F30_the_refusals_differ(hub, fetch):
    said = {}
    for which, (src, token, *_) in refusals(hub).items():
        said[which] = fetch(src, env={"HF_TOKEN": token} if token else None).errors
    assert len(set(said.values())) == len(said)


def test_a_file_that_vanished_behind_the_tree_is_named(hub, fetch, model):
    hub.rule(path="/tree/", entries=lambda e: e + [{"type": "file", "oid": "0" * 40, "size": 3, "path": "ghost"}])
    got = fetch("hf://owner/name/ghost")
    assert got.code == 1 and "no file 'ghost' in owner/name" in got.errors, got


def test_a_disabled_repository_is_told_as_such(hub, fetch, model):
    model.disabled = True
    got = fetch("hf://owner/name")
    assert got.code == 1 and "disabled access" in got.errors, got


@pytest.mark.parametrize("headers", [{"Retry-After": "1"}, {"RateLimit": '"api";r=0;t=1', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}],
                         ids=["Retry-After", "RateLimit"])
@pytest.mark.parametrize("path", ["/revision/", "/tree/", "/resolve/"])
def test_F10_a_limited_rate_is_waited_for(hub, fetch, model, out, path, headers):
    hub.rule(path=path, status=429, headers=headers, times=2)
    got = fetch("hf://owner/name/config.json")
    assert got.code == 0, got
    assert out() == {"config.json": MODEL["config.json"]}
    assert len(hub.asked()) <= 6  # no storm


def test_F30_a_server_that_fails_half_way_is_a_failure(hub, fetch, model):
    hub.rule(path="/resolve/", status=500, skip=3)
    got = fetch("hf://owner/name")
    assert got.code == 1 and "500" in got.errors, got


def test_a_hub_that_stumbles_is_asked_again(hub, fetch, model, out):
    hub.rule(path="/revision/", status=502, times=1)
    hub.rule(path="/tree/", status=500, times=1)
    hub.rule(path="/resolve/", cut=1, times=1)
    got = fetch("hf://owner/name")
    assert got.code == 0, got
    assert out() == MODEL


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a//b", ".", "x" * 300, "a/./b"])
def test_F1_a_path_that_leads_out_is_refused_before_any_write(hub, fetch, model, berth, path):
    hub.rule(path="/tree/", entries=lambda e: e + [{"type": "file", "oid": "0" * 40, "size": 3, "path": path}])
    got = fetch("hf://owner/name")
    assert got.code == 1 and "owner/name" in got.errors, got
    assert tree(berth.cwd) == {} and hub.asked("/resolve/") == []


@pytest.mark.parametrize("path, says", [("config.json/x", "below it"), ("config.json", "twice")])
def test_F2_a_tree_that_can_not_be_is_refused(hub, fetch, model, out, path, says):
    hub.rule(path="/tree/", entries=lambda e: e + [{"type": "file", "oid": "0" * 40, "size": 3, "path": path}])
    got = fetch("hf://owner/name")
    assert got.code == 1 and says in got.errors, got
    assert out() == {}


@pytest.mark.parametrize("where", ["/revision/", "/tree/"])
@pytest.mark.parametrize("body", [b"<html>log in</html>", b"", b"[1]", b'{"sha": "main"}', b'[{"type": "file", "path": "x"}]', b"[" * 100000])
def test_an_answer_that_is_none_is_a_clear_error(hub, fetch, model, out, where, body):
    hub.rule(path=where, status=200, body=body)
    got = fetch("hf://owner/name")
    assert got.code == 1 and "berth: input hf://owner/name" in got.errors, got
    assert out() == {}


def test_F31_a_branch_that_moves_meanwhile_does_not_mix(hub, fetch, model, out):
    old = model.find("main")
    hub.rule(path="/tree/", times=1, do=lambda _: model.commit({p: Lfs(b"new " + c) for p, c in MODEL.items()}))
    got = fetch("hf://owner/name", "--json")
    assert got.code == 0, got
    assert model.find("main") != old and got.json["inputs"][0]["resolved"] == old
    assert out() == MODEL


# --- tokens -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("env, files, sent", [
    ({"HF_TOKEN": "hf_a"}, {}, "hf_a"),
    ({"HF_TOKEN": " hf_a\n"}, {}, "hf_a"),
    ({"HUGGING_FACE_HUB_TOKEN": "hf_a"}, {}, "hf_a"),
    ({"HF_TOKEN": "hf_a"}, {".cache/huggingface/token": "hf_b"}, "hf_a"),
    ({}, {".cache/huggingface/token": "hf_b\n"}, "hf_b"),
    ({"HF_HOME": "~/hub"}, {"hub/token": "hf_c", ".cache/huggingface/token": "hf_b"}, "hf_c"),
    ({"XDG_CACHE_HOME": "~/xdg"}, {"xdg/huggingface/token": "hf_d"}, "hf_d"),
    ({"HF_TOKEN_PATH": "~/t", "HF_HOME": "~/hub"}, {"t": "hf_e", "hub/token": "hf_c"}, "hf_e"),
    ({"HF_TOKEN_PATH": "~/none"}, {".cache/huggingface/token": "hf_b"}, None),
    ({"HF_TOKEN": "hf_a", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, {".cache/huggingface/token": "hf_b"}, None),
    ({"HF_TOKEN": ""}, {}, None),
    ({}, {}, None),
])
def test_the_token_is_the_one_that_the_hubs_own_tools_would_use(hub, berth, fetch, model, env, files, sent):
    hub.tokens.update({f"hf_{c}": c for c in "abcde"})
    for path, text in files.items():
        at = berth.home / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text)
    got = fetch("hf://owner/name/config.json", env=env)
    assert got.code == 0, got
    assert {token_of(a) for a in hub.asked()} == {sent}


def test_a_token_that_can_not_be_sent_is_refused_without_showing_it(fetch, model):
    got = fetch("hf://owner/name", env={"HF_TOKEN": "hf_ab\r\nX-Evil: 1"})
    assert got.code == 1 and "the token of HF_TOKEN" in got.errors and "X-Evil" not in got.errors, got


def test_F34_the_token_is_told_to_nobody(hub, berth, fetch, model):
    hub.tokens[CANARY] = "me"
    got = fetch("hf://owner/name", "--json", "-v", env={"HF_TOKEN": CANARY})
    assert got.code == 0, got
    assert CANARY not in got.errors and CANARY not in got.text
    assert not [p for p, body in tree(berth.cwd).items() if CANARY.encode() in body]
    assert got.json["inputs"][0]["credentials"] == "the token of HF_TOKEN"


# --- the hub's own layout ---------------------------------------------------------------------------------------------

def hub_layout(repo="owner/name", **more):
    return ",".join([f"src=hf://{repo},opt=layout=hub", *(f"opt={k}={v}" for k, v in more.items())])


def test_the_hubs_layout_is_read_back_by_the_hubs_rules(hub, berth, fetch, model):
    model.refs["refs/pr/1"] = model.find("main")
    for revision in ("main", "refs/pr/1"):
        got = fetch(hub_layout(revision=revision))
        assert got.code == 0, got
        repo = scan(berth.cwd / "out")["models--owner--name"]
        repo.holds(revision, MODEL)
        repo.holds(model.find("main"), MODEL)
        assert repo.find(revision, "none") is None
    assert repo.size == sum(map(len, MODEL.values())) and set(repo.refs) == {"main", "refs/pr/1"}
    assert len(hub.downloads) == len(MODEL)


def test_the_hubs_layout_of_a_commit_needs_no_ref(hub, berth, fetch):
    commit = hub.repo("datasets", "owner/data").commit({"d/train.csv": b"1,2\n"})
    got = fetch(hub_layout(f"datasets/owner/data@{commit}"))
    assert got.code == 0, got
    assert tree(berth.cwd / "out") == {f"datasets--owner--data/blobs/{etag(b'1,2' + bytes([10]))}": b"1,2\n"}
    scan(berth.cwd / "out")["datasets--owner--data"].holds(commit, {"d/train.csv": b"1,2\n"})


def test_the_hubs_layout_of_no_files_is_a_ref_to_an_empty_snapshot(hub, berth, fetch):
    commit = hub.repo("models", "owner/none").commit({})
    assert fetch(hub_layout("owner/none")).code == 0
    assert scan(berth.cwd / "out")["models--owner--none"].snapshots == {commit: {}}


def test_in_the_hubs_layout_equal_content_is_one_blob_that_comes_once(hub, berth, fetch):
    twins = {"a.bin": Lfs(b"same" * 9000), "z/b.bin": Lfs(b"same" * 9000), "a.json": b"{}\n", "z/b.json": b"{}\n", "small.bin": Lfs(b"{}\n")}
    hub.repo("models", "owner/name").commit(twins)
    got = fetch(hub_layout(), "--json")
    assert got.code == 0, got
    repo = scan(berth.cwd / "out")["models--owner--name"]
    repo.holds("main", twins)
    assert len(repo.blobs) == 3 and len(hub.downloads) == 3
    assert {a.path.split("/")[-1] for a in hub.asked("/resolve/", method="GET")} == {"a.bin", "a.json", "small.bin"}
    told = got.json["inputs"][0]
    assert (told["files"], told["bytes"]) == (4, repo.size + 40)  # the ref is a file, too
    assert sum(f["size"] for f in got.json["files"]) == told["bytes"]
    hub.forget()
    again = fetch(hub_layout(), "--json")
    assert again.code == 0 and again.json["files"] == [] and hub.downloads == [], again


def test_a_new_commit_in_the_hubs_layout_leaves_the_old_one_beside_it(hub, berth, fetch, model):
    old = model.find("main")
    assert fetch(hub_layout()).code == 0
    new = {**MODEL, "config.json": b"new\n", "renamed.onnx": MODEL["onnx/model.onnx"]}
    del new["onnx/model.onnx"]
    model.commit(new)
    hub.forget()
    assert fetch(hub_layout()).code == 0
    repo = scan(berth.cwd / "out")["models--owner--name"]
    repo.holds("main", new)
    repo.holds(old, MODEL)
    assert [a.path.rsplit("/", 1)[-1] for a in hub.downloads] == ["config.json"]


def test_several_picks_of_the_hubs_layout_share_a_folder(hub, berth, model):
    model.commit({"twin.onnx": MODEL["onnx/model.onnx"], "twin.json": MODEL["config.json"]}, keep=True)
    model.refs["v1"] = old = model.find("main")
    model.commit({"twin.json": None, "again.json": MODEL["config.json"]}, keep=True)
    picks = {"v1": ["config.json", "onnx/model.onnx"], "main": ["twin.onnx", "again.json"]}
    sources = [hub_layout(f"owner/name@{revision}/{name}") for revision, names in picks.items() for name in names]
    got = berth("fetch", *sources, "out", env={"HF_ENDPOINT": hub.url})
    assert got.code == 0, got
    repo = scan(berth.cwd / "out")["models--owner--name"]
    repo.holds("v1", {n: MODEL[n] for n in picks["v1"]})
    repo.holds("main", {"twin.onnx": MODEL["onnx/model.onnx"], "again.json": MODEL["config.json"]})
    assert len(repo.blobs) == 2 and set(repo.snapshots) == {old, model.find("main")}


def test_links_of_the_hubs_layout_replace_files_and_no_folders(hub, berth, fetch, model):
    snapshot = berth.cwd / "out/models--owner--name/snapshots" / model.find("main")
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("as an earlier version left it")
    (snapshot / "README.md").symlink_to("/etc/passwd")
    assert fetch(hub_layout()).code == 0
    scan(berth.cwd / "out")["models--owner--name"].holds("main", MODEL)
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").mkdir()
    got = fetch(hub_layout())
    assert got.code == 1 and "a folder is in the way" in got.errors and "hf://owner/name" in got.errors, got
    assert not (berth.cwd / "out/.berth-partial").exists()


def test_a_listing_in_the_hubs_layout_names_the_files(fetch, model):
    got = fetch(hub_layout(), "--dry-run", "--json")
    commit = model.find("main")
    assert {f["path"] for f in got.json["files"]} == {f"models--owner--name/snapshots/{commit}/{p}" for p in MODEL} | {"models--owner--name/refs/main"}
