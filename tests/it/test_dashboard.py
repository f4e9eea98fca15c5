"""The dashboard in a real browser, on a real server whose node is played by hand."""
import contextlib
import json
import re
import sqlite3

import pytest

from browser import Browser
from serving import JOBS, MARKET, Server, ref

GIB = 1 << 30
KINDS = ("light", "dark")
NASTY = "<img src=x onerror=\"document.title='pwned'\"><b>bold</b>"
INPUT = "s3://models/llama/"
# Expressions for Browser.until().
PILL = "document.querySelector('h1').parentElement.querySelector('.pill')?.innerText === arguments[0]"
H1 = "document.querySelector('main h1')?.innerText === arguments[0]"


@pytest.fixture(scope="module")
def chromium():
    found = Browser()
    yield found
    found.end()


@pytest.fixture
def server(tmp_path):
    found = Server(tmp_path / "server").market(description="One RTX 3090 each")
    yield found
    assert found.end() == 0, found.said


@pytest.fixture
def browser(chromium, server):
    """Its pages ask nobody but the server, and never complain; tests that provoke complaints take them themselves."""
    chromium.emulate()
    chromium.driver.get("about:blank")  # the last test's page asks its own server still
    chromium.complaints(), chromium.requests()  # pylint: disable=expression-not-assigned
    yield chromium
    chromium.undone()
    assert [u for u in chromium.requests() if not u.startswith((f"{server.url}/", "data:"))] == []
    assert chromium.complaints() == []


@pytest.fixture
def operator(server):
    return server.operator


def definition(name="render", count=1, key="llama/"):
    return {"Name": name, "Type": "batch", "Count": count, "Tasks": [
        {"Name": "main", "Engine": {"Type": "docker", "Params": {"Image": "busybox", "Parameters": ["true"]}},
         "InputSources": [{"Target": "/data", "Source": {"Type": "s3", "Params": {"Bucket": "models", "Key": key}}}]}]}


def nosana_job(resources):
    return {"version": "0.1", "type": "container", "ops": [{"id": "op", "type": "container/run", "args": {"image": "busybox", "cmd": ["true"], "resources": resources}}]}


def post(operator, name="render", count=1, **more):
    return operator.post_job(definition(name, count), **more)


def beat(node, claim, state, progress=None, **more):
    node.say("heartbeat", ready=True, running=[{**ref(claim), "state": state, **({"progress": progress} if progress else {})}], **more)


def staging(done):
    return {"inputs": [{"input": f"{INPUT} → /data", "phase": "downloading", "bytes_total": 4 * GIB, "bytes_done": done, "bytes_cached": GIB,
                        "files_total": 8, "files_done": 3}]}


def record(cached=GIB, total=4 * GIB):
    return {"berth": 1, "inputs": [{"at": "input 1", "source": "s3", "target": "/data", "bytes": total, "bytes_cached": cached, "files": 8, "fetch_ms": 2500}]}


def finish(node, claim, outcome="succeeded", code=0, **more):
    node.say("finish", **ref(claim), outcome=outcome, exit_code=code, reason="" if outcome == "succeeded" else "exit code 1", record=record(), **more)


# --- who may see what ---


def test_markets_are_for_everybody_and_the_rest_asks_for_a_token(browser, server, operator):
    post(operator)
    browser.open(server.url).shows("One RTX 3090 each")
    assert re.search(r"queued\s+1\b", browser.text(".card"))
    browser.go("/jobs").until(H1, "This needs a token")
    assert browser.focused().get_attribute("name") == "token"
    browser.focused().send_keys("berth_wrong\n")
    browser.shows("does not know this token")
    browser.find("#token").clear()
    browser.find("#token").send_keys(f"{operator.token}\n")
    browser.until(H1, "Jobs")
    browser.shows("render")
    assert operator.token not in browser.js("return document.documentElement.outerHTML + location.href + JSON.stringify(localStorage)")
    browser.button("Sign out").click()
    browser.until(H1, "This needs a token")
    complaints = browser.complaints()
    assert complaints and all("401" in c for c in complaints)  # the browser's own words for it


def test_a_poster_sees_its_own_jobs_and_no_others(browser, server, operator):
    post(operator, "someone-elses")
    poster = server.client("poster")
    post(poster, "mine")
    browser.open(server.url, "/jobs", poster.token).shows("mine")
    assert "someone-elses" not in browser.text()


