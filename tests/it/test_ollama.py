"""Ollama models: from a real Distribution registry, laid out as Ollama has them, and what registries do wrong."""
import hashlib
import itertools
import json
import os
import urllib.request

import pytest

from conftest import bacalhau, nosana, resource, s3_input, tree
from faults.kit import PART, other, server, sets  # noqa: F401 (fixtures)

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
LAYERS = {"application/vnd.ollama.image.model": os.urandom(PART + 12345), "application/vnd.ollama.image.template": b"{{ .Prompt }}",
          "application/vnd.ollama.image.license": b"MIT\n"}
CONFIG = b'{"model_format":"gguf","model_family":"llama"}'


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def part(kind, data):
    return {"mediaType": kind, "digest": digest(data), "size": len(data)}


def manifest_of(layers=LAYERS, config=CONFIG):
    layers = [part(k, v) for k, v in layers.items()]
    body = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": part("application/vnd.docker.container.image.v1+json", config),
            "layers": layers}
    return json.dumps(body, indent=1).encode()  # as it is, white space and all


def laid_out(host, space, name, tag, manifest, blobs):
    return {f"manifests/{host}/{space}/{name}/{tag}": manifest,
            **{f"blobs/{digest(b).replace(':', '-')}": b for b in blobs}}


class Registry:
    def __init__(self, address):
        self.address = address

    def call(self, method, url, body=None, kind="application/octet-stream"):
        url = url if url.startswith("http") else f"http://{self.address}{url}"
        request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, dict(answer.headers)

    def push(self, name, tag, layers=LAYERS, config=CONFIG):
        for data in (*layers.values(), config):
            _, headers = self.call("POST", f"/v2/{name}/blobs/uploads/", b"")
            at = headers["Location"]
            self.call("PUT", f"{at}{'&' if '?' in at else '?'}digest={digest(data)}", data)
        body = manifest_of(layers, config)
        self.call("PUT", f"/v2/{name}/manifests/{tag}", body, MANIFEST_TYPE)
        return body


@pytest.fixture(scope="session")
def registry(servers):
    return Registry(servers["registry"])


def fetch(berth, model, *flags, **more):
    return berth("fetch", "--no-progress", *flags, f"ollama://{model}", "out", **more)


@pytest.fixture
def run(berth, one_engine):
    runs = itertools.count()

    def go(job, *flags, **more):
        return berth("run", "--engine", one_engine, "--no-progress", *flags, "--results", f"results{next(runs)}", berth.job(job), **more)
    return go


# ---- a real registry ----

def test_a_model_is_laid_out_as_ollama_has_it(berth, registry):
    manifest = registry.push("library/tiny", "1b")
    result = fetch(berth, f"{registry.address}/tiny:1b")
    assert result.code == 0, result
    assert tree(berth.cwd / "out") == laid_out(registry.address, "library", "tiny", "1b", manifest, [*LAYERS.values(), CONFIG])


def test_a_mirror_stands_in_for_the_public_registry(berth, registry):
    manifest = registry.push("library/mirrored", "latest")
    result = fetch(berth, "mirrored", f"--set=mirrors=https://registry.ollama.ai=http://{registry.address}")
    assert result.code == 0, result
    assert tree(berth.cwd / "out") == laid_out("registry.ollama.ai", "library", "mirrored", "latest", manifest, [*LAYERS.values(), CONFIG])


def test_in_a_container_it_lies_where_ollama_looks_for_it(run, berth, registry):
    registry.push("acme/tiny", "q4")
    job = nosana([{"type": "Ollama", "model": f"{registry.address}/acme/tiny:q4"}],
                 f"cd /root/.ollama/models; ls; ls blobs | wc -l; sha256sum blobs/* | sed 's/ .*-/ /'; ls manifests/{registry.address}/acme/tiny")
    first = run(job)
    lines = first.text.split("\n")
    assert first.code == 0 and lines[:3] == ["blobs", "manifests", "4"] and lines[-2] == "q4", first
    assert all(a == b for a, b in (line.split() for line in lines[3:7])), "each blob has the content that its name says"
    record = json.loads((berth.cwd / "results0/berth.json").read_bytes())["inputs"][0]
    assert record["model"] == f"{registry.address}/acme/tiny:q4" and record["resolved"].startswith("sha256:")
    assert record["files_verified_by_digest"] == 5 and record["files_verified_by_size"] == 0
    again = run(job)
    second = json.loads((berth.cwd / "results1/berth.json").read_bytes())["inputs"][0]
    assert again.out == first.out and second["bytes_received"] == 0 and second["files_cached"] == 5, second


