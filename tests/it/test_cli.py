"""The command line: words, options, settings, help, colours, bars, and what berth says about job files."""
import errno
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest
import yaml

from conftest import BERTH, ROOT, bacalhau, nosana, resource, s3_input, tree
from lab import Relay

COMMANDS = ["run", "fetch", "validate", "docker run", "cache ls", "cache stat", "cache pin", "cache unpin", "cache rm", "cache gc",
            "cache verify", "cache path", "doctor", "config show", "completion", "man", "version"]
CASES = os.environ.get("BERTH_TEST_CASES")  # a folder of real job files; its README.md says what each should be
EXAMPLES = sorted((ROOT / "examples").glob("*"))


class Terminal:
    """berth on a terminal of its own: stderr always, stdout by choice."""

    def __init__(self, berth, *args, env=None, stdout=True, columns=120):
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        argv, full = berth.command(*args, env={"TERM": "xterm", **(env or {})})
        self.process = subprocess.Popen(argv, env=full, cwd=berth.cwd, stdin=subprocess.DEVNULL, stderr=theirs,
                                        stdout=theirs if stdout else subprocess.PIPE)
        os.close(theirs)
        self.seen = b""

    def read(self, until=None, seconds=30):
        """Everything on the screen up to a pattern, or to the end."""
        end = time.monotonic() + seconds
        while until is None or not re.search(until, self.text):
            ready, _, _ = select.select([self.ours], [], [], max(0, end - time.monotonic()))
            assert ready and time.monotonic() < end, f"never came {until!r}: {self.text[-2000:]!r}"
            try:
                data = os.read(self.ours, 65536)
            except OSError as e:
                assert e.errno == errno.EIO
                data = b""
            if not data:
                assert until is None, f"ended without {until!r}: {self.text[-2000:]!r}"
                break
            self.seen += data
        return self.text

    @property
    def text(self):
        return self.seen.decode(errors="replace")

    def end(self):
        out = self.process.stdout.read() if self.process.stdout else None
        self.read()
        os.close(self.ours)
        return self.process.wait(60), out


@pytest.fixture
def terminal(berth):
    """Starts berth on a terminal; none outlives its test."""
    started = []

    def start(*args, **more):
        started.append(Terminal(berth, *args, **more))
        return started[-1]
    yield start
    for t in started:
        t.process.kill()
        t.process.wait()


# --- words and options ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("words, says", [
    (["rnu"], "did you mean 'berth run'?"), (["fetc", "x"], "did you mean 'berth fetch'?"), (["cache", "lss"], "did you mean 'berth cache ls'?"),
    (["cache"], "a second word is missing"), (["run", "--reslts", "x", "job.json"], "did you mean --results?"),
    (["run", "--pull", "sometimes", "x"], "never"), (["run", "--timeout", "soon", "x"], "duration"), (["run"], "usage: berth run FILE"),
    (["run", "a", "b"], "too many"), (["fetch", "s3://b/k"], "usage: berth fetch SRC… DIR"), (["run", "--results"], "--results"),
    (["run", "--partition", "2", "--partitions", "2", "x"], "--partition"), (["run", "--no-gpu=1", "x"], "--no-gpu"),
    (["completion", "tcsh"], "bash, zsh and fish"), (["config", "show", "--set", "nonsense"], "NAME=VALUE"), (["version", "x"], "version"),
    *((["job", "post", "-f", "job.json", "-m", "gpu", "--priority", n], "from -100 to 100") for n in ("-2000000000", "2.9", "1e30", "101")),
    (["docker", "run", "--dry-run", "--gpu", "1025", "x"], "GPUs"), (["docker", "run", "--dry-run", "--gpu", str(2**32), "x"], "GPUs"),
    (["docker", "run", "--dry-run", "--count", str(2**32), "x"], "a count above"),
    (["docker", "run", "--dry-run", "--count", str(2**32 + 1), "x"], "a count above"),
])
def test_wrong_use_ends_with_2_and_a_word_of_help(berth, words, says):
    got = berth(*words)
    assert got.code == 2 and got.out == b"" and says in got.errors, got
    assert got.errors.startswith("berth: ") and "berth: berth" not in got.errors