def test_what_does_not_exist_is_said_and_not_asked_for_again(browser, server, operator):
    for path in ("/nowhere", "/job/j-000000000000000000000000", "/market/none", "/node/none", "/job/%E0%A4%A"):
        browser.open(server.url, path, operator.token).until(H1, "That did not work")
        assert browser.text("#status") == ""
    assert all("404" in c for c in browser.complaints())


# --- jobs ---


def test_a_job_is_followed_from_the_queue_to_its_results(browser, server, operator):
    job = post(operator, "train", labels={"team": "vision"})
    browser.open(server.url, f"/job/{job['id']}", operator.token).until(PILL, "queued")
    assert "team=vision" in browser.panel("About") and INPUT in browser.panel("Inputs")
    node = server.node(name="gpu-1")
    claim = node.claim()[0]
    beat(node, claim, "staging", staging(GIB))
    browser.until(PILL, "staging")
    beat(node, claim, "staging", staging(2 * GIB))
    browser.until("document.querySelector('[role=progressbar]')?.getAttribute('aria-valuenow') === '50'")
    inputs = browser.panel("Inputs")
    assert "2.0 GiB of 4.0 GiB, 3 of 8 files, 1.0 GiB from the cache" in inputs and "downloading" in inputs
    beat(node, claim, "running", staging(4 * GIB))
    browser.until(PILL, "running")
    node.log(ref(claim), "step 1\r\n\x1b[31mred\x1b[")
    node.log(ref(claim), "0m end", offset=len("step 1\r\n\x1b[31mred\x1b["))
    browser.shows("step 1\nred end", ".log")
    node.log(ref(claim), "careful\n", stream=2)
    browser.shows("careful", ".log .stderr")
    browser.find(".bar label:nth-of-type(2) input").click()
    assert "step 1" not in browser.text(".log") and "careful" in browser.text(".log")
    finish(node, claim, published={"Type": "s3", "Params": {"Bucket": "results", "Key": "a/"}})
    browser.until(PILL, "succeeded")
    browser.shows("ended", ".bar")
    assert browser.text("#news") == "train: succeeded"
    phases = browser.panel("Phases")
    assert all(p in phases for p in ("queued", "staging", "running"))
    assert "s3://results/a/" in browser.panel("Results") and f"{INPUT} → /data" in browser.panel("Inputs") and "took 2.5 s" in browser.panel("Inputs")
    assert browser.js("return document.querySelectorAll('main .danger').length") == 0
    assert browser.panel("History").count("gpu-1") >= 3


def test_a_job_is_stopped_after_a_question(browser, server, operator):
    job = post(operator)
    browser.open(server.url, f"/job/{job['id']}", operator.token).button("Stop this job").click()
    browser.find("dialog").find_element("name", "reason").send_keys("wrong model\n")
    browser.until(PILL, "stopped")
    assert "wrong model" in browser.panel("History")
    assert browser.focused().tag_name == "h1"  # the button is gone
    assert operator.get(f"{JOBS}/{job['id']}").json["job"]["state"] == "stopped"


def test_leaving_the_question_stops_nothing(browser, server, operator):
    job = post(operator)
    browser.open(server.url, f"/job/{job['id']}", operator.token)
    for leave in (lambda: browser.press("ESCAPE"), lambda: browser.button("Cancel").click()):
        browser.button("Stop this job").click()
        leave()
        browser.until("!document.querySelector('dialog').open")
        assert browser.focused().text == "Stop this job"
    assert operator.get(f"{JOBS}/{job['id']}").json["job"]["state"] == "queued"


def test_what_could_not_be_done_is_said_until_it_is_read(browser, server, operator):
    job = post(operator)
    browser.open(server.url, f"/job/{job['id']}", operator.token).button("Stop this job").click()
    operator.ok("DELETE", f"{JOBS}/{job['id']}")
    browser.until(PILL, "stopped")
    browser.find("#confirm-yes").click()
    browser.until("document.querySelector('#confirm-title').innerText === 'That did not work' && document.querySelector('dialog').open")
    assert "ended" in browser.text("#confirm-text")
    browser.button("Close").click()
    browser.until("!document.querySelector('dialog').open")
    assert all("409" in c for c in browser.complaints())


