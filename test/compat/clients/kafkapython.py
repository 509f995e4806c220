#!/usr/bin/env python3
"""kafka-python: transactions of which one is aborted, a group, administration.
Usage: kafkapython.py BOOTSTRAP. Prints what was checked; any failure is an exit code other than 0."""

import json
import logging
import os
import sys
import uuid

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from kafka.net.sasl.oauth import AbstractTokenProvider

logging.basicConfig(level=logging.WARNING)  # a login that fails is told nowhere else
name = "kafka-python-" + uuid.uuid4().hex[:8]


class Token(AbstractTokenProvider):
    """The token of OAUTHBEARER, which is always the same."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def token(self):
        return self.value


broker = {"bootstrap_servers": sys.argv[1], **json.loads(os.environ.get("CLIENT_SECURITY", "{}"))}
if "token" in broker:
    broker["sasl_oauth_token_provider"] = Token(broker.pop("token"))
admin = KafkaAdminClient(**broker)
admin.create_topics([NewTopic(name, 3, 1)])
p = KafkaProducer(**broker, acks="all", transactional_id=name)
p.init_transactions()
for k in range(5):
    p.begin_transaction()
    for i in range(100):
        p.send(name, str(i).encode())
    p.flush()
    (p.abort_transaction if k == 2 else p.commit_transaction)()
p.close()
c = KafkaConsumer(name, **broker, group_id=name, auto_offset_reset="earliest",
                  isolation_level="read_committed", consumer_timeout_ms=6000)
got = sum(1 for _ in c)
c.commit()
c.close()
assert got == 400, f"{got} of 400 committed records"
admin.delete_topics([name])
print("kafka-python: transactions, groups, administration")
