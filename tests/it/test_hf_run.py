"""Repositories of the Hugging Face Hub as inputs of containers: what a second run moves, who may use what is cached, and what the
container sees."""
import hashlib
import json
import re
import shlex

import pytest

from conftest import IMAGE, ROOT, bacalhau, nosana, resource
from hub_cache import etag, scan
from hub_server import Hub, Lfs
from lab import Engine

CANARY = "hf_canaryCANARYcanary0123456789"
SHOW = "cd /data && find . -type f | sort | xargs sha256sum"
MODEL = {"config.json": b"{}\n", "onnx/model.onnx": Lfs(b"onnx" * 100000), "model.safetensors": Lfs(b"weights" * 100000), "empty": b""}


def sums(files):
    return "".join(f"{hashlib.sha256(body).hexdigest()}  ./{name}\n" for name, body in sorted(files.items()))


def hf(repo="owner/name", target="/data", **more):
    return {"type": "HF", "repo": repo, "target": target, **more}


@pytest.fixture
def hub():
    with Hub() as server:
        yield server


@pytest.fixture
def model(hub):
    repo = hub.repo("models", "owner/name")
    repo.commit(MODEL)
    return repo


class Runs:
    def __init__(self, berth, engine, hub):
        self.berth, self.engine, self.hub, self.n = berth, engine, hub, 0

    def __call__(self, job, *options, env=None):
        """One run; `record` is what it wrote about it."""
        self.n += 1
        folder = self.berth.cwd / f"r{self.n}"
        got = self.berth("run", "--engine", self.engine, "-r", folder, *options, self.berth.job(job, f"job{self.n}.json"),
                         env={"HF_ENDPOINT": self.hub.url, **(env or {})})
        at = folder / "berth.json"
        got.record, got.folder = json.loads(at.read_text()) if at.exists() else None, folder
        return got

    def show(self, *resources, **more):
        return self(nosana(list(resources), SHOW), **more)


@pytest.fixture
def run(berth, one_engine, hub):
    before = set(Engine(one_engine).containers())
    yield Runs(berth, one_engine, hub)
    assert set(Engine(one_engine).containers()) <= before, "a container was left behind"


def test_a_container_sees_the_repository(berth, engine, hub, model):
    got = Runs(berth, engine, hub).show(hf())
    assert got.code == 0 and got.text == sums(MODEL), got
    told = got.record["inputs"][0]
    assert told["resolved"] == model.find("main") and told["files_verified_by_digest"] == len(MODEL)
    assert {o["version"] for o in told["objects"]} == {"sha256:" + hashlib.sha256(c).hexdigest() if isinstance(c, Lfs) else "git:" + entry["oid"]
                                                       for entry in model.entries(model.find("main")) if (c := MODEL.get(entry["path"])) is not None}


def test_both_dialects_and_the_imperative_form_know_the_hub(run, hub, berth, one_engine):
    commit = hub.repo("datasets", "owner/data").commit({"a.csv": b"1\n", "b.json": b"2\n"}, ref="v1")
    for job in (nosana([hf("datasets/owner/data", revision="v1", files=["*.csv"])], SHOW),
                bacalhau([{"Target": "/data", "Source": {"Type": "huggingface", "Params": {"Repo": "datasets/owner/data", "Revision": "v1",
                                                                                           "Files": ["a.csv"]}}}], SHOW)):
        got = run(job)
        assert got.code == 0 and got.text == sums({"a.csv": b"1\n"}), got
        assert got.record["inputs"][0]["resolved"] == commit
    got = berth("docker", "run", "--engine", one_engine, "-i", "hf://datasets/owner/data@v1/b.json:/data", IMAGE, "cat", "/data/b.json",
                env={"HF_ENDPOINT": hub.url})
    assert got.code == 0 and got.text == "2\n", got


def test_a_warm_run_moves_no_byte(run, hub, model):
    assert run.show(hf()).code == 0
    hub.forget()
    got = run.show(hf())
    assert got.code == 0 and got.text == sums(MODEL), got
    assert [a.path.split("/")[-2] for a in hub.asked()] == ["revision", "tree"]
    assert got.record["inputs"][0]["bytes_received"] == 0