def test_no_command_shows_the_overview_and_is_wrong_use(berth):
    got = berth()
    assert got.code == 2 and "Commands:" in got.text
    for word in ("help", "--help", "-h"):
        got = berth(word)
        assert got.code == 0 and all(c in got.text for c in COMMANDS), got


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(berth, command):
    got = berth(*command.split(), "--help")
    assert got.code == 0 and got.errors == "" and f"berth {command}" in got.text, got
    assert "--help" in got.text and "--json" in got.text and "Examples:" in got.text
    assert max(map(len, got.text.split("Examples:")[0].splitlines())) <= 100
    assert berth(*command.split(), "-h").text == got.text


def test_options_can_stand_after_operands_and_take_an_equals_sign(berth):
    job = berth.job(nosana([], "true"))
    assert berth("validate", job, "--json").json == berth("validate", "--json", job).json
    assert berth("config", "show", "--set=cache.ttl=1h", "--json").code == 0
    assert berth("validate", "--", job).code == 0


def test_version_is_the_projects(berth):
    wanted = re.search(r"version: '([^']+)'", (ROOT / "meson.build").read_text())[1]
    assert berth("version").text == berth("--version").text == f"berth {wanted}\n"
    assert berth("version", "--json").json == {"version": wanted}


def test_errors_are_json_where_json_is_asked_for(berth):
    got = berth("run", "--json", "no-such-file.json")
    error = json.loads(got.errors)["error"]
    assert got.code == 125 and error["code"] and "no-such-file.json" in error["message"] and error["hint"]


# --- settings ---------------------------------------------------------------------------------------------------------

def shown(berth, *words, **more):
    got = berth("config", "show", "--json", *words, **more)
    assert got.code == 0, got
    return {s["name"]: (s["value"], s["from"]) for s in got.json}


def test_flags_win_over_environment_over_the_users_file_over_defaults(berth):
    assert shown(berth)["cache.ttl"] == ("24h", "default")
    user = berth.home / ".config/berth/config.yaml"
    user.parent.mkdir(parents=True)
    user.write_text("cache: {ttl: 3h, max_bytes: 7GB}\nxfer.threads: 2\nmirrors: [https://a=http://b, 'https://c=http://d']\n")
    settings = shown(berth)
    assert settings["cache.ttl"] == ("3h", str(user)) and settings["xfer.threads"] == ("2", str(user))
    assert settings["mirrors"][0] == "https://a=http://b,https://c=http://d"
    env = {"BERTH_CACHE_TTL": "4h"}
    assert shown(berth, env=env)["cache.ttl"] == ("4h", "BERTH_CACHE_TTL")
    assert shown(berth, "--set", "cache.ttl=5h", env=env)["cache.ttl"] == ("5h", "--set")
    assert shown(berth, env=env)["cache.max_bytes"] == ("7GB", str(user))
    other = berth.cwd / "other.yaml"
    other.write_text("cache.ttl: 6h\n")
    settings = shown(berth, "--config", other)
    assert settings["cache.ttl"] == ("6h", str(other)) and settings["xfer.threads"][1] == "default"


def test_the_xdg_folders_are_heeded(berth):
    (berth.home / "xdg/berth").mkdir(parents=True)
    (berth.home / "xdg/berth/config.yaml").write_text("cache.ttl: 8h\n")
    del berth.env["BERTH_CACHE_DIR"]
    settings = shown(berth, env={"XDG_CONFIG_HOME": str(berth.home / "xdg"), "XDG_CACHE_HOME": "/somewhere"})
    assert settings["cache.ttl"][0] == "8h" and settings["cache.dir"][0] == "/somewhere/berth"
    assert shown(berth)["cache.dir"][0] == f"{berth.home}/.cache/berth"