def test_a_tab_that_nobody_sees_keeps_no_stream_open(browser, server, operator):
    job = post(operator)
    node = server.node()
    claim = node.claim()[0]
    node.log(ref(claim), "before\n")
    browser.open(server.url, f"/job/{job['id']}", operator.token).shows("before", ".log")
    see = "Object.defineProperty(document, 'hidden', { value: arguments[0], configurable: true }); document.dispatchEvent(new Event('visibilitychange'))"
    browser.js(see, True)
    browser.shows("interrupted", ".bar")
    node.log(ref(claim), "meanwhile\n", offset=len("before\n"))
    browser.js(see, False)
    browser.shows("before\nmeanwhile", ".log")
    assert browser.text(".log").count("before") == 1


def test_each_execution_has_phases_and_a_log_of_its_own(browser, server, operator):
    job = post(operator, "many", count=3)
    node = server.node()
    for claim in node.claim(free=2):
        beat(node, claim, "running")
        node.log(ref(claim), f"this is {claim['index']}\n")
    browser.open(server.url, f"/job/{job['id']}", operator.token).shows("this is 0", ".log")
    browser.shows("2 running", "main section")
    browser.find("a[href$='/1']").click()
    browser.shows("this is 1", ".log")
    assert "Phases of execution 1" in browser.text("h2") and "this is 0" not in browser.text(".log")


def test_a_log_stays_where_its_reader_is(browser, server, operator):
    job = post(operator)
    node = server.node()
    claim = node.claim()[0]
    first = "".join(f"line {i}\n" for i in range(400))
    node.log(ref(claim), first)
    browser.open(server.url, f"/job/{job['id']}", operator.token).shows("line 399", ".log")
    at_end = "(() => { const p = document.querySelector('.log'); return p.scrollTop + p.clientHeight >= p.scrollHeight - 2; })()"
    browser.until(at_end)
    browser.js("document.querySelector('.log').scrollTop = 100")
    browser.until("!document.querySelector('.bar input').checked")
    node.log(ref(claim), "the next\n", offset=len(first))
    browser.shows("the next", ".log")
    assert browser.js("return document.querySelector('.log').scrollTop") == 100
    # Brought to the end, and up again before that is told to the page.
    browser.js("document.querySelector('.bar input').click(); document.querySelector('.log').scrollTop = 150")
    browser.until("!document.querySelector('.bar input').checked")
    browser.find(".bar input").click()
    browser.until(at_end)


def test_of_a_long_log_the_end_is_kept(browser, server, operator):
    job = post(operator)
    node = server.node()
    claim = node.claim()[0]
    piece, at = "x" * 99 + "\n", 0
    for _ in range(6):
        node.log(ref(claim), piece * 2000, offset=at)
        at += len(piece) * 2000
    node.log(ref(claim), "the end\n", offset=at)
    browser.open(server.url, f"/job/{job['id']}", operator.token).shows("the end", ".log")
    assert browser.js("return document.querySelector('.log').textContent.length") <= 500_000 + 256 * 1024
    browser.shows(f"berth job logs {job['id']}")


# --- markets and nodes ---


def test_a_market_shows_queue_nodes_holders_charts_and_history(browser, server, operator):
    hold = "ab" * 32
    operator.ok("PUT", f"{MARKET}/required-resources", {"version": 1, "required_images": ["busybox:latest"], "required_remote_resources": [{"type": "HF", "repo": "org/model"}]})
    node = server.node(name="gpu-1")
    node.say("hello", name="gpu-1", market="gpu", slots=2, labels={"rack": "b7"}, info={"version": "1", "engine": "docker 24", "os": "linux", "arch": "x86_64", "cpus": 8,
             "memory_bytes": 64 * GIB, "disk_bytes": 1000 * GIB, "gpus": [{"name": "RTX 3090", "memory_mib": 24576}] * 2})
    node.say("heartbeat", ready=True, running=[], cache={"bytes": 100 * GIB, "max_bytes": 400 * GIB, "free_bytes": 250 * GIB}, holds=[{"key": hold, "bytes": 7 * GIB}])
    post(operator, "bad")
    finish(node, node.claim()[0], "failed", 1)
    post(operator, "good")
    finish(node, node.claim()[0])
    post(operator, "going")
    beat(node, node.claim()[0], "running", cache={"bytes": 100 * GIB, "max_bytes": 400 * GIB, "free_bytes": 250 * GIB})
    post(operator, "fetches")
    beat(node, node.claim()[0], "staging", staging(2 * GIB), cache={"bytes": 100 * GIB, "max_bytes": 400 * GIB, "free_bytes": 250 * GIB})
    post(operator, "waits", priority=7)
    browser.open(server.url, "/market/gpu", operator.token).shows("waits")
    assert "going" in browser.panel("Under way") and "waits" in browser.panel("Queue") and "7" in browser.panel("Queue")
    assert "2.0 GiB of 4.0 GiB" in browser.panel("Under way")
    nodes = browser.panel("Nodes")
    assert all(t in nodes for t in ("gpu-1", "ready", "2 × RTX 3090, 24.0 GiB", "2 of 2", "100 GiB of 400 GiB", "250 GiB (25 %)")), nodes
    assert "7.0 GiB" in browser.panel("Who holds what") and "1 of 1" in browser.panel("Who holds what")
    assert "good" in browser.panel("History") and "bad" in browser.panel("History") and "exit code 1" in browser.panel("History")
    assert "busybox" in browser.panel("Every node holds") and "org/model" in browser.panel("Every node holds")
    assert browser.js("return document.querySelector('[data-key=throughput] svg.chart').getAttribute('aria-label')") == "Throughput: 1 succeeded, 1 other ends"
    assert "25 % of the last 2 jobs’ inputs" in browser.panel("Cache hits")


