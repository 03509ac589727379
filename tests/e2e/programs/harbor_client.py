"""Ask as harbor's agents ask, in a session of its own: its LiteLLM class tries again by itself; print what came of it.

``harbor_client.py URL json`` prints one JSON object with a member for each word; harbor 0.24.0 does not stream.
"""

import asyncio
import json
import sys

from harbor.llms.lite_llm import LiteLLM


async def ask(url: str, how: str) -> dict[str, object]:
    model = LiteLLM("openai/m", api_base=f"{url}/sessions/{how}/v1", api_key="not-a-key")
    try:
        return {"text": (await model.call("hi")).content}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


async def main(url: str, hows: list[str]) -> dict[str, object]:
    return {how: await ask(url, how) for how in hows}


print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2:]))))