def test_a_new_commit_moves_only_what_changed(run, hub, model):
    assert run.show(hf()).code == 0
    model.commit({"model.safetensors": Lfs(b"better!" * 100000), "README.md": b"hello\n"}, keep=True)
    hub.forget()
    got = run.show(hf())
    assert got.code == 0, got
    assert sorted(a.path.rsplit("/", 1)[-1] for a in hub.asked("/resolve/")) == ["README.md", "model.safetensors"]


def test_a_commit_of_equal_content_moves_nothing(run, hub, model):
    assert run.show(hf()).code == 0
    model.commit(MODEL)
    hub.forget()
    got = run.show(hf())
    assert got.code == 0 and got.record["inputs"][0]["resolved"] == model.find("main"), got
    assert hub.asked("/resolve/") == []


@pytest.mark.shipped
def test_P7_one_changed_file_of_10000_moves_one_file(run, hub):
    many = hub.repo("datasets", "owner/many")
    many.commit({f"d{i % 100:02}/{i:05}.txt": b"%d\n" % i for i in range(10000)})
    count = "find /data -type f | wc -l; cat /data/d42/04242.txt"
    assert run(nosana([hf("datasets/owner/many")], count)).text == "10000\n4242\n"
    many.commit({"d42/04242.txt": b"changed\n"}, keep=True)
    hub.forget()
    got = run(nosana([hf("datasets/owner/many")], count))
    assert got.text == "10000\nchanged\n", got
    assert [a.path.rsplit("/", 1)[-1] for a in hub.downloads] == ["04242.txt"]
    assert got.record["inputs"][0]["bytes_received"] == len(b"changed\n")


def test_a_hub_that_is_away_is_an_error_or_by_choice_the_commit_of_before(run, hub, model):
    assert run.show(hf()).code == 0
    hub.rule(path="/api/", status=503)
    assert run.show(hf()).code == 125
    got = run.show(hf(), env={"BERTH_CACHE_STALE_IF_ERROR": "true"})
    assert got.code == 0 and got.text == sums(MODEL) and "stale_if_error" in got.errors, got
    told = got.record["inputs"][0]
    assert told["stale"] is True and (told["files"], told["bytes"]) == (len(MODEL), sum(map(len, MODEL.values())))


def test_a_repository_that_two_entries_want_is_fetched_once(run, hub, model):
    got = run(nosana([hf(), hf(target="/again")], "diff -r /data /again && echo same"))
    assert got.code == 0 and got.text == "same\n", got
    assert len(hub.downloads) == len(MODEL)


def test_equal_content_of_two_repositories_is_kept_once(run, hub, model, berth):
    hub.repo("models", "other/copy").commit({"renamed.safetensors": MODEL["model.safetensors"]})
    got = run(nosana([hf(), hf("other/copy", "/copy")], "cmp /data/model.safetensors /copy/renamed.safetensors && echo same"))
    assert got.code == 0 and got.text == "same\n", got
    blobs = [b for b in (berth.cache / "blobs").rglob("*") if b.is_file()]
    assert len(blobs) == len(MODEL)


def test_F30_a_snapshot_that_fails_half_way_is_not_there(run, hub, model):
    hub.rule(path="/resolve/", status=500, skip=2)
    got = run.show(hf())
    assert got.code == 125 and got.text == "", got
    hub.forget()
    got = run.show(hf())
    assert got.code == 0 and got.text == sums(MODEL), got
    assert len(hub.asked("/resolve/", method="GET")) == 2  # what had come is not fetched again


def test_F31_a_branch_that_moves_during_the_download_gives_one_commits_files(run, hub, model):
    old = model.find("main")
    hub.rule(path="/resolve/", times=1, do=lambda _: model.commit({p: Lfs(b"new " + c) for p, c in MODEL.items()}))
    got = run.show(hf())
    assert got.code == 0 and got.text == sums(MODEL), got
    assert got.record["inputs"][0]["resolved"] == old != model.find("main")


