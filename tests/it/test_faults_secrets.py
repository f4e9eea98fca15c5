"""F34: a canary in every secret field is found nowhere that others look."""
import base64
import json
import pathlib

import pytest

from conftest import IMAGE, bacalhau, nosana, s3_input
from faults.kit import server  # noqa: F401 (a fixture)

# Each its own, so that a find says which field leaked. No two share eight letters in a row.
CANARY = {name: f"{name.replace('_', '')}Canary{seed}" for name, seed in {
    "secret_key": "Zq8vXw2Lp4Rt6Yb1Nc3Md5", "session_token": "Hk7jGf9DsAqWeRtYuIoP0l", "access_token": "Vb5nMk8JhGfDsAzXcVqWe2",
    "registry_password": "Pl0oKm9IjN8uHbY7gVtF6c", "signature": "Ty6uJh5gNb4fVd3sXc2aZw", "customer_key": "Qa1zWs2xEd3cRf4vTg5bYh",
    "container_token": "Nm7yHu8jIk9oLp0qAw1sEd"}.items()}
CUSTOMER_KEY = base64.b64encode(CANARY["customer_key"].ljust(32)[:32].encode()).decode()
ACCESS = "AKIDCANARY000000000"

LOUD = [["--json"], ["--verbose", "--log-format", "json"], ["--verbose", "--no-progress"]]


def shapes(secret):
    """A secret as it is, and the part of its base64 that stays the same wherever it stands in a longer text."""
    out = [secret.encode()]
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + secret.encode()).rstrip(b"=")
        out.append(text[4 if shift else 0:-4])
    return out


NEEDLES = {name: shapes(secret) for name, secret in CANARY.items()}
NEEDLES["customer_key"].append(CUSTOMER_KEY.encode())


def leaks(haystacks):
    """(where, which secret) of all that is found."""
    return [(where, name) for where, text in haystacks.items() for name, needles in NEEDLES.items() if any(n in text for n in needles)]


def files_below(*folders):
    return {str(p): p.read_bytes() for f in folders for p in pathlib.Path(f).rglob("*") if p.is_file() and not p.is_symlink()}


def command_lines():
    """Those of all processes on this machine."""
    found = {}
    for p in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[str(p)] = p.read_bytes()
        except OSError:
            continue
    return found


def run(berth, server, engine, job, *flags, env=None):
    """Run a job; command lines are read while its first download is held back, all the rest at the end."""
    held = server.rule(op="get", hold="looked", nth=1)
    process = berth.start("run", *flags, "--engine", engine, "--results", "results", job, env=env)
    server.wait(lambda: held.applied or process.poll() is not None)
    during = command_lines()
    server.release("looked")
    out, err = process.communicate(timeout=90)
    places = {"stdout": out, "stderr": err, **during, **files_below(berth.cwd / "results", berth.cache, berth.home)}
    assert (berth.cwd / "results/berth.json").exists()
    return process.returncode, places


def left_behind(berth, result):
    """The leaks of a run that is over, its job file being gone."""
    return leaks({"stdout": result.out, "stderr": result.err, **files_below(berth.cwd, berth.cache, berth.home)})


def signed_server(server):
    server.verify = True
    server.identity(ACCESS, CANARY["secret_key"], token=CANARY["session_token"])
    server.put("b", "d/x", "content")


def with_keys(server, **more):
    iam = {"ACCESS_KEY_ID": ACCESS, "SECRET_ACCESS_KEY": CANARY["secret_key"], "SESSION_TOKEN": CANARY["session_token"]}
    return {"type": "S3", "url": f"{server.url}/b/d", "bucket": "b", "target": "/data", "IAM": iam, **more}


REGISTRY = {"docker": {"server": "127.0.0.1:1", "username": "u", "password": CANARY["registry_password"], "email": "u@example.org"}}


@pytest.mark.parametrize("flags", LOUD, ids=["json", "json_logs", "verbose"])
def test_F34_keys_of_a_job_that_succeeds_are_found_nowhere(berth, server, one_engine, flags):
    signed_server(server)
    job = berth.job(nosana([with_keys(server)], "cat /data/x", authentication=REGISTRY))
    code, places = run(berth, server, one_engine, job, *flags)
    assert code == 0, places["stderr"]
    assert leaks(places) == []


FAULTS = {
    "get_denied": {"op": "get", "status": 403, "code": "AccessDenied"},
    "list_denied": {"op": "list", "status": 403, "code": "AccessDenied"},
    "list_unsigned": {"op": "list", "status": 403, "code": "SignatureDoesNotMatch"},
    "expired": {"op": "get", "status": 400, "code": "ExpiredToken"},
    "reset": {"op": "list", "status": 500, "reset": 0},
    "corrupt": {"op": "get", "flip": 3},
    # Error bodies of real servers quote the request, its token included.
    "quoted": {"op": "list", "status": 400, "code": "InvalidToken", "message": f"The token {CANARY['session_token']} is no good"},
    "quoted_oddly": {"op": "get", "status": 418, "code": "Odd", "message": f"What is {CANARY['session_token']} to me"},
}


@pytest.mark.parametrize("flags", LOUD, ids=["json", "json_logs", "verbose"])
@pytest.mark.parametrize("fault", FAULTS)
def test_F34_keys_of_a_job_that_fails_are_found_nowhere(berth, server, one_engine, flags, fault):
    signed_server(server)
    server.rule(**FAULTS[fault])
    job = berth.job(nosana([with_keys(server)], "true", authentication=REGISTRY))
    result = berth("run", *flags, "--engine", one_engine, "--results", "results", job)
    job.unlink()
    assert result.code == 125, result
    assert left_behind(berth, result) == []


