"""What slime (624b824a8, sglang_engine.py) asks an engine and its router for, with a key of None; prints what came of it.

``slime_client.py ENGINE ROUTER WORKER``: the URLs at which it reaches both, and the one it registers the engine under.
It waits for the engine, registers it, flushes its cache and asks for a completion. slime tries sixty flushes, a second
apart, and says nothing of their statuses; this tries five.
"""

import json
import sys
import time

import requests

KEY = None
TRIES = 5


def flush(engine: str) -> dict[str, object]:
    statuses = []
    for _ in range(TRIES):
        statuses.append(requests.get(f"{engine}/flush_cache", timeout=30).status_code)
        if statuses[-1] == 200:
            return {"statuses": statuses}
        time.sleep(0.1)
    return {"statuses": statuses, "error": "Timeout while flushing cache."}


def main(engine: str, router: str, worker: str) -> dict[str, object]:
    # As slime writes it, whether or not there is a key.
    bearer = {"Authorization": f"Bearer {KEY}"}
    health = requests.get(f"{engine}/health_generate", headers=bearer, timeout=30)
    registered = requests.post(
        f"{router}/workers", json={"url": worker, "worker_type": "regular"}, timeout=30
    )
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    completion = requests.post(f"{router}/v1/chat/completions", headers=bearer, json=body, timeout=30)
    return {
        "health": health.status_code,
        "register": registered.status_code,
        "flush": flush(engine),
        "completion": completion.status_code,
        "text": completion.text,
    }


print(json.dumps(main(*sys.argv[1:])))