@pytest.mark.parametrize("text, says", [("cache: {tll: 1h}", "did you mean 'cache.ttl'?"), ("cache.ttl: soon", "cache.ttl"), ("[1, 2]", "mapping"),
                                        ("cache: {ttl: 1h", "config.yaml"), ("s3.addressing: sideways", "auto, path or virtual"),
                                        ("cache.max_bytes: many", "cache.max_bytes"), ("cache.durable: maybe", "true nor false")])
def test_a_wrong_setting_is_named_with_its_file(berth, text, says):
    (berth.cwd / "config.yaml").write_text(text + "\n")
    got = berth("config", "show", "--config", "config.yaml")
    assert got.code == 1 and says in got.errors and "config.yaml" in got.errors, got


def test_wrong_settings_elsewhere_name_where_they_stand(berth):
    got = berth("config", "show", env={"BERTH_CACHE_TTL": "soon"})
    assert got.code == 1 and "BERTH_CACHE_TTL" in got.errors, got
    got = berth("config", "show", "--set", "cache.tttl=1h")
    assert got.code == 1 and "cache.ttl" in got.errors, got
    got = berth("config", "show", "--config", "none.yaml")
    assert got.code == 1 and "none.yaml" in got.errors, got


def test_config_show_is_a_table_of_everything(berth):
    head, *rows = berth("config", "show").text.splitlines()
    assert head.split() == ["NAME", "VALUE", "FROM", "MEANING"]
    assert [r.split()[0] for r in rows] == list(shown(berth)) and len(rows) > 20


# --- standard input and signals ---------------------------------------------------------------------------------------

def signals(process, which):
    """The set of signals that a process catches (SigCgt) or ignores (SigIgn)."""
    line = re.search(rf"^{which}:\s*([0-9a-f]+)$", pathlib.Path(f"/proc/{process.pid}/status").read_text(), re.M)
    return {n for n in signal.Signals if int(line[1], 16) >> (n - 1) & 1}


def waiting(berth, *words, **more):
    """berth that reads from a pipe on which nothing comes."""
    argv, env = berth.command(*words)
    process = subprocess.Popen(argv, env=env, cwd=berth.cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
    end = time.monotonic() + 30
    while signal.SIGTERM not in signals(process, "SigCgt"):
        assert time.monotonic() < end and process.poll() is None
    return process


@pytest.mark.parametrize("sign, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "TERM"])
def test_a_signal_ends_the_wait_for_a_job_on_standard_input(berth, sign, code):
    process = waiting(berth, "run", "-")
    process.send_signal(sign)
    assert process.wait(30) == code
    process.communicate()


def test_what_was_ignored_before_berth_stays_ignored(berth):
    """nohup berth …"""
    process = waiting(berth, "run", "-", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert signal.SIGHUP in signals(process, "SigIgn") and signal.SIGINT in signals(process, "SigCgt")
    process.communicate(b"nothing")
    assert process.returncode == 125


def test_a_closed_standard_input_is_an_empty_one(berth):
    argv, env = berth.command("validate", "-")
    done = subprocess.run(["sh", "-c", '"$@" <&-', "sh", *argv], env=env, cwd=berth.cwd, capture_output=True, timeout=30)
    assert done.returncode == 1 and b"standard input" in done.stdout


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["version"], ["config", "show"], ["config", "show", "--json"], ["cache", "ls"]],
                         ids=" ".join)
def test_output_that_cannot_be_written_is_an_error(berth, words):
    argv, env = berth.command(*words)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(argv, env=env, cwd=berth.cwd, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1 and b"standard output" in done.stderr, done


def test_a_reader_that_has_seen_enough_is_not_told_of(berth):
    argv, env = berth.command("config", "show", "--json")
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(argv, env=env, cwd=berth.cwd, stdout=theirs, stderr=subprocess.PIPE, timeout=60)
    os.close(theirs)
    assert done.returncode == 1 and done.stderr == b"", done


def test_an_option_before_the_command_says_where_it_goes(berth):
    got = berth("--json", "cache", "ls")
    assert got.code == 2 and "after the command" in got.errors, got


def test_the_path_of_the_cache_is_json_too(berth):
    assert berth("cache", "path", "--json").json == {"path": str(berth.cache)}


# --- colours and bars -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("words", [["config", "show"], ["--help"], ["run", "--help"], ["rnu"], ["validate", "nothing.json"], ["cache", "ls"]])
def test_there_are_no_colours_off_a_terminal(berth, words):
    got = berth(*words, env={"TERM": "xterm-256color", "CLICOLOR_FORCE": "0"})
    assert b"\033" not in got.out + got.err


def test_a_terminal_gets_colours_unless_NO_COLOR_or_a_dumb_one(berth, terminal):
    for env, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)):
        t = terminal("validate", "nothing.json", env=env)
        code, _ = t.end()
        assert code == 1 and ("\033[" in t.text) == coloured, (env, t.text)