def keys_of_jobs(server):
    """What the server itself calls the inputs of its jobs: {hash: job}."""
    with contextlib.closing(sqlite3.connect(server.state / "market.db")) as db:
        return dict(db.execute("SELECT hold, job FROM job_holds"))


def test_what_nodes_hold_has_a_name_where_one_may_know_it(browser, server, operator):
    # What is required, asked for once more by a job, so that the server tells the hash.
    required = [{"type": "HF", "repo": "org/model", "files": ["b.bin", "a.bin"]}, {"type": "S3", "url": "s3://models/required/"}, {"type": "Ollama", "model": "llama3"}]
    operator.ok("PUT", f"{MARKET}/required-resources", {"version": 1, "required_images": [], "required_remote_resources": required})
    node = server.node(name="gpu-1")
    poster = server.client("poster")
    asked = poster.post_job(nosana_job([{**r, "target": f"/data-models/{i}", **({"IAM": {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "r"}} if r["type"] == "S3" else {})}
                                        for i, r in enumerate(required)]))
    secret = poster.post_job(definition("secret", key="hidden/"))
    shown = [poster.post_job(definition("bucket")), poster.post_job(definition("exact", key="llama/config.json")),
             poster.post_job(nosana_job([{"type": "HF", "repo": "org/whole", "target": "/data-models/w"}]))]
    keys = keys_of_jobs(server)
    assert len(keys) == 7 and {asked["id"], secret["id"], *(j["id"] for j in shown)} == set(keys.values())
    node.say("heartbeat", ready=True, running=[], holds=[{"key": k, "bytes": GIB} for k in keys])
    reader = server.client("poster")
    for job in (definition("bucket"), definition("exact", key="llama/config.json"), nosana_job([{"type": "HF", "repo": "org/whole", "target": "/data-models/w"}])):
        reader.post_job(job)
    for page, panel in (("/market/gpu", "Who holds what"), (f"/node/{node.id}", "In its cache")):
        browser.open(server.url, page, reader.token).shows("s3://models/llama/")
        held = browser.panel(panel)
        assert all(n in held for n in ("org/model (2 files)", "s3://models/required/", "llama3", "s3://models/llama/", "s3://models/llama/config.json", "hf://org/whole")), held
        assert "hidden" not in held and next(k for k, j in keys.items() if j == secret["id"])[:16] in held


def test_a_node_is_drained_and_taken_back(browser, server, operator):
    node = server.node(name="gpu-1", labels={"rack": "b7"})
    node.say("heartbeat", ready=True, running=[], peers={"sent_bytes": 3 * GIB, "got_bytes": 5 * GIB})
    browser.open(server.url, f"/node/{node.id}", operator.token).until(PILL, "ready")
    machine = browser.panel("Machine")
    assert "rack=b7" in machine and "sent to other nodes" in machine and "3.0 GiB" in machine and "5.0 GiB" in machine, machine
    browser.button("Drain").click()
    browser.find("#confirm-yes").click()
    browser.until(PILL, "draining")
    browser.button("Take jobs again").click()
    browser.until(PILL, "ready")
    browser.go("/nodes").shows("gpu-1")