# --- who may use what is cached ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("gated", [True, False], ids=["gated", "private"])
@pytest.mark.parametrize("token", [None, "hf_stranger", "hf_wrong"], ids=["anonymous", "stranger", "wrong"])
def test_F23_another_token_gets_the_hubs_answer_not_the_cache(run, hub, gated, token):
    hub.tokens.update({CANARY: "me", "hf_stranger": "stranger"})
    hub.repo("models", "owner/name", gated=gated, private=not gated, readers=["me"]).commit(MODEL)
    assert run.show(hf(accessToken=CANARY)).code == 0
    hub.forget()
    got = run.show(hf(**({"accessToken": token} if token else {})))
    assert got.code == 125 and got.text == "", got
    assert hub.downloads == [] and CANARY not in got.errors
    assert ("gated: accept the terms" in got.errors) == (gated and token != "hf_wrong"), got


def test_another_reader_proves_it_by_one_question(run, hub):
    """The tree of a gated repository is public, so being listed proves nothing."""
    hub.tokens.update({CANARY: "me", "hf_friend": "friend"})
    hub.repo("models", "owner/name", gated=True, readers=["me", "friend"]).commit(MODEL)
    assert run.show(hf(accessToken=CANARY)).code == 0
    hub.forget()
    got = run.show(hf(accessToken="hf_friend"))
    assert got.code == 0 and got.text == sums(MODEL), got
    assert [a.method for a in hub.asked("/resolve/")] == ["HEAD"] and hub.downloads == []
    hub.forget()
    assert run.show(hf(accessToken="hf_friend")).code == 0
    assert hub.asked("/resolve/") == []


def test_a_log_in_page_is_no_proof(run, hub):
    hub.tokens.update({CANARY: "me"})
    hub.repo("models", "owner/name", gated=True, readers=["me"]).commit(MODEL)
    assert run.show(hf(accessToken=CANARY)).code == 0
    hub.rule(path="/resolve/", method="HEAD", status=302, headers={"Location": "/login"})
    hub.rule(path="/login", status=200, body=b"who are you?")
    got = run.show(hf())
    assert got.code == 125 and "X-Repo-Commit" in got.errors, got


@pytest.mark.parametrize("name, value", [("X-Linked-Size", "1"), ("X-Linked-ETag", '"' + "0" * 64 + '"')])
def test_a_proof_must_be_of_the_file_that_the_tree_states(run, hub, name, value):
    hub.tokens.update({CANARY: "me", "hf_friend": "friend"})
    hub.repo("models", "owner/name").commit({"model.bin": MODEL["onnx/model.onnx"]})
    assert run.show(hf(accessToken=CANARY)).code == 0
    hub.rule(path="/resolve/", headers={name: value})
    got = run.show(hf(accessToken="hf_friend"))
    assert got.code == 125 and name in got.errors, got


def test_F34_the_token_is_in_no_file_of_a_run(run, hub, berth):
    hub.tokens[CANARY] = "me"
    hub.repo("models", "owner/name", private=True, readers=["me"]).commit(MODEL)
    got = run.show(hf(accessToken=CANARY))
    assert got.code == 0 and CANARY not in got.errors, got
    for folder in (got.folder, berth.cache):
        assert not [p for p in folder.rglob("*") if p.is_file() and CANARY.encode() in p.read_bytes()]


# --- what the container sees ------------------------------------------------------------------------------------------

HUB_CACHE = "/root/.cache/huggingface/hub"
IN_REPO = f"cd {HUB_CACHE}/models--owner--name && "


def hub_layout(**more):
    return hf(target=HUB_CACHE, layout="hub", **more)


def view(berth, got, i=0):
    """What the run's input was in the cache."""
    return berth.cache / "views" / got.record["inputs"][i]["snapshot"]


def test_the_hubs_layout_is_a_cache_that_is_found_offline(berth, engine, hub, model):
    run = Runs(berth, engine, hub)
    config = "snapshots/$(cat refs/main)/config.json"
    find = IN_REPO + f"cat {config} && readlink {config} && readlink snapshots/*/onnx/model.onnx"
    links = "".join(f"{up}blobs/{etag(MODEL[p])}\n" for up, p in (("../../", "config.json"), ("../../../", "onnx/model.onnx")))
    got = run(nosana([hub_layout()], find))
    assert got.text == "{}\n" + links, got
    scan(view(berth, got))["models--owner--name"].holds("main", MODEL)
    hub.forget()
    model.commit({"config.json": b"{2}\n"}, keep=True)
    got = run(nosana([hub_layout()], IN_REPO + f"cat {config}"))
    assert got.text == "{2}\n", got
    repo = scan(view(berth, got))["models--owner--name"]
    repo.holds("main", {**MODEL, "config.json": b"{2}\n"})
    assert len(repo.blobs) == len(MODEL) and len(hub.downloads) == 1