def test_what_is_piped_away_has_no_colours_even_when_errors_go_to_a_terminal(berth, terminal):
    for words in (["config", "show"], ["validate", "nothing.json"], ["cache", "ls"], ["doctor"], ["--help"]):
        t = terminal(*words, stdout=False)
        _, out = t.end()
        assert out and b"\033" not in out, words


def test_bars_show_how_far_and_how_fast_and_are_wiped_away(berth, terminal, s3):
    bucket, relay = s3.bucket(), Relay(s3.endpoint)
    s3.fill(bucket, {"d/big.bin": os.urandom(24 << 20), "d/small.bin": b"x"})
    relay.hold(10 << 20)
    t = terminal("fetch", f"s3://{bucket}/d/", "out", env={**s3.env, "AWS_ENDPOINT_URL_S3": relay.address})
    text = t.read(until=r"█+░+[^\n]* %[^\n]*MiB of 24\.0 MiB[^\n]*B/s")
    assert f"s3://{bucket}/d/" in text
    relay.release()
    code, _ = t.end()
    assert code == 0 and "\033[" in t.text and re.search(r"fetched 2 files, 24\.0 MiB", t.text), t.text[-500:]
    assert tree(berth.cwd / "out").keys() == {"d/big.bin", "d/small.bin"} or tree(berth.cwd / "out").keys() == {"big.bin", "small.bin"}


def test_bars_of_several_inputs_have_a_total_and_fit_the_width(berth, terminal, s3):
    bucket, relay = s3.bucket(), Relay(s3.endpoint)
    s3.fill(bucket, {f"{'long-name-' * 8}{d}/k": os.urandom(4 << 20) for d in "ab"})
    relay.hold(3 << 20)
    sources = [f"s3://{bucket}/{'long-name-' * 8}{d}/:/{d}" for d in "ab"]
    t = terminal("fetch", *sources, "out", env={**s3.env, "AWS_ENDPOINT_URL_S3": relay.address}, columns=80)
    text = t.read(until=r"total +(\033\[[0-9;]*m)*[█░]+[^\n]* of 8\.0 MiB[^\n]*B/s")
    relay.release()
    assert t.end()[0] == 0
    rows = [re.sub(r"\033\[[0-9;?]*[A-Za-z]", "", r).strip("\r") for r in text.split("\n") if "░" in r]
    assert rows and all(len(r) <= 80 for r in rows), rows


def test_no_progress_says_lines_instead_of_bars(berth, terminal, s3):
    bucket = s3.bucket()
    s3.put(bucket, "k", "x")
    t = terminal("fetch", "--no-progress", f"s3://{bucket}/k", "out", env=s3.env)
    assert t.end()[0] == 0 and "█" not in t.text and "fetched 1 file" in t.text