def test_two_models_share_a_target_and_their_common_blobs(run, registry):
    registry.push("library/one", "latest")
    registry.push("library/two", "latest", {**LAYERS, "application/vnd.ollama.image.system": b"You are brief."})
    job = nosana([{"type": "Ollama", "model": f"{registry.address}/{m}"} for m in ("one", "two")],
                 f"cd /root/.ollama/models; ls manifests/{registry.address}/library; ls blobs | wc -l")
    result = run(job)
    assert result.code == 0 and result.text == "one\ntwo\n5\n", result


def test_a_moved_tag_fetches_only_what_is_new_and_a_record_the_old_one(run, berth, registry):
    old = registry.push("library/moving", "latest")
    job = nosana([{"type": "Ollama", "model": f"{registry.address}/moving"}], "cat /root/.ollama/models/manifests/*/library/moving/latest")
    assert run(job).out == old
    new = registry.push("library/moving", "latest", {**LAYERS, "application/vnd.ollama.image.license": b"another\n"})
    assert run(job).out == new != old
    record = json.loads((berth.cwd / "results1/berth.json").read_bytes())["inputs"][0]
    assert record["bytes_received"] == len(b"another\n")
    result = run(json.loads((berth.cwd / "results0/berth.json").read_bytes()))
    assert result.code == 0 and result.out == old, result


def test_a_model_that_is_not_there_says_what_is_missing(berth, registry):
    registry.push("library/tiny", "1b")
    for model in ("none", "tiny:none"):
        result = fetch(berth, f"{registry.address}/{model}")
        assert result.code == 1 and "404" in result.errors and model in result.errors, result


@pytest.mark.parametrize("model", ["a/b/c/d", "x:", "bad space", "UP/../down", "tiny:ta/g"])
def test_what_is_no_model_name_is_refused(berth, model):
    result = fetch(berth, model)
    assert result.code == 1 and "model" in result.errors, result


# ---- registries that go wrong ----

def serve(s, name="tiny", tag="latest", blobs=None, manifest=None, headers=None):
    body = manifest if manifest is not None else manifest_of()
    s.page(f"/v2/library/{name}/manifests/{tag}", (200, body, {"Docker-Content-Digest": digest(body), **(headers or {})}))
    for data in blobs if blobs is not None else [*LAYERS.values(), CONFIG]:
        s.page(f"/v2/library/{name}/blobs/{digest(data)}", (200, data, {}))
    return body


def got(berth):
    return tree(berth.cwd / "out") if (berth.cwd / "out").exists() else {}


def test_a_token_is_fetched_where_the_registry_says_and_sent_nowhere_else(berth, server, other):
    body = serve(server)
    big = LAYERS["application/vnd.ollama.image.model"]
    other.page("/cdn", (200, big, {}))
    challenge = {"WWW-Authenticate": f'Bearer realm="{server.url}/token",service="reg",scope="repository:library/tiny:pull"'}
    server.page("/v2/library/tiny/manifests/latest", (401, "{}", challenge), (200, body, {}))
    server.page("/token", (200, json.dumps({"token": "canary-token"}), {}))
    server.page(f"/v2/library/tiny/blobs/{digest(big)}", (307, "", {"Location": f"{other.url}/cdn?sig=1"}))
    result = fetch(berth, f"{server.authority}/tiny", "-v")
    assert result.code == 0 and "canary-token" not in result.text + result.errors, result
    asked = [r for r in server.asked() if r.path == "/token"]
    assert len(asked) == 1 and asked[0].query == {"service": "reg", "scope": "repository:library/tiny:pull"}
    blobs = [r for r in server.asked() if "/blobs/" in r.path]
    assert blobs and all(r.headers.get("authorization") == "Bearer canary-token" for r in blobs)
    assert other.asked() and not any("authorization" in r.headers for r in other.asked()), "F20"


