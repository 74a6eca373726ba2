"""Asks to delete k-v.ai user contexts: publish.py REQUEST-ID CONTEXT-IDS, such as publish.py erasure-3 10,11

It fails unless the stream has stored the request, and then waits for the final result.
"""

import asyncio
import json
import os
import re
import sys
from datetime import datetime, timezone

TARGET = "kv-user-context"


def deletion_request(request_id, contexts):
    """Return the CloudEvent that asks to delete user contexts."""
    return {
        "specversion": "1.0",
        "id": request_id,
        "source": "/crm/erasure",
        "type": "lethe.deletion.requested.v1",
        "time": datetime.now(timezone.utc).isoformat(),
        "datacontenttype": "application/json",
        "data": {"target": TARGET, "ids": contexts},
    }


async def publish(stream, request_id, contexts):
    """Publish the request, and return the stream's acknowledgement. Without one it raises an error."""
    ack = await stream.publish(
        f"deletions.requests.{TARGET}",
        json.dumps(deletion_request(request_id, contexts)).encode(),
        headers={"Nats-Msg-Id": request_id},
    )
    print(f"stored as {ack.seq}, duplicate: {bool(ack.duplicate)}")
    return ack


async def final_result(stream, request_id, sequence, contexts):
    """Wait for the final result. One that is stored already is read, too."""
    from nats.js.api import ConsumerConfig

    # A request whose id names another resource already is answered under its sequence.
    names = [f"deletions.results.{TARGET}.{name}.*" for name in (request_id, f"seq-{sequence}")]
    results = await stream.subscribe(
        "", stream="DELETION_RESULTS", ordered_consumer=True, config=ConsumerConfig(filter_subjects=names)
    )
    while True:
        message = await results.next_msg(timeout=60)
        result = json.loads(message.data)["data"]
        # The stream drops a request whose id it has stored in the last ten minutes, whatever the resource.
        if result["outcome"] != "invalid" and sorted(result["ids"]) != sorted(contexts):
            sys.exit(f"{request_id} asks to delete {result['ids']} already: choose a new id")
        print(result["outcome"], result.get("error", ""))
        if result["final"]:
            return result


async def main(request_id, contexts):
    import nats

    async with await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222")) as connection:
        stream = connection.jetstream()
        ack = await publish(stream, request_id, contexts)
        try:
            await final_result(stream, request_id, ack.seq, contexts)
        except nats.errors.TimeoutError:
            sys.exit("no result within a minute: the request is stored, and waits; `lethe show` says why")


if __name__ == "__main__":
    if len(sys.argv) != 3 or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", sys.argv[1]):
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1], [int(context) for context in sys.argv[2].split(",")]))