def test_quiet_says_nothing_but_errors(berth, s3, one_engine):
    bucket = s3.bucket()
    s3.put(bucket, "k", "x")
    got = berth("fetch", "-q", f"s3://{bucket}/k", "out", env=s3.env)
    assert got.code == 0 and got.out == b"" and got.err == b"", got
    got = berth("run", "-q", "--engine", one_engine, berth.job(bacalhau([s3_input(bucket, "k")], "echo only this")), env=s3.env)
    assert got.code == 0 and got.out == b"only this\n" and got.err in (b"", b"warning: "), got
    got = berth("fetch", "-q", f"s3://{bucket}/nope", "out", env=s3.env)
    assert got.code == 1 and "nope" in got.errors


def test_the_containers_output_and_the_bars_do_not_mix_on_a_pipe(berth, terminal, s3, one_engine):
    bucket = s3.bucket()
    s3.put(bucket, "k", os.urandom(1 << 20))
    t = terminal("run", "--engine", one_engine, berth.job(bacalhau([s3_input(bucket, "k")], "echo plain")), env=s3.env, stdout=False)
    code, out = t.end()
    assert code == 0 and out == b"plain\n"


def test_logs_are_lines_of_json_where_asked(berth, s3):
    bucket = s3.bucket()
    s3.put(bucket, "k", "x")
    got = berth("fetch", "-v", "--log-format", "json", "--no-progress", "-q", f"s3://{bucket}/k", "out", env=s3.env)
    lines = [json.loads(line) for line in got.errors.splitlines() if line.startswith("{")]
    assert got.code == 0 and s3.secret not in got.errors and all("level" in line or "msg" in line or line for line in lines), got


# --- completion and manual --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("words, among", [([""], {"run", "fetch", "cache", "docker", "doctor"}), (["ca"], {"cache"}), (["cache", ""], {"ls", "gc", "verify"}),
                                          (["run", "--res"], {"--results"}), (["cache", "gc", "--"], {"--all", "--dry-run"}),
                                          (["run", "--pull", ""], set())])
def test_completion_knows_the_next_word(berth, words, among):
    got = berth("completion", "words", "--", *words)
    assert got.code == 0 and among <= set(got.text.split()), got
    assert all(w.startswith(words[-1]) for w in got.text.split())


def test_bash_completes_with_the_script(berth):
    script = berth("completion", "bash").text
    (berth.cwd / "berth").symlink_to(BERTH)
    ask = script + '\nCOMP_WORDS=(berth cache ver); COMP_CWORD=2; _berth; echo "${COMPREPLY[@]}"'
    env = {**berth.env, "PATH": f"{berth.cwd}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", ask], env=env, cwd=berth.cwd, capture_output=True, text=True, timeout=60)
    assert done.stdout == "verify\n", done
    for shell in ("zsh", "fish"):
        assert "berth completion words" in berth("completion", shell).text


def test_the_manual_page_builds_and_names_every_command_and_option(berth):
    (berth.cwd / "commands.scd").write_text(berth("man").text)
    parts = [ROOT / "docs/berth.1.head.scd", berth.cwd / "commands.scd", ROOT / "docs/berth.1.tail.scd"]
    page = subprocess.run([ROOT / "docs/make-man", *parts], capture_output=True, text=True, timeout=60)
    assert page.returncode == 0 and page.stderr == "" and page.stdout.splitlines()[2:] and ".TH" in page.stdout, page.stderr
    plain = page.stdout.replace("\\-", "-").replace("\\fR", "").replace("\\fB", "")
    for command in COMMANDS:
        assert command in plain, command
    for option in re.findall(r"--[a-z][a-z-]+", berth("run", "--help").text):
        assert option in plain, option


# --- doctor -----------------------------------------------------------------------------------------------------------

