"""POST a completion with aiohttp; print what came of it."""

import asyncio
import json
import sys

import aiohttp


async def main(url: str, stream: bool) -> dict[str, object]:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    async with aiohttp.ClientSession() as session:
        try:
            async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                text = await response.text()
                return {
                    "status": response.status,
                    "text": text,
                    "server": response.headers.getall("server", []),
                }
        except aiohttp.ClientError as error:
            return {"error": f"{type(error).__name__}: {error}"}


print(json.dumps(asyncio.run(main(sys.argv[1], "stream" in sys.argv[2:]))))
