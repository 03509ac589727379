"""POST completions with aiohttp, each in a session of its own; print what came of each.

``aiohttp_client.py URL json stream`` prints one JSON object with a member for each word.
"""

import asyncio
import json
import sys

import aiohttp


async def ask(url: str, how: str) -> dict[str, object]:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": how == "stream"}
    async with aiohttp.ClientSession() as session:
        try:
            async with session.post(f"{url}/sessions/{how}/v1/chat/completions", json=body) as response:
                return {"status": response.status, "text": await response.text()}
        except aiohttp.ClientError as error:
            return {"error": f"{type(error).__name__}: {error}"}


async def main(url: str, hows: list[str]) -> dict[str, object]:
    return {how: await ask(url, how) for how in hows}


print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2:]))))
