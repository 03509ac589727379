"""One OpenHands agent that holds conversations one after the other; prints their ids.

openhands_client.py URL KEY CONVERSATIONS TURNS
"""

import json
import os
import sys
import tempfile

os.environ.update(OPENHANDS_SUPPRESS_BANNER="1", LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_LOG="ERROR")

from openhands.sdk import LLM, Agent, Conversation
from pydantic import SecretStr


def main(url: str, key: str, conversations: str, turns: str) -> list[str]:
    llm = LLM(model="openai/m", api_key=SecretStr(key), base_url=f"{url}/v1", usage_id="agent", num_retries=0)
    agent = Agent(llm=llm, tools=[])
    ids = []
    for _ in range(int(conversations)):
        held = Conversation(agent=agent, workspace=tempfile.mkdtemp(), visualizer=None)
        for turn in range(int(turns)):
            held.send_message(f"turn {turn}")
            held.run()
        ids.append(str(held.state.id))
    return ids


print(json.dumps({"ids": main(*sys.argv[1:])}))
