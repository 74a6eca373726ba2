"""Asks to delete k-v.ai user contexts: publish.py REQUEST-ID CONTEXT-IDS, such as publish.py erasure-2 10,11

It fails unless the stream has stored the request, and then waits for the final result.
"""

import asyncio
import json
import sys
from datetime import datetime, timezone


def deletion_request(request_id, contexts):
    """Return the CloudEvent that asks to delete user contexts."""
    return {
        "specversion": "1.0",
        "id": request_id,
        "source": "/crm/erasure",
        "type": "lethe.deletion.requested.v1",
        "time": datetime.now(timezone.utc).isoformat(),
        "datacontenttype": "application/json",
        "data": {"target": "kv-user-context", "ids": contexts},
    }


async def main(request_id, contexts):
    import nats

    connection = await nats.connect("nats://127.0.0.1:4222")
    stream = connection.jetstream()
    # Subscribed before the request is published, so that no result is missed.
    results = await stream.subscribe(
        f"deletions.results.kv-user-context.{request_id}.*", ordered_consumer=True
    )
    # publish waits for the stream's acknowledgement, and raises an error without one.
    ack = await stream.publish(
        "deletions.requests.kv-user-context",
        json.dumps(deletion_request(request_id, contexts)).encode(),
        headers={"Nats-Msg-Id": request_id},
    )
    print(f"stored as {ack.seq}, duplicate: {bool(ack.duplicate)}")
    while True:
        message = await results.next_msg(timeout=60)
        result = json.loads(message.data)["data"]
        print(result["outcome"], result.get("error", ""))
        if result["final"]:
            break
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], [int(context) for context in sys.argv[2].split(",")]))
