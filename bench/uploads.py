"""P8, P9, P13: publishing beside what people use for it. Against the real S3 server, since nginx stores nothing: it is the
same for all tools and takes its own share of the machine, so ratios understate what a client saves."""
import os
import shutil

import boto3
from measure import Tool, alternate, median, ratio
from peers import version

BUCKET = "bench-up"


class Uploads:
    def __init__(self, bench, rounds, gib, scale):
        self.b, self.rounds, self.gib, self.scale = bench, rounds, gib, scale
        facts = bench.servers["s3"]
        self.url = facts["endpoint"]
        self.env = {"AWS_ACCESS_KEY_ID": facts["access"], "AWS_SECRET_ACCESS_KEY": facts["secret"], "AWS_DEFAULT_REGION": facts["region"],
                    "AWS_REGION": facts["region"], "AWS_ENDPOINT_URL_S3": self.url, "AWS_EC2_METADATA_DISABLED": "true",
                    "HOME": str(bench.dir / "home"), "RCLONE_CONFIG": "/dev/null", "BERTH_CACHE_DIR": str(bench.dir / "cache")}
        self.aws = "/usr/bin/aws" if os.access("/usr/bin/aws", os.X_OK) else "aws"
        self.s3 = boto3.resource("s3", endpoint_url=self.url, region_name=facts["region"], aws_access_key_id=facts["access"],
                                 aws_secret_access_key=facts["secret"])
        self.s3.create_bucket(Bucket=BUCKET)

    def empty(self):
        self.s3.Bucket(BUCKET).objects.delete()

    def check(self, count, least=0):
        def go():
            found = list(self.s3.Bucket(BUCKET).objects.all())
            assert len(found) >= count and sum(o.size for o in found) >= least, f"{len(found)} objects arrived"
        return go

    def tool(self, name, argv, count=1, least=0):
        return Tool(name, argv, self.env, before=self.empty, check=self.check(count, least))

    def shell(self, name, script, **more):
        return self.tool(name, ["bash", "-o", "pipefail", "-c", script], **more)

    def rclone(self, verb, *args):
        return ["rclone", verb, "--s3-provider", "Ceph", "--s3-endpoint", self.url, "--s3-env-auth", "--s3-force-path-style", *args]

    def folder(self, name, files):
        path = self.b.dir / name
        path.mkdir()
        block = os.urandom(1 << 20)
        for file, size in files:
            with open(path / file, "wb") as f:
                for i in range(0, size, 1 << 20):  # half of it compresses, as results do
                    f.write((i.to_bytes(8, "big") + block[8:1 << 19] + bytes(1 << 19))[:min(1 << 20, size - i)])
        return path

    def curl(self, name, path, count):
        """Sends and nothing else: the URLs are signed beforehand, nothing is walked, summed or listed. What the server allows."""
        config = self.b.dir / "p9.curl"
        with open(config, "w", encoding="utf-8") as f:
            for file in sorted(os.listdir(path)):
                url = self.s3.meta.client.generate_presigned_url("put_object", {"Bucket": BUCKET, "Key": f"p/{file}"}, ExpiresIn=6 * 3600)
                f.write(f'url = "{url}"\nupload-file = "{path}/{file}"\n')
        return self.tool(name, ["curl", "-sSf", "-Z", "--parallel-max", "16", "-K", config], count)

    def report(self, title, tools, target, wanted, memory, exclude=(), **units):
        runs, failed = alternate(tools, self.b.out, self.rounds)
        self.b.table(title, runs, failed, **units)
        best = self.b.best_peer(runs, "wall", exclude)
        wall = ratio(runs["berth"], runs[best], "wall")
        self.b.verdict(f"{target} wall ≤ {wanted:.2f} × the best peer", f"{wall:.2f} × {best}", wall <= wanted, "pairwise median")
        if memory:
            rss = median(runs["berth"], "rss_mib")
            self.b.verdict(f"{target} RSS ≤ 64 MiB", f"{rss:.0f} MiB", rss <= 64, "median of peaks")
        self.empty()
        return runs, best

    def p8(self):
        size = int(self.gib * 2**30)
        path = self.folder("p8", [("data.bin", size)])
        tar, to = f"tar cz -C {path} .", f"s3://{BUCKET}/x.tar.gz"
        tools = [self.tool("berth", [self.b.berth, "publish", "-q", path, to]),
                 self.shell("tar cz, aws s3 cp -", f"{tar} | {self.aws} --endpoint-url {self.url} s3 cp - {to}"),
                 self.shell("tar cz, rclone rcat", f"{tar} | {' '.join(self.rclone('rcat', f':s3:{BUCKET}/x.tar.gz'))}")]
        self.report(f"P8: {self.gib:.1f} GiB as tar.gz", tools, "P8", 0.25, True, unit_bytes=size)
        shutil.rmtree(path)

    def p9(self):
        count = int(5000 * self.scale)
        path = self.folder("p9", [(f"f{i:06d}", 64 << 10) for i in range(count)])
        bare = "curl -Z (URLs signed)"
        tools = [self.tool("berth", [self.b.berth, "publish", "-q", path, f"s3://{BUCKET}/p,opt=encoding=plain"], count),
                 self.curl(bare, path, count),
                 self.tool("aws s3 cp --recursive", [self.aws, "--endpoint-url", self.url, "s3", "cp", "--recursive", path, f"s3://{BUCKET}/p/"], count),
                 self.tool("rclone copy", self.rclone("copy", "--transfers", "32", "--no-check-dest", path, f":s3:{BUCKET}/p"), count)]
        runs, _ = self.report(f"P9: {count:,} files of 64 KiB, plain", tools, "P9", 0.5, False, exclude=(bare,), unit_count=count)
        if bare in runs:
            self.b.say(f"\nThe server's own time is the floor here: berth takes {ratio(runs['berth'], runs[bare], 'wall'):.2f} × what curl takes that only sends "
                       "(16 at once, URLs signed beforehand, no sums, no manifest).\n")
        shutil.rmtree(path)

    def p13(self):
        size = int(self.gib * 2**30)
        path = self.folder("p13", [("big.bin", size)])
        to = f"s3://{BUCKET}/p/big.bin"
        tools = [self.tool("berth", [self.b.berth, "publish", "-q", path, f"s3://{BUCKET}/p,opt=encoding=plain"], least=size),
                 self.tool("aws s3 cp", [self.aws, "--endpoint-url", self.url, "s3", "cp", path / "big.bin", to], least=size),
                 self.tool("rclone copy", self.rclone("copy", "--s3-upload-concurrency", "8", "--s3-chunk-size", "8M", "--no-check-dest", path,
                                                      f":s3:{BUCKET}/p"), least=size)]
        runs, best = self.report(f"P13: one file of {self.gib:.1f} GiB", tools, "P13", 0.8, True, unit_bytes=size)
        cpu = ratio(runs["berth"], runs[best], "cpu")
        self.b.verdict("P13 CPU ≤ 0.5 × the best peer", f"{cpu:.2f} × {best}", cpu <= 0.5, "SHA-256 for the manifest included")
        shutil.rmtree(path)

    def all(self):
        self.b.say(f"Peers: {version([self.aws, '--version'])}; {version(['rclone', '--version'])}\n")
        self.p8()
        self.p9()
        self.p13()
