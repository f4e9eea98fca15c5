"""The peers: how each of them does the same work, and which version it is."""
import glob
import os
import shutil
import subprocess

from measure import Tool

ANON = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": "/nonexistent", "RCLONE_CONFIG": "/dev/null"}


def version(argv):
    try:
        out = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return None
    return (out.stdout or out.stderr).strip().splitlines()[0][:60]


class Peers:
    """Only what is installed takes part; `versions` says what that is."""

    def __init__(self, url, ca=None):
        self.url, self.ca, self.tls = url, ca, url.startswith("https")
        self.versions = {}
        self.aws = "/usr/bin/aws" if os.access("/usr/bin/aws", os.X_OK) else "aws"
        for name, probe in (("awscli", [self.aws, "--version"]), ("rclone", ["rclone", "--version"]), ("s3cmd", ["s3cmd", "--version"]),
                            ("aria2c", ["aria2c", "--version"]), ("curl", ["curl", "--version"]), ("s5cmd", ["s5cmd", "version"])):
            if shutil.which(probe[0]) and name in os.environ.get("BENCH_PEERS", name).split(","):
                self.versions[name] = version(probe)
        for name in ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
            os.environ.pop(name, None)  # what the machine has set is for other servers
        self.env = {**ANON, **({"SSL_CERT_FILE": ca, "CURL_CA_BUNDLE": ca} if ca else {})}
        # awscli's other transfer client exists where its bindings are installed; it knows only the default ports.
        self.has_crt = bool(glob.glob("/usr/lib/python3/dist-packages/awscrt"))

    def _aws(self, name, args, conf):
        config = f"/tmp/berth-bench-aws-{os.getpid()}-{name}"
        with open(config, "w", encoding="utf-8") as f:
            f.write("[default]\ns3 =\n" + "".join(f"  {line}\n" for line in conf))
        return Tool(name, [self.aws, "--endpoint-url", self.url, "--no-sign-request", "s3", "cp", *args],
                    {**self.env, "AWS_CONFIG_FILE": config, **({"AWS_CA_BUNDLE": self.ca} if self.ca else {})},
                    self.versions["awscli"])

    def _rclone(self, source, out, *more):
        base = ["rclone", "copy", "--s3-provider", "Other", "--s3-endpoint", self.url, "--s3-list-version", "2", "--s3-force-path-style",
                "--no-check-dest", "--retries", "1", *(["--ca-cert", self.ca] if self.ca else []), *more, f":s3:{source}", out]
        return Tool("rclone", base, self.env, self.versions["rclone"])

    def _s3cmd(self, args):
        host = self.url.split("://")[1]
        return Tool("s3cmd", ["s3cmd", "--config", "/dev/null", "--access_key=x", "--secret_key=x", f"--host={host}", f"--host-bucket={host}",
                              "--ssl" if self.tls else "--no-ssl", *([f"--ca-certs={self.ca}"] if self.ca else []), "--no-check-md5",
                              "--no-progress", "--force", *args], self.env, self.versions["s3cmd"])

    def one_object(self, bucket, key, out):
        """Every peer that fetches one large object, tuned the way its manual suggests for speed."""
        url, tools = f"{self.url}/{bucket}/{key}", []
        if "curl" in self.versions:
            tools.append(Tool("curl", ["curl", "-sS", "-o", f"{out}/f", url], self.env, self.versions["curl"]))
        if "aria2c" in self.versions:
            tools.append(Tool("aria2c", ["aria2c", "-q", "-x16", "-s16", "-k8M", "--file-allocation=none", "--auto-file-renaming=false",
                                         *([f"--ca-certificate={self.ca}"] if self.ca else []), "-d", out, "-o", "f", url], self.env,
                              self.versions["aria2c"]))
        if "rclone" in self.versions:
            tools.append(self._rclone(f"{bucket}/{key}", out, "--multi-thread-streams", "8", "--multi-thread-cutoff", "64M"))
        if "awscli" in self.versions:
            tools.append(self._aws("awscli", [f"s3://{bucket}/{key}", f"{out}/f"], ["max_concurrent_requests = 16", "multipart_chunksize = 16MB"]))
            if self.has_crt:
                tools.append(self._aws("awscli (CRT)", [f"s3://{bucket}/{key}", f"{out}/f"], ["preferred_transfer_client = crt"]))
        if "s3cmd" in self.versions:
            tools.append(self._s3cmd(["get", f"s3://{bucket}/{key}", f"{out}/f"]))
        if "s5cmd" in self.versions:
            tools.append(Tool("s5cmd", ["s5cmd", "--endpoint-url", self.url, "--no-sign-request", "cp", "-c", "16", f"s3://{bucket}/{key}",
                                        f"{out}/f"], self.env, self.versions["s5cmd"]))
        return tools

    def many_objects(self, bucket, keys, out):
        """Every peer that fetches a whole bucket of small objects; curl gets a ready list of URLs instead."""
        tools = []
        if "curl" in self.versions:
            listing = f"/tmp/berth-bench-curl-{os.getpid()}-{bucket}"
            with open(listing, "w", encoding="utf-8") as f:
                for k in keys:
                    f.write(f'url = "{self.url}/{bucket}/{k}"\noutput = "{out}/{k}"\n')
            tools.append(Tool("curl -Z (URLs ready)", ["curl", "-sS", "-Z", "--parallel-max", "64", "-K", listing], self.env, self.versions["curl"]))
        if "rclone" in self.versions:
            tools.append(self._rclone(bucket, out, "--transfers", "64", "--checkers", "64"))
        if "awscli" in self.versions:
            tools.append(self._aws("awscli", ["--recursive", f"s3://{bucket}/", out], ["max_concurrent_requests = 32"]))
        if "s3cmd" in self.versions:
            tools.append(self._s3cmd(["get", "--recursive", f"s3://{bucket}/", out]))
        if "s5cmd" in self.versions:
            tools.append(Tool("s5cmd", ["s5cmd", "--numworkers", "64", "--endpoint-url", self.url, "--no-sign-request", "cp",
                                        f"s3://{bucket}/*", f"{out}/"], self.env, self.versions["s5cmd"]))
        return tools
