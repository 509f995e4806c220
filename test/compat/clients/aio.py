#!/usr/bin/env python3
"""aiokafka: an idempotent producer, transactions with offsets in them, groups.
Usage: aio.py BOOTSTRAP. Prints what was checked; any failure is an exit code other than 0."""

import asyncio
import json
import os
import ssl
import sys
import uuid

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.abc import AbstractTokenProvider

RECORDS = 1000
name = "aiokafka-" + uuid.uuid4().hex[:8]


class Token(AbstractTokenProvider):
    """The token of OAUTHBEARER, which is always the same."""

    def __init__(self, value):
        self.value = value

    async def token(self):
        return self.value


def connection():
    """How to reach the broker: with TLS and a login, where CLIENT_SECURITY says so."""
    c = json.loads(os.environ.get("CLIENT_SECURITY", "{}"))
    ca, cert, key = c.pop("ssl_cafile", None), c.pop("ssl_certfile", None), c.pop("ssl_keyfile", None)
    if ca:
        c["ssl_context"] = ssl.create_default_context(cafile=ca)
        if cert:
            c["ssl_context"].load_cert_chain(cert, key)
    token = c.pop("token", None)
    if token:
        c["sasl_oauth_token_provider"] = Token(token)
    return {**c, "bootstrap_servers": sys.argv[1]}


def consumer(topic, group):
    return AIOKafkaConsumer(topic, **connection(), group_id=group, auto_offset_reset="earliest",
                            enable_auto_commit=False, isolation_level="read_committed")


async def main():
    p = AIOKafkaProducer(**connection(), enable_idempotence=True, compression_type="gzip")
    await p.start()
    for i in range(RECORDS):
        await p.send(name, str(i).encode())
    await p.stop()
    p, c, moved = AIOKafkaProducer(**connection(), transactional_id=name), consumer(name, name), 0
    await p.start()
    await c.start()
    while moved < RECORDS:
        batches = await c.getmany(timeout_ms=10000)
        assert batches, f"nothing after {moved} records"
        async with p.transaction():
            offsets = {}
            for tp, batch in batches.items():
                for m in batch:
                    await p.send(name + "-out", m.value)
                offsets[tp] = batch[-1].offset + 1
                moved += len(batch)
            await p.send_offsets_to_transaction(offsets, name)
    await c.stop()
    await p.stop()
    c, got = consumer(name + "-out", name + "-reader"), 0
    await c.start()
    while got < RECORDS:
        batches = await c.getmany(timeout_ms=10000)
        assert batches, f"read {got} of {RECORDS} records"
        got += sum(map(len, batches.values()))
    await c.stop()
    assert got == RECORDS, got
    print("aiokafka: produce, transactions, groups")


asyncio.run(main())