def test_the_hubs_layout_counts_each_content_once(run, berth, hub):
    twins = {"a.bin": Lfs(b"same" * 9000), "z/b.bin": Lfs(b"same" * 9000), "a.json": b"{}\n", "z/b.json": b"{}\n"}
    hub.repo("models", "owner/name").commit(twins)
    got = run(nosana([hub_layout()], IN_REPO + "cmp snapshots/*/a.bin snapshots/*/z/b.bin && cat snapshots/*/z/b.json"))
    assert got.code == 0 and got.text == "{}\n", got
    told, size = got.record["inputs"][0], 36000 + 3 + 40  # and the ref
    assert (told["files"], told["bytes"]) == (3, size) and told["bytes_received"] < 2 * 36000
    assert sum(o["size"] for o in told["objects"]) == size and len(hub.downloads) == 2
    assert {o["path"].split("/")[-1] for o in told["objects"]} == {"a.bin", "a.json", "main"}
    (row,) = berth("cache", "ls", "--json").json
    assert (row["files"], row["bytes"]) == (3, size), row
    assert berth("cache", "stat", "--json").json["blobs"] == 3


def test_both_layouts_share_what_is_fetched(run, hub, model):
    got = run(nosana([hf(), hub_layout()], IN_REPO + "cd snapshots/* && for f in $(cd /data && find . -type f); do cmp $f /data/$f || exit 1; done"))
    assert got.code == 0, got
    assert len(hub.downloads) == len(MODEL)


def test_revisions_and_picks_of_the_hubs_layout_share_a_target(run, hub, berth, model):
    model.refs["v1"] = model.find("main")
    model.commit({"config.json": None, "renamed.json": MODEL["config.json"], "twin.onnx": MODEL["onnx/model.onnx"]}, keep=True)
    got = run(nosana([hub_layout(revision="v1", files=["*.json", "onnx/*"]), hub_layout(files=["renamed.json", "twin.*"])],
                     IN_REPO + "ls blobs | wc -l; cat refs/v1 refs/main | wc -c; cat snapshots/$(cat refs/main)/renamed.json"))
    assert got.code == 0 and got.text == "2\n80\n{}\n", got
    for i, revision, files in ((0, "v1", ["config.json", "onnx/model.onnx"]), (1, "main", ["renamed.json", "twin.onnx"])):
        now = {**MODEL, "renamed.json": MODEL["config.json"], "twin.onnx": MODEL["onnx/model.onnx"]}
        scan(view(berth, got, i))["models--owner--name"].holds(revision, {f: now[f] for f in files})
    merged = next(v for v in (berth.cache / "views").iterdir() if len(list(v.glob("*/refs/*"))) == 2)
    assert set(scan(merged)["models--owner--name"].refs) == {"v1", "main"}


def test_a_writable_cache_in_the_hubs_layout_keeps_its_links(berth, engine, hub, model):
    run = Runs(berth, engine, hub)
    got = run(nosana([hub_layout(allowWrite=True)],
                     IN_REPO + "readlink snapshots/*/config.json && echo scribble > snapshots/$(cat refs/main)/config.json && "
                     "cat blobs/$(basename $(readlink snapshots/*/config.json)) && mkdir ../.locks && echo other > refs/other && cat refs/other"))
    assert got.text == f"../../blobs/{etag(MODEL['config.json'])}\nscribble\nother\n", got
    scan(view(berth, got))["models--owner--name"].holds("main", MODEL)