def test_a_token_that_expires_while_blobs_come_is_renewed(berth, server):
    body = serve(server)
    challenge = {"WWW-Authenticate": f'Bearer realm="{server.url}/token",service="reg"'}
    server.page("/token", (200, '{"token": "one"}', {}), (200, '{"access_token": "two"}', {}))
    server.page("/v2/library/tiny/manifests/latest", (401, "", challenge), (200, body, {}))
    server.page(f"/v2/library/tiny/blobs/{digest(CONFIG)}", (401, "", challenge), (200, CONFIG, {}))
    result = fetch(berth, f"{server.authority}/tiny")
    assert result.code == 0 and len(got(berth)) == 5, result
    assert [r.headers["authorization"] for r in server.asked() if r.path.endswith(digest(CONFIG))] == ["Bearer one", "Bearer two"]


def in_parts(server, data, **rule):
    """A model of one blob that takes ranges; the registry has no end of tokens, and denies what the rule says."""
    layers = {"application/vnd.ollama.image.model": data}
    challenge = {"WWW-Authenticate": f'Bearer realm="{server.url}/token",service="reg"'}
    serve(server, blobs=[CONFIG], manifest=manifest_of(layers))
    server.page("/token", (200, lambda _: json.dumps({"token": f"t{len(server.asked(op='page'))}"}), {}))
    server.bucket("v2", public=True)
    server.put("v2", f"library/tiny/blobs/{digest(data)}", data)
    server.rule(op="get", status=401, headers=challenge, **rule)


def test_all_parts_may_meet_the_end_of_one_token(berth, server):
    data = os.urandom(6 * PART)
    in_parts(server, data, nth=[1, 2, 3, 4], hold="four are under way")
    process = berth.start("fetch", "--no-progress", f"ollama://{server.authority}/tiny", "out")
    server.wait(lambda: len(server.asked(op="get")) >= 4)
    server.release("four are under way")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert got(berth)[f"blobs/{digest(data).replace(':', '-')}"] == data
    assert 1 <= len([r for r in server.asked() if r.path == "/token"]) <= 4


def test_a_blob_may_take_longer_than_many_tokens_last(berth, server):
    data = os.urandom(8 * PART)
    in_parts(server, data, nth=[2, 4, 6, 8, 10, 12])
    result = fetch(berth, f"{server.authority}/tiny")
    assert result.code == 0 and got(berth)[f"blobs/{digest(data).replace(':', '-')}"] == data, result
    assert len([r for r in server.asked(op="get") if r.path.endswith(digest(data))]) >= 14


def test_a_registry_that_wants_a_login_says_so(berth, server):
    server.page("/v2/library/tiny/manifests/latest", (401, "", {"WWW-Authenticate": 'Basic realm="x"'}))
    result = fetch(berth, f"{server.authority}/tiny")
    assert result.code == 1 and "wants a login (Basic)" in result.errors and len(server.log) == 1, result


def test_a_manifest_that_is_not_what_the_registry_says_is_refused(berth, server):
    serve(server, headers={"Docker-Content-Digest": "sha256:" + "0" * 64})
    result = fetch(berth, f"{server.authority}/tiny")
    assert result.code == 1 and "sha256:" + "0" * 64 in result.errors and got(berth) == {}, result


def test_F6_a_blob_with_other_bytes_is_refused(berth, server):
    serve(server)
    server.page(f"/v2/library/tiny/blobs/{digest(CONFIG)}", (200, CONFIG[:-1] + b"]", {}))
    result = fetch(berth, f"{server.authority}/tiny")
    assert result.code == 1 and "sha256" in result.errors and digest(CONFIG)[7:] in result.errors, result
    assert f"blobs/{digest(CONFIG).replace(':', '-')}" not in got(berth)


