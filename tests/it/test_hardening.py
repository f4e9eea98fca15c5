"""What protects the secrets in berth's memory from others on the machine."""
import os
import resource
import signal
import subprocess
import tempfile

import pytest

from conftest import BERTH
from faults.kit import server, source  # noqa: F401 (a fixture)

NOBODY = 65534


@pytest.fixture
def asking(server):
    """berth, run by somebody who is not root, while it waits for an answer to its listing."""
    server.put("b", "d/x", "content")
    server.rule(op="list", gate="answer", hold_at=0)
    with tempfile.TemporaryDirectory(prefix="berth-hardening.") as home:
        os.chown(home, NOBODY, NOBODY)
        env = {"PATH": os.environ["PATH"], "HOME": home, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}

        def as_nobody():
            resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)

        process = subprocess.Popen([BERTH, "fetch", source(server), f"{home}/out"], env=env, cwd=home, preexec_fn=as_nobody,
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
    asking.send_signal(signal.SIGSEGV)
    _, status = os.waitpid(asking.pid, 0)
    assert os.WTERMSIG(status) == signal.SIGSEGV and not os.WCOREDUMP(status)