def test_doctor_tells_what_it_found(berth, engine, s3):
    got = berth("doctor", "--json", "--set", f"engine={engine}", "--set", f"s3.endpoint={s3.endpoint}", env=s3.env)
    rows = {r["check"]: r for r in got.json}
    assert got.code == 0, got
    assert rows["engine"]["state"] == "ok" and engine in rows["engine"]["found"]
    assert rows["gpu"]["state"] == "note" and "--no-gpu" in rows["gpu"]["hint"]
    assert rows["s3 credentials"]["state"] == "ok" and rows["clock"]["state"] == "ok" and s3.endpoint in rows["clock"]["found"]
    assert s3.secret not in got.text
    assert {"cgroups", "disk", "open files", "kernel"} <= set(rows)


def test_doctor_ends_with_1_and_a_hint_where_jobs_could_not_run(berth, tmp_path):
    got = berth("doctor", "--set", f"engine=unix://{tmp_path}/none.sock")
    assert got.code == 1 and re.search(r"^bad +engine", got.text, re.M) and "→" in got.text, got
    (berth.cwd / "file").write_text("")
    got = berth("doctor", "--json", "--set", f"engine=unix://{tmp_path}/none.sock", "--set", f"cache.dir={berth.cwd}/file")
    assert {r["check"] for r in got.json if r["state"] == "bad"} == {"engine", "cache"}


# --- job files --------------------------------------------------------------------------------------------------------

def test_validate_touches_no_network(berth, s3):
    relay = Relay(s3.endpoint)
    job = berth.job(nosana([resource(f"{relay.address}/bucket/key")], "true"))
    assert berth("validate", job, env={"BERTH_ENGINE": "unix:///none"}).code == 0 and relay.requests == []


@pytest.mark.parametrize("file", EXAMPLES, ids=[e.name for e in EXAMPLES])
def test_the_examples_are_valid_to_the_letter(berth, file):
    got = berth("validate", "--strict", file)
    assert got.code == 0, got


def without(job, *path):
    *way, last = path
    at = job
    for step in way:
        at = at[step]
    del at[last]
    return job


def given(job, value, *path):
    *way, last = path
    at = job
    for step in way:
        at = at[step]
    at[last] = value
    return job


def n_job():
    return nosana([resource("https://host/bucket/key", IAM={"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"})], "true")


def b_job():
    return bacalhau([s3_input("bucket", "key")], "true")


