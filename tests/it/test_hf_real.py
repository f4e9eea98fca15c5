"""The public hub itself, asked a few questions: only where BERTH_TEST_HUB=1, since it is beyond loopback."""
import json
import os

import pytest

from conftest import tree

pytestmark = pytest.mark.skipif(os.environ.get("BERTH_TEST_HUB") != "1", reason="BERTH_TEST_HUB=1 asks the public hub")

REPO = "hf-internal-testing/tiny-random-gpt2"


@pytest.fixture
def fetch(berth):
    def go(src, *options, **more):
        return berth("fetch", *options, src, "out", timeout=600, **more)
    return go


def test_a_small_model_comes_whole_and_verified(berth, fetch):
    got = fetch(f"hf://{REPO}", "--json")
    assert got.code == 0, got
    told, files = got.json["inputs"][0], tree(berth.cwd / "out")
    assert told["files"] == told["files_verified_by_digest"] == len(files) > 0
    json.loads(files["config.json"])
    again = fetch(f"hf://{REPO}@{told['resolved']}", "--json")
    assert again.code == 0 and again.json["inputs"][0]["bytes_received"] == 0, again


def test_one_file_of_a_dataset(berth, fetch):
    got = fetch("hf://datasets/rajpurkar/squad/README.md")
    assert got.code == 0, got
    assert list(tree(berth.cwd / "out")) == ["README.md"]


@pytest.mark.parametrize("src, says", [
    ("hf://hf-internal-testing/there-is-no-such-repository-0", ["wants a token", "no such repository"]),
    (f"hf://{REPO}@no-such-revision", ["has no revision 'no-such-revision'"]),
    (f"hf://{REPO}/confg.json", ["near it: 'config.json'"]),
    ("hf://meta-llama/Llama-2-7b/config.json", ["is gated: accept the terms at https://huggingface.co/meta-llama/Llama-2-7b", "no file"]),
])
def test_refusals_say_what_they_are(fetch, src, says):
    got = fetch(src)
    assert got.code == 1 and any(s in got.errors for s in says), got


def test_a_token_that_nobody_has_is_refused(fetch):
    got = fetch(f"hf://{REPO}", env={"HF_TOKEN": "hf_thisTokenWasNeverIssuedToAnybody0"})
    assert got.code == 1 and "does not accept the token of HF_TOKEN" in got.errors, got
