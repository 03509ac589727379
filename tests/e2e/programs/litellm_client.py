"""Complete with litellm, which speaks through aiohttp by default; print what came of it."""

import asyncio
import json
import sys

import litellm


async def main(url: str, stream: bool) -> dict[str, object]:
    messages = [{"role": "user", "content": "hi"}]
    try:
        answer = await litellm.acompletion(
            model="openai/m",
            messages=messages,
            api_base=f"{url}/v1",
            api_key="not-a-key",
            max_retries=0,
            stream=stream,
        )
        if stream:
            return {"text": "".join([part.choices[0].delta.content or "" async for part in answer])}
        return {"text": answer.choices[0].message.content}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


print(json.dumps(asyncio.run(main(sys.argv[1], "stream" in sys.argv[2:]))))