def test_thousands_of_jobs_make_no_longer_page(browser, server, operator):
    post(operator, "the-first")
    node = server.node()
    finish(node, node.claim()[0], "failed", 1)
    for i in range(700):
        post(operator, f"job-{i}", labels={"batch": str(i % 2)})
    browser.open(server.url, "/market/gpu", operator.token).shows("job-")
    assert "700" in browser.text(".tiles") and "the-first" in browser.panel("History")
    assert browser.js("return document.querySelectorAll('main tr').length") < 200
    browser.find("[data-key=waiting] a[href*='state=queued']").click()
    browser.until(H1, "Jobs")
    browser.shows("job-699")
    browser.find("a[rel=next]").click()
    browser.until("!document.querySelector('main').innerText.includes('job-699')")
    browser.shows("job-649")
    browser.find("[name=label]").send_keys("batch=1\n")
    browser.until("location.hash.includes('batch')")
    browser.shows("job-699")
    assert "job-698" not in browser.text()


# --- whoever reads it ---


def walk(browser, server, operator):
    """A server with some of everything, and the pages that show it."""
    node = server.node(name="gpu-1")
    node.say("heartbeat", ready=True, running=[], cache={"bytes": 100 * GIB, "max_bytes": 400 * GIB, "free_bytes": 250 * GIB}, holds=[{"key": "ab" * 32, "bytes": GIB}])
    for outcome, code in (("succeeded", 0), ("failed", 1), ("timed_out", 137)):
        post(operator, outcome)
        finish(node, node.claim()[0], outcome, code)
    stopped = post(operator, "stopped")
    operator.ok("DELETE", f"{JOBS}/{stopped['id']}")
    job = post(operator, "going", count=2)
    claim = node.claim()[0]
    beat(node, claim, "staging", staging(2 * GIB))
    node.log(ref(claim), "out\n")
    node.log(ref(claim), "error\n", stream=2)
    pages = ["/", "/market/gpu", "/jobs", f"/job/{job['id']}", "/nodes", f"/node/{node.id}", "/signin"]
    browser.open(server.url, "/", operator.token)
    return pages


def settled(browser, page):
    browser.go(page)
    if "/job/" in page:
        browser.shows("error", ".log")
    return page


@pytest.mark.parametrize("kind", KINDS)
def test_all_text_has_enough_contrast(browser, server, operator, kind):
    browser.emulate(dark=kind == "dark")
    for page in walk(browser, server, operator):
        settled(browser, page)
        found = browser.contrasts()
        assert found and [(page, *f) for f in found if f[0] < 4.5] == []
    assert browser.js("return getComputedStyle(document.body).backgroundColor") == ("rgb(15, 19, 24)" if kind == "dark" else "rgb(244, 246, 248)")


def test_screen_readers_are_told_what_everything_is(browser, server, operator):
    for page in walk(browser, server, operator):
        settled(browser, page)
        assert [n for n in browser.names() if not n[1] and n[0] != "RootWebArea"] == [], page
        facts = browser.js("""
            const all = (css) => [...document.querySelectorAll(css)];
            const ids = all('[id]').map((e) => e.id);
            const levels = all('main h1, main h2, main h3').map((e) => Number(e.tagName[1]));
            return { h1: all('main h1').length, twice: ids.filter((x, i) => ids.indexOf(x) !== i), tables: all('table:not(:has(caption))').length,
              unknown: all('[aria-labelledby]').filter((e) => !document.getElementById(e.getAttribute('aria-labelledby'))).length,
              steps: levels.some((n, i) => n > (levels[i - 1] || 1) + 1), title: document.title, lang: document.documentElement.lang,
              live: all('[aria-live]:not([aria-live=off]), [role=status], [role=alert]').map((e) => e.id) };""")
        assert (facts["h1"], facts["twice"], facts["tables"], facts["unknown"], facts["steps"]) == (1, [], 0, 0, False), (page, facts)
        assert facts["title"].endswith(" – berth") and facts["lang"] == "en"
        # Only two places speak by themselves: what is wrong, and a job's next state.
        assert sorted(facts["live"]) == ["news", "status"]


@pytest.mark.parametrize("width", [320, 600, 1240, 2200])
def test_no_page_is_wider_than_the_screen(browser, server, operator, width):
    browser.emulate(width=width, height=700, narrow=width < 700)
    pages = walk(browser, server, operator)
    post(operator, "n" * 120)
    for page in pages:
        settled(browser, page)
        assert browser.js("return document.documentElement.scrollWidth <= innerWidth"), (page, width)


