"""Jobs go where their data is: what the origin is asked for when the same input is wanted again and again."""
import pytest

import fleet
from conftest import BERTH
from shop import SIZE, Shop


@pytest.fixture
def shop(s3):
    s = Shop(BERTH, s3)
    yield s
    s.close()


@pytest.mark.parametrize("nodes", [2, 4])
def test_jobs_go_to_the_node_that_holds_their_input(shop, nodes):
    holder = shop.open(nodes).first()
    fetched = shop.relay.bytes_down
    assert fetched >= SIZE
    assert {shop.ended(shop.post(f"again{i}")) for i in range(2 * nodes)} == {holder}
    assert shop.relay.bytes_down - fetched < SIZE // 10, "the origin is asked whether it changed, and sends nothing again"


def test_a_holder_without_room_is_not_waited_for_beyond_the_window(shop):
    holder = shop.open(2).first()
    busy = shop.post("busy", ms=600000)
    fleet.eventually("the holder to be busy", lambda: shop.fleet.job(busy)["job"]["state"] == "running")
    assert shop.fleet.job(busy)["job"]["node"] == holder
    assert shop.ended(shop.post("other")) != holder
    shop.fleet.poster.once(shop.fleet.poster.hosts[0], "DELETE", f"{fleet.JOBS}/{busy}")
    assert shop.fleet.await_end(busy)["state"] == "stopped"


def test_a_holder_that_died_is_not_waited_for(shop):
    holder = shop.open(2).first()
    for n in shop.fleet.nodes:
        if n.process.name == shop.fleet.operator.get(f"/api/v1/orchestrator/nodes/{holder}")["node"]["name"]:
            n.process.kill()
    assert shop.ended(shop.post("after")) != holder
