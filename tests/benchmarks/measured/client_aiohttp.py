"""Ask for every case with aiohttp; argument: the URL. Cases on stdin, what its caller saw on stdout, both JSON."""

import asyncio
import json
import sys

import aiohttp


async def seen(url: str, field: str) -> dict[str, object]:
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession() as session, session.get(url, timeout=timeout) as response:
        await response.read()
        return {"values": response.headers.getall(field, [])}


async def main() -> None:
    told = {}
    for case, field in json.load(sys.stdin):
        try:
            told[case] = await seen(f"{sys.argv[1]}/{case}", field)
        except Exception as error:  # old versions let an IndexError of their parser through
            told[case] = {"refused": f"{type(error).__name__}: {error}"}
    print(json.dumps(told))


asyncio.run(main())