def test_on_a_phone_no_table_hides_anything_at_its_side(browser, server, operator):
    browser.emulate(width=400, height=800, narrow=True)
    for page in walk(browser, server, operator):
        settled(browser, page)
        assert browser.js("return [...document.querySelectorAll('.wide')].every((w) => w.scrollWidth <= w.clientWidth)"), page
        roles = [n["role"]["value"] for n in browser.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"] if not n.get("ignored")]
        assert page == "/signin" or {"table", "row", "columnheader", "cell"} <= set(roles), page


def test_an_empty_market_says_what_to_type(browser, server, operator):
    browser.open(server.url, "/market/gpu", operator.token).shows("berth job post --file job.json --market gpu")
    assert f"berth node start --server {server.url} --market gpu" in browser.panel("Nodes")
    assert browser.panel("History") is None and browser.panel("Who holds what") is None


def test_everything_is_reached_by_keyboard(browser, server, operator):
    job = post(operator, "by-keyboard")
    browser.open(server.url, "/", operator.token)
    browser.js("document.activeElement.blur(); document.querySelector('#skip').focus()")
    browser.press("ENTER")
    assert browser.focused().tag_name == "h1"
    # From the top: brand, Markets, Jobs.
    browser.js("document.querySelector('#skip').focus()")
    browser.press("TAB", "TAB", "TAB")
    assert browser.focused().text == "Jobs"
    browser.press("ENTER")
    browser.until(H1, "Jobs")
    assert browser.focused().tag_name == "h1"
    for _ in range(20):
        browser.press("TAB")
        if browser.focused().text == "by-keyboard":
            break
    browser.press("ENTER")
    browser.until(H1, "by-keyboard")
    for _ in range(10):
        browser.press("TAB")
        if browser.focused().text == "Stop this job":
            break
    browser.press("SPACE")
    browser.until("document.querySelector('dialog').open")
    assert browser.focused().get_attribute("name") == "reason"
    browser.press("TAB", "TAB")
    assert browser.focused().text == "Stop"
    browser.press("ENTER")
    browser.until(PILL, "stopped")


def test_a_refresh_leaves_focus_selection_scrolling_and_details_alone(browser, server, operator):
    node = server.node(name="a-node-whose-name-makes-its-table-wide")
    node.say("hello", name="wide", market="gpu", slots=4, info={"version": "1", "gpus": [{"name": "A card with a name that takes its room", "memory_mib": 24576}]})
    jobs = [post(operator, f"job-{i}") for i in range(4)]
    finish(node, node.claim()[0])
    browser.emulate(width=660, height=500, narrow=True)
    browser.open(server.url, "/market/gpu", operator.token).shows("job-3")
    browser.js("""
        const row = document.querySelector(`[data-key=waiting] tr[data-key="${arguments[0]}"]`);
        document.querySelector('[data-key=throughput] details').open = true;
        document.querySelector('[data-key=nodes] .wide').scrollLeft = 60;
        row.querySelector('a').focus({ preventScroll: true });
        getSelection().selectAllChildren(row.querySelector('.name'));
        scrollTo(0, 700);""", jobs[3]["id"])
    kept = "return [document.activeElement.innerText, String(getSelection()), document.querySelector('[data-key=nodes] .wide').scrollLeft, document.querySelector('[data-key=throughput] details').open]"
    before, top = browser.js(kept), browser.js("return scrollY")
    assert before == ["job-3", "job-3", 60, True] and top > 0
    operator.ok("DELETE", f"{JOBS}/{jobs[2]['id']}")
    post(operator, "the-newest", priority=5)
    browser.shows("the-newest")
    browser.until("!document.querySelector('[data-key=waiting]').innerText.includes('job-2')")
    assert browser.js(kept) == before


def test_what_is_typed_survives_a_refresh(browser, server, operator):
    post(operator, "first")
    browser.open(server.url, "/jobs", operator.token).shows("first")
    browser.find("[name=label]").send_keys("team=")
    browser.js("document.querySelector('[name=state]').value = 'failed'")
    post(operator, "second")
    browser.shows("second")
    assert browser.js("return [document.querySelector('[name=label]').value, document.querySelector('[name=state]').value]") == ["team=", "failed"]


# --- hard times ---


def test_names_are_text_and_nothing_else(browser, server, operator):
    server.market("odd", description=NASTY, name=NASTY)
    node = server.node("odd", name="n-1", labels={"a": NASTY})
    job = operator.post_job({**definition("odd"), "Labels": {"k": NASTY}}, market="odd")
    claim = node.claim()[0]
    node.log(ref(claim), NASTY)
    beat(node, claim, "staging", {"inputs": [{"input": NASTY, "phase": NASTY, "bytes_total": 2, "bytes_done": 1}]})
    node.say("heartbeat", ready=False, readiness=NASTY, running=[{**ref(claim), "state": "staging"}])
    browser.open(server.url, "/", operator.token).shows(NASTY)
    browser.go("/market/odd").shows(NASTY)
    browser.go(f"/node/{node.id}").shows(NASTY)
    browser.go(f"/job/{job['id']}").shows(NASTY, ".log")
    assert NASTY in browser.panel("Inputs") and NASTY in browser.panel("About")
    finish(node, claim, "failed", 1, published={"Type": "s3", "Params": {"Bucket": NASTY, "Key": ""}})
    browser.until(PILL, "failed")
    assert browser.text(".callout.failed") == "exit code 1"
    assert browser.js("return document.querySelectorAll('main img, main b b, main script').length") == 0
    assert browser.js("return document.title") == "odd – berth"


def test_a_result_is_no_link_unless_it_is_one_of_http(browser, server, operator):
    node = server.node()
    job = post(operator)
    finish(node, node.claim()[0], published={"Type": "s3", "Params": {"Bucket": "results", "Key": "a/"}})
    browser.before_pages("""
        const real = window.fetch;
        window.fetch = async (path, options) => {
          const answer = await real(path, options);
          if (!String(path).endsWith('/results')) return answer;
          const body = await answer.json();
          for (const r of body.results) r.url = 'javascript:alert(1)';
          return new Response(JSON.stringify(body), { status: 200 });
        };""")
    browser.open(server.url, f"/job/{job['id']}", operator.token).shows("s3://results/a/")
    assert browser.js("return document.querySelectorAll('[data-key=results] a').length") == 0


def test_members_may_be_missing_or_null(browser, server, operator):
    pages = walk(browser, server, operator)
    for value in ("undefined", "null"):
        browser.before_pages("""
            const real = window.fetch;
            const keep = new Set(['id', 'address', 'state', 'index', 'seq', 'to', 'error', 'markets', 'market', 'jobs', 'job', 'nodes', 'node', 'executions', 'history', 'results', 'version', 'data']);
            const thin = (x) => {
              if (Array.isArray(x)) return x.map(thin);
              if (x === null || typeof x !== 'object') return x;
              return Object.fromEntries(Object.entries(x).map(([k, v]) => [k, keep.has(k) ? thin(v) : VALUE]));
            };
            window.fetch = async (path, options) => {
              const answer = await real(path, options);
              if (!(answer.headers.get('Content-Type') || '').startsWith('application/json')) return answer;
              return new Response(JSON.stringify(thin(await answer.json())), { status: answer.status, headers: answer.headers });
            };""".replace("VALUE", value))
        for page in pages:
            browser.open(server.url, page, operator.token)
            assert browser.text("h1") != "That did not work" and browser.text("#status") == "", page
        browser.undone()


def test_a_server_that_goes_away_is_waited_for(browser, server, operator):
    browser.open(server.url, "/", operator.token).shows("One RTX 3090 each")
    server.end()
    browser.shows("Trying again", "#status")
    assert "One RTX 3090 each" in browser.text("main")
    server.options += ["--listen", server.url.removeprefix("http://")]
    server.start()
    operator.ok("PUT", MARKET, {"version": 1, "description": "is back"})
    browser.shows("is back")
    browser.until("document.querySelector('#status').innerText === ''")
    complaints = browser.complaints()
    assert complaints and all("ERR_CONNECTION" in c or "ERR_EMPTY" in c for c in complaints)


def test_pages_are_whole_typed_and_forbid_strangers(server, operator):
    for path, kind in (("/", "text/html"), ("/app.js", "text/javascript"), ("/app.css", "text/css"), ("/icon.svg", "image/svg+xml")):
        answer = operator.get(path)
        assert answer.status == 200 and answer.headers["Content-Type"].startswith(kind)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy
        assert operator("GET", path, If_None_Match=answer.headers["ETag"]).status == 304
    assert json.loads(operator.get("/api/v1/openapi.json").body)["openapi"].startswith("3.")
