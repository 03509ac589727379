"""Complete with litellm, which speaks through aiohttp by default, each in a session of its own; print what came of each.

``litellm_client.py URL json stream`` prints one JSON object with a member for each word.
"""

import asyncio
import json
import sys

import litellm


async def ask(url: str, how: str) -> dict[str, object]:
    try:
        answer = await litellm.acompletion(
            model="openai/m",
            messages=[{"role": "user", "content": "hi"}],
            api_base=f"{url}/sessions/{how}/v1",
            api_key="not-a-key",
            max_retries=0,
            stream=how == "stream",
        )
        if how == "stream":
            return {"text": "".join([part.choices[0].delta.content or "" async for part in answer])}
        return {"text": answer.choices[0].message.content}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


async def main(url: str, hows: list[str]) -> dict[str, object]:
    return {how: await ask(url, how) for how in hows}


print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2:]))))
