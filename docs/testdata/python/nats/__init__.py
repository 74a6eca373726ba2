"""The part of nats-py that the example uses. The results come from the variable RESULTS."""

import json
import os
from types import SimpleNamespace

from . import errors


async def connect(url):
    assert url == "nats://nats.example:4222"
    return Connection()


class Connection:
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    def jetstream(self):
        return self

    async def publish(self, subject, payload, headers):
        assert subject == "deletions.requests.kv-user-context"
        assert headers == {"Nats-Msg-Id": json.loads(payload)["id"]}
        return SimpleNamespace(seq=7, duplicate=None)

    async def subscribe(self, subject, stream, ordered_consumer, config):
        assert (subject, stream, ordered_consumer) == ("", "DELETION_RESULTS", True)
        assert config.filter_subjects == [
            "deletions.results.kv-user-context.erasure-1.*",
            "deletions.results.kv-user-context.seq-7.*",
        ]
        self.results = json.loads(os.environ["RESULTS"])
        return self

    async def next_msg(self, timeout):
        if not self.results:
            raise errors.TimeoutError
        return SimpleNamespace(data=json.dumps({"data": self.results.pop(0)}).encode())
