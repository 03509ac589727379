"""A small agent on the openai SDK: two turns, the second streamed; ends with 3 if the model said nothing.

It is told where the model is by OPENAI_BASE_URL, as any program that uses the SDK.
"""

import sys

import openai

client = openai.OpenAI(api_key="not-a-key", max_retries=0)
messages = [{"role": "user", "content": "hi"}]
first = client.chat.completions.create(model="m", messages=messages)
messages += [
    {"role": "assistant", "content": first.choices[0].message.content},
    {"role": "user", "content": "go on"},
]
text = "".join(
    part.choices[0].delta.content or ""
    for part in client.chat.completions.create(model="m", messages=messages, stream=True)
)
print(text)
sys.exit(3 if "fail" in sys.argv[1:] or not text else 0)