@pytest.mark.parametrize("flags", LOUD, ids=["json", "json_logs", "verbose"])
@pytest.mark.parametrize("found", [True, False], ids=["found", "missing"])
def test_F34_the_signature_of_a_url_is_found_nowhere(berth, server, one_engine, flags, found):
    if found:
        server.put("b", "d/x", "content")
    query = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a&X-Amz-Signature={CANARY['signature']}"
    job = berth.job(nosana([{"type": "S3", "url": f"{server.url}/b/d/x?{query}", "target": "/data"}], "cat /data/x"))
    code, places = run(berth, server, one_engine, job, *flags)
    assert code == (0 if found else 125), places["stderr"]
    assert any(CANARY["signature"] in r.target for r in server.asked()), "the URL was not used as it was written"
    assert leaks(places) == []


@pytest.mark.parametrize("status", [200, 403])
def test_F34_the_key_of_a_customer_is_found_nowhere(berth, server, one_engine, status):
    """The run record is the one form of a job that takes an SSE-C key."""
    server.put("b", "d/x", "content")
    if status != 200:
        server.rule(op="get", status=status, code="AccessDenied")
    s3 = {"bucket": "b", "key": "d/x", "exact_key": True, "endpoint": server.url, "sse_customer_key": CUSTOMER_KEY}
    record = {"berth": 1, "id": "j-1", "attempt": 1, "job": {"name": "j", "type": "batch", "count": 1, "ops": [
        {"kind": "run", "id": "op", "image": IMAGE, "command": ["cat", "/data/x"], "network": "none",
         "inputs": [{"kind": "s3", "target": "/data", **s3}]}]}}
    code, places = run(berth, server, one_engine, berth.job(record), "--verbose")
    assert code == (0 if status == 200 else 125), places["stderr"]
    assert {r.headers.get("x-amz-server-side-encryption-customer-key") for r in server.asked(op="get")} == {CUSTOMER_KEY}
    assert leaks(places) == []


def test_F34_a_password_for_a_registry_that_fails_is_found_nowhere(berth, server, one_engine):
    server.put("b", "d/x", "content")
    job = berth.job(nosana([{"type": "S3", "url": f"{server.url}/b/d", "bucket": "b", "target": "/data"}], "true",
                           image="127.0.0.1:1/no/such:image", authentication=REGISTRY))
    result = berth("run", "--verbose", "--engine", one_engine, "--results", "results", job)
    job.unlink()
    assert result.code == 125, result
    assert left_behind(berth, result) == []


def test_F34_the_token_of_a_hub_is_found_nowhere(berth, server, one_engine):
    resource = {"type": "HF", "repo": "owner/name", "target": "/data", "accessToken": CANARY["access_token"]}
    job = berth.job(nosana([resource], "true"))
    result = berth("run", "--verbose", "--engine", one_engine, "--results", "results", job,
                   env={"HF_ENDPOINT": server.url})
    job.unlink()
    assert result.code == 125, result
    assert left_behind(berth, result) == []


def test_F34_keys_and_tokens_of_the_machine_are_found_nowhere(berth, server, one_engine):
    """A container's credentials endpoint, and the token that it wants."""
    signed_server(server)
    server.page("/creds", (200, json.dumps({"AccessKeyId": ACCESS, "SecretAccessKey": CANARY["secret_key"],
                                            "Token": CANARY["session_token"], "Expiration": "2099-01-01T00:00:00Z"}), {}))
    job = berth.job(bacalhau([s3_input("b", "d/x", Endpoint=server.url)], "cat /data/x"))
    code, places = run(berth, server, one_engine, job, "--verbose", env={
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/creds", "AWS_CONTAINER_AUTHORIZATION_TOKEN": CANARY["container_token"]})
    assert code == 0, places["stderr"]
    assert [r.headers.get("authorization") for r in server.asked(op="page")] == [CANARY["container_token"]]
    assert leaks(places) == []


@pytest.mark.parametrize("command", [["validate"], ["validate", "--json"]], ids=["text", "json"])
def test_F34_a_job_file_that_is_refused_is_not_quoted_with_its_secrets(berth, command):
    """Every secret field with a value of a wrong kind or form next to it."""
    iam = {"ACCESS_KEY_ID": 7, "SECRET_ACCESS_KEY": CANARY["secret_key"], "SESSION_TOKEN": [CANARY["session_token"]], "REGION": 3}
    job = nosana([{"type": "S3", "url": f"http://h/b?X-Amz-Signature={CANARY['signature']}&x=%zz", "target": 7, "IAM": iam},
                  {"type": "HF", "repo": "no repo", "target": "/data", "accessToken": {"x": CANARY["access_token"]}}], 7,
                 authentication={"docker": {"password": [CANARY["registry_password"]], "passwort": CANARY["registry_password"]}})
    result = berth(*command, berth.job(job))
    assert result.code == 1, result
    assert leaks({"stdout": result.out, "stderr": result.err}) == []


@pytest.mark.parametrize("address", ["https://h/k?X-Amz-Credential=AKIA-CANARY&X-Amz-Signature=CANARY", "https://CANARY:CANARY@h/k"])
def test_F34_an_address_in_the_wrong_place_is_not_repeated(berth, address):
    (berth.cwd / "results").mkdir()
    for words in (["publish", "results", address], ["publish", "--json", "results", address], ["run", "--publish", address, "no.json"],
                  ["fetch", f"nosuch+{address}", "out"], ["fetch", f"src=s3://b/k,opt=token={address}", "out"]):
        got = berth(*words)
        assert got.code != 0 and b"CANARY" not in got.out and "CANARY" not in got.errors, (words, got)
