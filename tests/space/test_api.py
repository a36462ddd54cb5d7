"""The page's functions as an API and as tools for language models."""

import ast
import asyncio
import json
import re

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from seqrec import Recommender
from tests.space.conftest import ROOT

DEMO = "http://127.0.0.1:7860"
HISTORY = ["1500", "d05", "d07"]


@pytest.fixture(scope="module")
def client(address):
    return Client(address, verbose=False)


@pytest.fixture(scope="module")
def recommender(demo_model):
    return Recommender.from_pretrained(demo_model)


def test_the_api_recommends_as_the_model_does(client, recommender):
    rows = client.predict(HISTORY, 4, api_name="/recommend")
    assert [row["item_id"] for row in rows] == [row["item_id"] for row in recommender.recommend([HISTORY], k=4)[0]]
    titles = client.predict(["Toy Story (1995)", "Babe (1995)", "Aliens (1986)"], 4, api_name="/recommend")
    assert titles == rows
    assert len(client.predict([], 3, api_name="/recommend")) == 3


def test_the_api_explains_and_finds_similar_items(client, recommender):
    events = client.predict(HISTORY, "Alien (1979)", api_name="/explain")
    wanted = recommender.explain(HISTORY, ["15001"])[0]
    assert [event["contribution"] for event in events] == pytest.approx([event["contribution"] for event in wanted])
    near = client.predict("15001", 3, api_name="/similar_items")
    assert [row["item_id"] for row in near] == [row["item_id"] for row in recommender.similar_items(["15001"], k=3)[0]]


def test_an_unknown_title_is_answered_with_the_nearest(client):
    with pytest.raises(AppError, match="Toy Story"):
        client.predict(["Toy Storry"], 3, api_name="/recommend")


def test_the_code_of_the_documentation_runs(address):
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if DEMO in block]
    assert blocks
    for block in blocks:
        exec(block.replace(DEMO, address), {})


def test_only_the_tools_are_offered(client):
    named = client.view_api(print_info=False, return_format="dict")["named_endpoints"]
    assert set(named) == {"/recommend", "/similar_items", "/explain"}


def test_a_language_model_sees_and_calls_the_tools(address, recommender):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def ask():
        async with (
            streamablehttp_client(f"{address}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            answer = await session.call_tool(tools[0].name, {"history": HISTORY, "k": 3})
            return tools, answer

    tools, answer = asyncio.run(ask())
    assert [tool.name.rsplit("_", 1)[-1] for tool in tools] == ["recommend", "items", "explain"]
    assert "oldest first" in json.dumps(tools[0].inputSchema)
    wanted = [row["item_id"] for row in recommender.recommend([HISTORY], k=3)[0]]
    assert not answer.isError and [row["item_id"] for row in ast.literal_eval(answer.content[0].text)] == wanted