def test_the_cache_verifies_mends_and_removes_views_with_links(run, berth, hub, model):
    got = run(nosana([hub_layout()], "true"))
    assert berth("cache", "verify").code == 0
    link = next(view(berth, got).glob("*/snapshots/*/config.json"))
    link.parent.chmod(0o700)
    link.unlink()
    link.symlink_to("/etc/passwd")
    checked = berth("cache", "verify", "--repair", "--json")
    assert checked.json["damaged"] == 1 and checked.json["orphans"] == 1 and checked.json["repaired"] == 2, checked  # set aside, then swept
    hub.forget()
    got = run(nosana([hub_layout()], IN_REPO + "cat snapshots/*/config.json"))
    assert got.text == "{}\n" and hub.downloads == [], got
    scan(view(berth, got))["models--owner--name"].holds("main", MODEL)
    assert berth("cache", "gc", "--all").code == 0
    assert list((berth.cache / "views").iterdir()) == [] and not [b for b in (berth.cache / "blobs").rglob("*") if b.is_file()]


def test_an_older_copy_in_the_hubs_layout_serves_when_the_hub_is_away(run, hub, model):
    assert run(nosana([hub_layout()], "true")).code == 0
    hub.rule(path="/api/", status=503)
    got = run(nosana([hub_layout()], IN_REPO + "cat snapshots/*/config.json"), env={"BERTH_CACHE_STALE_IF_ERROR": "true"})
    assert got.code == 0 and got.text == "{}\n", got
    assert got.record["inputs"][0]["files"] == len(MODEL) + 1


def test_buckets_and_repositories_share_a_target(run, hub, model, s3):
    bucket = s3.bucket()
    s3.fill(bucket, {"d/extra.txt": b"extra\n", "d/onnx/notes.txt": b"notes\n"})
    got = run.show(hf(), resource(f"{s3.endpoint}/{bucket}/d/", user=s3))
    assert got.code == 0 and got.text == sums({**MODEL, "extra.txt": b"extra\n", "onnx/notes.txt": b"notes\n"}), got
    s3.put(bucket, "d/config.json", b"other\n")
    got = run.show(hf(), resource(f"{s3.endpoint}/{bucket}/d/", user=s3))
    assert got.code == 125 and "config.json" in got.errors and "hf://owner/name" in got.errors, got


def test_a_writable_input_is_a_copy(run, hub, model):
    got = run(nosana([hf(allowWrite=True)], "echo scribble > /data/config.json && cat /data/config.json"))
    assert got.text == "scribble\n", got
    assert run.show(hf()).text == sums(MODEL)


def test_a_record_runs_again_with_its_commit(run, hub, model):
    first = run.show(hf())
    assert first.code == 0, first
    model.commit({p: Lfs(b"new " + c) for p, c in MODEL.items()})
    got = run(first.record)
    assert got.code == 0 and got.text == sums(MODEL), got
    assert got.record["inputs"][0]["resolved"] == first.record["inputs"][0]["resolved"]


def test_the_cache_lists_the_repository_by_its_name(run, berth, model):
    assert run.show(hf()).code == 0
    got = berth("cache", "ls", "--json")
    assert [row["origin"].splitlines()[0] for row in got.json] == ["hf://owner/name"], got


# --- the guide --------------------------------------------------------------------------------------------------------

GUIDE = (ROOT / "docs/guide-huggingface.md").read_text()


@pytest.fixture
def guides_hub(hub):
    hub.repo("models", "openai-community/gpt2").commit({"config.json": b"{}\n", "onnx/model.onnx": Lfs(b"onnx"), "model.safetensors": Lfs(b"weights")})
    hub.repo("datasets", "rajpurkar/squad").commit({"train.parquet": Lfs(b"PAR1")}, ref="refs/convert/parquet")
    return hub


def test_the_commands_of_the_guide_run(berth, guides_hub):
    lines = [line for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.S) for line in block.splitlines()]
    assert len(lines) >= 6 and all(line.startswith("berth ") for line in lines)
    for line in lines:
        got = berth(*shlex.split(line)[1:], env={"HF_ENDPOINT": guides_hub.url})
        assert got.code == 0, (line, got)
    assert (berth.cwd / "onnx-files/onnx/model.onnx").read_bytes() == b"onnx"


def test_the_jobs_of_the_guide_run(run, berth, guides_hub):
    jobs = re.findall(r"```(json|yaml)\n(.*?)```", GUIDE, re.S)
    said = [run(text) for kind, text in jobs if "mirrors:" not in text]
    assert [got.text.strip() for got in said] == ["{}", "{}", guides_hub.repos["models", "openai-community/gpt2"].find("main")], said
