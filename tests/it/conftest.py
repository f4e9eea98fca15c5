"""What the integration tests stand on: real servers, a private home for every test, and berth itself."""
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid

import boto3
import botocore.client
import botocore.exceptions
import pytest

# What is compiled from here on is shared by the workers of a run, and goes with it.
if os.environ.get("BERTH_TEST_PYCACHE"):
    sys.pycache_prefix, sys.dont_write_bytecode = os.environ["BERTH_TEST_PYCACHE"], False

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tools")]
BERTH = os.environ.get("BERTH", str(ROOT / "build/src/cli/berth"))
# The build that users get, where BERTH is one with sanitizers.
SHIPPED = os.environ.get("BERTH_SHIPPED", BERTH)
TIMEOUT = 120
IMAGE = "localhost/busybox:latest"


def is_sanitized(program, by=(b"__asan_init", b"__tsan_init")):
    return any(word in pathlib.Path(program).read_bytes() for word in by)


def pytest_configure(config):
    # A shell has what it runs in the background ignore these, and so would every process that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    config.addinivalue_line("markers", "shipped: runs the build that users get, also where all else runs one with sanitizers")


@pytest.fixture
def tmp_path(tmp_path):
    """Gone with its test: thousands of caches would take long to remove in the end."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture(scope="session")
def state_dir():
    """Each worker of a run that is shared out has a folder and servers of its own."""
    given = os.environ.get("BERTH_TEST_DIR")
    path = pathlib.Path(given or tempfile.mkdtemp(prefix="berth-it.")) / os.environ.get("PYTEST_XDIST_WORKER", "")
    path.mkdir(exist_ok=True)
    yield path
    if not given:
        shutil.rmtree(path, ignore_errors=True)


def start_servers(folder, *names, **env):
    done = subprocess.run([ROOT / "tools/servers", "start", folder, *names], check=False, capture_output=True, text=True, timeout=600,
                          env={**os.environ, **env})
    if done.returncode:
        pytest.fail(f"the servers did not start:\n{done.stderr}", pytrace=False)
    return json.loads(done.stdout)


def stop_servers(folder):
    done = subprocess.run([ROOT / "tools/servers", "stop", folder], check=False, capture_output=True, text=True, timeout=120)
    if done.stderr:  # one of them had ended before
        pytest.fail(done.stderr, pytrace=False)


@pytest.fixture(scope="session")
def servers(state_dir):
    """S3, both engines, registry and nginx; once for the whole session. Those that were up before stay up, and so does an S3 server
    that all workers share: the first to come starts it, tools/run-it stops it."""
    folder, shared = state_dir / "servers", os.environ.get("BERTH_TEST_SHARED")
    found = (folder / "servers.json").exists()
    facts = start_servers(folder, *([] if shared else ["s3"]), "podman", "docker", "registry", "nginx", PODMAN_NETNS="none")
    if shared:
        with open(f"{shared}.lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            facts["s3"] = start_servers(shared, "s3")["s3"]
    yield facts
    if not found:
        stop_servers(folder)


@pytest.fixture(params=["docker", "podman"])
def engine(request, servers):
    """The address of each real engine in turn."""
    return servers[request.param]["address"]


@pytest.fixture
def one_engine(servers):
    """For tests where the engine does not matter."""
    return servers["docker"]["address"]


class S3:
    """A user of the real S3 server, with the buckets that tests make."""

    def __init__(self, facts, access, secret):
        self.endpoint, self.region, self.access, self.secret = facts["endpoint"], facts["region"], access, secret
        self.client = boto3.client("s3", endpoint_url=facts["endpoint"], region_name=facts["region"], aws_access_key_id=access,
                                   aws_secret_access_key=secret,
                                   config=botocore.client.Config(s3={"addressing_style": "path"}, signature_version="s3v4"))
        self.made = []  # buckets

    @property
    def env(self):
        return {"AWS_ACCESS_KEY_ID": self.access, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_REGION": self.region,
                "AWS_ENDPOINT_URL_S3": self.endpoint}

    def bucket(self, public=False, versioning=False):
        name = f"t-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        self.made.append(name)
        if public:
            allow = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"],
                     "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]}
            self.client.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
        if versioning:
            self.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def put(self, bucket, key, body=b"", **more):
        body = body.encode() if isinstance(body, str) else body
        return self.client.put_object(Bucket=bucket, Key=key, Body=body, **more)

    def empty(self, bucket):
        """Of objects and of uploads that nobody completed; older versions stay."""
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            keys = [{"Key": o["Key"]} for o in page.get("Contents", [])]
            if keys:
                self.client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        for upload in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
            self.client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])

    def fill(self, bucket, files):
        for key, body in files.items():
            self.put(bucket, key, body)


@pytest.fixture(scope="session")
def s3(servers):
    return S3(servers["s3"], servers["s3"]["access"], servers["s3"]["secret"])


@pytest.fixture(autouse=True)
def emptied(request):
    """The server holds its objects in memory: what a test put there goes with it."""
    if "s3" not in request.fixturenames:
        yield
        return
    owner = request.getfixturevalue("s3")
    before = len(owner.made)  # those that its module shares
    yield
    for bucket in owner.made[before:]:
        with contextlib.suppress(botocore.exceptions.ClientError):  # its own rules forbid it, or it is gone
            owner.empty(bucket)
    del owner.made[before:]


@pytest.fixture(scope="session")
def stranger(servers):
    """Another user of the same server."""
    return S3(servers["s3"], servers["s3"]["other_access"], servers["s3"]["other_secret"])


class Result:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def text(self):
        return self.out.decode(errors="replace")

    @property
    def errors(self):
        return self.err.decode(errors="replace")

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def events(self):
        return [json.loads(line) for line in self.out.splitlines()]

    def __repr__(self):
        return f"<exit {self.code}\nstdout: {self.text[-3000:]}\nstderr: {self.errors[-3000:]}>"


class Started(subprocess.Popen):
    """A process that does not outlive a failed assertion about it: it may be stopped, or wait for what will not come."""

    def __exit__(self, kind, *more):
        if kind:
            self.kill()
        super().__exit__(kind, *more)


class Berth:
    """berth with a home, a cache and a working folder of its own."""

    def __init__(self, tmp_path, program=BERTH):
        self.program = program
        self.home, self.cache, self.cwd = tmp_path / "home", tmp_path / "cache", tmp_path / "work"
        for d in (self.home, self.cwd):
            d.mkdir(exist_ok=True)
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "BERTH_CACHE_DIR": str(self.cache),
                    "BERTH_CACHE_MIN_FREE": "0", "AWS_EC2_METADATA_DISABLED": "true", "LANG": "C.UTF-8"}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]

    def command(self, *args, env=None):
        return [self.program, *map(str, args)], {**self.env, **(env or {})}

    def __call__(self, *args, env=None, input=None, timeout=TIMEOUT, cwd=None):
        argv, full = self.command(*args, env=env)
        return Result(subprocess.run(argv, env=full, cwd=cwd or self.cwd, input=input, capture_output=True, timeout=timeout))

    def start(self, *args, env=None, **more):
        argv, full = self.command(*args, env=env)
        return Started(argv, env=full, cwd=self.cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)

    def job(self, content, name="job.json"):
        path = self.cwd / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path


@pytest.fixture
def berth(tmp_path, request):
    return Berth(tmp_path, SHIPPED if request.node.get_closest_marker("shipped") else BERTH)


def tree(path):
    """{relative path: bytes} of the files below a folder."""
    path = pathlib.Path(path)
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file() and not p.is_symlink()}


def nosana(resources, cmd, image=IMAGE, **args):
    return {"version": "0.1", "type": "container",
            "ops": [{"id": "op", "type": "container/run", "args": {"image": image, "cmd": cmd, "resources": resources, **args}}]}


def resource(url, target="/data", user=None, **more):
    """A Nosana S3 resource, with `user`'s keys in the job itself."""
    iam = {"IAM": {"ACCESS_KEY_ID": user.access, "SECRET_ACCESS_KEY": user.secret, "REGION": user.region}} if user else {}
    return {"type": "S3", "url": url, "target": target, **iam, **more}


def bacalhau(inputs, cmd, image=IMAGE, **task):
    return {"Name": "job", "Type": "batch", "Count": 1, "Tasks": [
        {"Name": "main", "Engine": {"Type": "docker", "Params": {"Image": image, "Entrypoint": ["/bin/sh", "-c"], "Parameters": [cmd]}},
         "InputSources": inputs, **task}]}


def s3_input(bucket, key, target="/data", **params):
    return {"Target": target, "Source": {"Type": "s3", "Params": {"Bucket": bucket, "Key": key, **params}}}
