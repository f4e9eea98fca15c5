"""What protects the secrets in berth's memory from others on the machine, and the machine from who unpacks archives."""
import contextlib
import io
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import tarfile
import tempfile

import pytest

from conftest import SHIPPED, is_sanitized
from faults.kit import server, source, wait_until  # noqa: F401 (a fixture)

pytestmark = pytest.mark.shipped

NOBODY = 65534
MIB = 1 << 20
# Sanitizers need more system calls and memory than the sandbox gives: such builds do without these two.
SANITIZED = is_sanitized(SHIPPED)


def copy_for(home):
    """The program, where those may read it who may not look into the checkout, as below /root."""
    return shutil.copy(SHIPPED, f"{home}/berth")


@pytest.fixture
def asking(server):
    """berth, run by somebody who is not root, while it waits for an answer to its listing."""
    server.put("b", "d/x", "content")
    server.rule(op="list", gate="answer", hold_at=0)
    with tempfile.TemporaryDirectory(prefix="berth-hardening.") as home:
        os.chown(home, NOBODY, NOBODY)
        env = {"PATH": os.environ["PATH"], "HOME": home, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}

        def as_nobody():
            signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # shells let what runs in the background ignore it
            resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)

        process = subprocess.Popen([copy_for(home), "fetch", source(server), f"{home}/out"], env=env, cwd=home, preexec_fn=as_nobody,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            server.wait(lambda: server.asked(op="list") or process.poll() is not None)
            assert process.poll() is None, process.communicate()
            yield process
        finally:
            server.release("answer")
            process.kill()
            process.communicate(timeout=30)


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
def test_the_memory_of_a_running_berth_is_for_root_alone(asking):
    """The kernel gives the files of a process that is not dumpable to root."""
    assert asking.poll() is None
    assert os.stat(f"/proc/{asking.pid}/mem").st_uid == 0
    read = subprocess.run(["cat", f"/proc/{asking.pid}/environ"], user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True)
    assert read.returncode != 0 and read.stdout == b""


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
def test_a_berth_that_crashes_leaves_no_core(asking):
    asking.send_signal(signal.SIGQUIT)  # sanitizers take SIGSEGV for themselves
    _, status = os.waitpid(asking.pid, 0)
    assert os.WTERMSIG(status) == signal.SIGQUIT and not os.WCOREDUMP(status)


# --- who unpacks ------------------------------------------------------------------------------------------------------

def archive_of(**files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@contextlib.contextmanager
def helper(folder):
    """The helper as berth starts it, waiting for its archive."""
    argv = [SHIPPED, "unpack-helper", "0", "0", "0"]
    with subprocess.Popen(argv, env={}, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def status_of(pid):
    return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())


def test_who_unpacks_has_no_rights_and_few_system_calls(tmp_path):
    with helper(tmp_path) as process:
        filters = "0" if SANITIZED else "2"
        wait_until(lambda: process.poll() is not None or
                   (status_of(process.pid)["NoNewPrivs"] == "1" and status_of(process.pid)["Seccomp"] == filters))
        assert process.poll() is None, process.communicate()
        now = status_of(process.pid)
        assert [now[k] for k in ("CapInh", "CapPrm", "CapEff")] == ["0" * 16] * 3
        assert pathlib.Path(f"/proc/{process.pid}/environ").read_bytes() == b""
        assert {os.readlink(f) for f in pathlib.Path(f"/proc/{process.pid}/fd").iterdir() if int(f.name) > 2} == {str(tmp_path)}
        process.communicate(archive_of(a=b"1", b=b"22"))
    assert (tmp_path / "a").read_bytes() == b"1" and (tmp_path / "b").read_bytes() == b"22"


def test_what_was_got_is_unpacked_by_a_helper_that_is_told_no_secret(berth, server, tmp_path):
    server.put("b", "r/x.tar.gz", archive_of(a=b"1"))
    log = tmp_path / "execs"
    argv, env = berth.command("job", "get", "-d", "got", f"s3://b/r/x.tar.gz,opt=endpoint={server.url}",
                              env={"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "canary-in-the-environment"})
    env["ASAN_OPTIONS"] = "detect_leaks=0"  # which does not work under strace
    done = subprocess.run(["strace", "-f", "-s", "200", "-e", "trace=execve", "-o", log, *argv], env=env, cwd=berth.cwd, capture_output=True)
    assert done.returncode == 0 and (berth.cwd / "got/a").read_bytes() == b"1", done
    (started,) = [line for line in log.read_text().splitlines() if "unpack-helper" in line]
    assert re.search(r'execve\("/proc/self/exe", \["/proc/self/exe", "unpack-helper", [^]]*\], 0x\w+ /\* 0 vars \*/\) = 0', started)
    assert "canary" not in started


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
def test_who_is_not_root_has_it_unpacked_too(server):
    """Whose /proc/self is root's, since berth is not dumpable."""
    server.put("b", "r/x.tar.gz", archive_of(a=b"1"))
    with tempfile.TemporaryDirectory(prefix="berth-hardening.") as home:
        os.chown(home, NOBODY, NOBODY)
        done = subprocess.run([copy_for(home), "job", "get", "-d", f"{home}/got", f"s3://b/r/x.tar.gz,opt=endpoint={server.url}"], cwd=home,
                              env={"PATH": os.environ["PATH"], "HOME": home, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
                              user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True)
        assert done.returncode == 0 and pathlib.Path(home, "got/a").read_bytes() == b"1", done


def test_a_helper_that_is_ended_fails_the_get_and_leaves_nothing(berth, server):
    """Here by a limit to the size of files, which stands for the filter: what comes over the network is far below it."""
    server.put("b", "r/x.tar.gz", archive_of(a=bytes(4 * MIB)))
    argv, env = berth.command("job", "get", "-d", "got", f"s3://b/r/x.tar.gz,opt=endpoint={server.url}",
                              env={"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"})
    done = subprocess.run(argv, env=env, cwd=berth.cwd, capture_output=True, text=True,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB)))
    assert done.returncode == 1 and "the helper that unpacks was ended" in done.stderr and "--raw" in done.stderr, done
    assert not (berth.cwd / "got").exists() and not (berth.cwd / "got.part").exists()


def test_the_helper_is_nobodys_command(berth):
    done = berth("unpack-helper")
    assert done.code == 2 and "berth starts this itself" in done.errors, done
