"""Ask a model for a streamed answer with an official SDK; print what came of it.

    sdk_agent.py openai|anthropic URL [MODEL]

On the first event it gets MODEL/received: a model that holds its stream open until then proves that nothing on the
way waited for the end.
"""

import json
import sys
import urllib.request

import anthropic
import openai

QUESTION = [{"role": "user", "content": "hi"}]


def deltas(sdk: str, url: str):
    if sdk == "openai":
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="not-a-key")
        for chunk in client.chat.completions.create(model="m", messages=QUESTION, stream=True):
            yield from (choice.delta.content or "" for choice in chunk.choices)
    else:
        claude = anthropic.Anthropic(base_url=url, api_key="not-a-key")
        for event in claude.messages.create(model="m", max_tokens=9, messages=QUESTION, stream=True):
            yield event.delta.text if event.type == "content_block_delta" else ""


def main(sdk: str, url: str, model: str = "") -> dict[str, object]:
    text, events = "", 0
    try:
        for delta in deltas(sdk, url):
            if not events and model:
                urllib.request.urlopen(f"{model}/received").close()
            events += 1
            text += delta
    except (openai.APIError, anthropic.APIError) as error:
        return {"error": type(error).__name__, "said": str(error)}
    return {"text": text.strip(), "events": events}


print(json.dumps(main(*sys.argv[1:])))