def test_a_blob_that_the_registry_does_not_have_is_named(berth, server):
    serve(server, blobs=[CONFIG])
    result = fetch(berth, f"{server.authority}/tiny")
    assert result.code == 1 and "blob sha256:" in result.errors and "404" in result.errors, result


@pytest.mark.parametrize("manifest, words", [
    (b"<html>", "no JSON"),
    (b"{}", "schema version 2"),
    (b'{"schemaVersion":2,"manifests":[]}', "index of images"),
    (manifest_of({"application/vnd.docker.image.rootfs.diff.tar.gzip": b"x"}), "not an Ollama model"),
    (manifest_of().replace(b"sha256:", b"sha256:../../../"), "SHA-256 digest"),
    (b" " * (5 << 20), "4194304"),
], ids=["no JSON", "no version", "an index", "an image", "digests that climb", "too big"])
def test_F32_a_manifest_that_cannot_be_one_is_a_clear_error(berth, server, manifest, words):
    serve(server, manifest=manifest)
    result = fetch(berth, f"{server.authority}/tiny")
    assert result.code == 1 and words in result.errors and got(berth) == {}, result


def test_a_registry_that_is_away_is_an_error_or_by_choice_the_model_of_before(run, server):
    serve(server)
    job = nosana([{"type": "Ollama", "model": f"{server.authority}/tiny"}], "ls /root/.ollama/models/blobs | wc -l")
    assert run(job).text == "4\n"
    server.rule(status=503)
    assert run(job).code == 125
    result = run(job, env={"BERTH_CACHE_STALE_IF_ERROR": "true"})
    assert result.text == "4\n" and "stale_if_error" in result.errors, result


def test_F21_a_registry_on_an_address_that_is_not_public_is_refused_for_strangers(berth, server):
    serve(server)
    result = fetch(berth, f"{server.authority}/tiny", *sets(xfer__public_only="true"))
    assert result.code == 1 and "loopback" in result.errors and server.connections == 0, result


def test_F23_a_claimed_digest_opens_no_other_repository(run, server):
    """The cache holds the blob from one repository; another one that only names its digest gets nothing."""
    serve(server, "first")
    assert run(nosana([{"type": "Ollama", "model": f"{server.authority}/first"}], "true")).code == 0
    serve(server, "second", blobs=[])
    result = run(nosana([{"type": "Ollama", "model": f"{server.authority}/second"}], "cat /root/.ollama/models/blobs/*"))
    assert result.code == 125 and "404" in result.errors and result.out == b"", result


# ---- all kinds in one job ----

def test_one_job_takes_inputs_of_every_kind(run, registry, server, s3, tmp_path):
    registry.push("library/tiny", "1b")
    bucket = s3.bucket()
    s3.put(bucket, "d/from-s3.txt", "s3\n")
    server.put("b", "from-url.txt", b"url\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/local.txt").write_text("local\n")
    signed = s3.client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "d/from-s3.txt"})
    job = bacalhau([
        s3_input(bucket, "d/", "/in", Endpoint=s3.endpoint),
        {"Target": "/in/url", "Source": {"Type": "urlDownload", "Params": {"URL": f"{server.url}/b/from-url.txt"}}},
        {"Target": "/signed", "Source": {"Type": "s3PreSigned", "Params": {"PreSignedURL": signed}}},
        {"Target": "/mine", "Source": {"Type": "localDirectory", "Params": {"SourcePath": str(tmp_path / "mine")}}},
        {"Target": "/root/.ollama/models", "Source": {"Type": "ollama", "Params": {"Model": f"{registry.address}/tiny:1b"}}},
    ], "cat /in/from-s3.txt /in/url/from-url.txt /signed/from-s3.txt /mine/local.txt; ls /root/.ollama/models/blobs | wc -l")
    result = run(job, f"--set=local.allow={tmp_path / 'mine'}", env=s3.env)
    assert result.code == 0 and result.text == "s3\nurl\ns3\nlocal\n4\n", result