ARGS, RES, TASK, SRC = ("ops", 0, "args"), ("ops", 0, "args", "resources", 0), ("Tasks", 0), ("Tasks", 0, "InputSources", 0, "Source")
BAD = {
    "nosana op without an id": (without(n_job(), "ops", 0, "id"), "ops[0].id"),
    "nosana unknown key": (given(n_job(), 1, *ARGS, "comand"), "comand"),
    "nosana unknown resource type": (given(n_job(), "S4", *RES, "type"), "S3"),
    "nosana relative target": (given(n_job(), "data", *RES, "target"), "target"),
    "nosana target of the system": (given(n_job(), "/proc/x", *RES, "target"), "/proc"),
    "nosana wrong version": (given(n_job(), "9", "version"), "0.1"),
    "nosana cmd of a wrong type": (given(n_job(), 3, *ARGS, "cmd"), "cmd"),
    "bacalhau unknown root key": (given(b_job(), 1, "Nmae"), "unknown field: 'Nmae' in 'Job'"),
    "bacalhau field of the server": (given(b_job(), "x", "ID"), "field: 'ID' in 'Job' is not allowed"),
    "bacalhau two tasks": (given(b_job(), b_job()["Tasks"] * 2, "Tasks"), "one task"),
    "bacalhau service": (given(b_job(), "service", "Type"), "not supported"),
    "bacalhau wasm": (given(b_job(), "wasm", *TASK, "Engine", "Type"), "not supported"),
    "bacalhau ipfs": (given(b_job(), {"Type": "ipfs", "Params": {}}, *TASK, "Publisher"), "not supported"),
    "bacalhau bucket missing": (without(b_job(), *SRC, "Params", "Bucket"), "Bucket"),
    "bacalhau wrong filter": (given(b_job(), "(", *SRC, "Params", "Filter"), "Filter"),
    "bacalhau wrong memory": (given(b_job(), {"Memory": "much"}, *TASK, "Resources"), "Memory"),
    "bacalhau wrong checksum": (given(b_job(), "abc", *SRC, "Params", "ChecksumSHA256"), "ChecksumSHA256"),
    "neither": ({"hello": 1}, "Tasks"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("form", ["json", "yaml"])
def test_validate_names_what_is_wrong_and_run_says_the_same(berth, name, form):
    job, says = BAD[name]
    file = berth.job(json.dumps(job, indent=1) if form == "json" else yaml.safe_dump(job), f"job.{form}")
    got = berth("validate", file)
    assert got.code == 1 and says.lower() in got.text.lower() and f"job.{form}" in got.text, got
    ran = berth("run", file, env={"BERTH_ENGINE": "unix:///none"})
    assert ran.code == 125 and says.lower() in ran.errors.lower(), ran


def test_validate_tells_several_files_apart_in_text_and_json(berth):
    good, bad = berth.job(n_job(), "good.json"), berth.job(BAD["neither"][0], "bad.json")
    got = berth("validate", good, bad)
    assert got.code == 1 and f"{good}: ok" in got.text and f"{bad}: error" in got.text
    first, second = berth("validate", "--json", good, bad).json
    assert first["ok"] and first["dialect"] == "nosana" and first["inputs"] == 1 and not second["ok"] and second["error"]
    assert berth("validate", good).code == 0


@pytest.mark.parametrize("word", ["validate", "run"])
@pytest.mark.parametrize("type", ["docker", "dokcer", "noop\x1b[31m\x9b2J"])
def test_nothing_in_a_job_file_drives_the_terminal(berth, word, type):
    job = given(given(b_job(), {"Type": type, "Params": {"Image": "i"}}, *TASK, "Engine"), 1, *TASK, "x\x1b[31m\x9b2J\nRED\x1b]52;c;cm0\x07")
    file = berth.job({**job, "Name": "n\x1b[2J\x1b]0;mine\x07"}, "job\x1b[1m.json")
    got = berth(word, file, env={"BERTH_ENGINE": "unix:///none"})
    assert "RED" in got.text + got.errors or type != "docker", got
    assert not [c for c in got.text + got.errors if ord(c) < 32 and c != "\n" or 127 <= ord(c) < 160], got


def test_strict_makes_warnings_errors(berth):
    job = berth.job(given(b_job(), "odd", "Tasks", 0, "Unheard"))
    loose = berth("validate", job)
    assert loose.code == 0 and "warning" in loose.text and "Unheard" in loose.text, loose
    assert berth("validate", "--strict", job).code == 1 and berth("run", "--strict", job).code == 125


def verdicts():
    if not CASES:
        return []
    return re.findall(r"^\| (\S+\.(?:json|yaml)) \| (\w+) \|", pathlib.Path(CASES, "README.md").read_text(), re.M)


@pytest.mark.skipif(not CASES, reason="BERTH_TEST_CASES names no folder of real job files")
@pytest.mark.parametrize("file, verdict", verdicts() or [("", "")], ids=lambda x: x.rsplit("/", 1)[-1][:60])
def test_real_job_files_get_their_verdict(berth, file, verdict):
    got = berth("validate", "--json", pathlib.Path(CASES, file))
    (answer,) = got.json
    if verdict == "ok":
        assert got.code == 0 and answer["ok"], got
        return
    assert got.code == 1 and not answer["ok"], got
    if verdict == "unsupported":
        assert answer["code"] == "unsupported" and "not supported" in answer["error"], got
    elif verdict == "market":
        assert "required-resources" in answer["error"], got
    elif verdict == "template":
        names = dict.fromkeys(re.findall(r"give it with -V (\w+)=", answer["error"]))
        assert names, got
        given_now = [w for n in names for w in ("-V", f"{n}=value")]
        assert berth("validate", *given_now, pathlib.Path(CASES, file)).code == 0
    else:
        assert verdict == "reject" and answer["error"], got
