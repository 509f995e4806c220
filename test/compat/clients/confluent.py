#!/usr/bin/env python3
"""confluent-kafka (librdkafka): every codec, transactions that are committed and aborted with offsets in them,
groups of both protocols, and administration.
Usage: confluent.py BOOTSTRAP. Prints what was checked; any failure is an exit code other than 0."""

import json
import os
import sys
import time
import uuid

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic

# A token that librdkafka itself does not take is told to error_cb only.
BOOTSTRAP = {"error_cb": lambda e: print(e.str(), file=sys.stderr, flush=True),
             "bootstrap.servers": sys.argv[1],
             **json.loads(os.environ.get("CLIENT_SECURITY", "{}"))}
RECORDS = 500
name = "confluent-" + uuid.uuid4().hex[:8]
source, target = name, name + "-out"
admin = AdminClient(BOOTSTRAP)


def done(futures):
    while not all(f.done() for f in futures.values()):
        admin.poll(0.1)  # which is what calls error_cb
    return [f.result() for f in futures.values()]


def produce():
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        p = Producer({**BOOTSTRAP, "enable.idempotence": True, "compression.type": codec})
        for i in range(RECORDS):
            p.produce(source, key=str(i), value=b"x" * 100 + str(i).encode())
        assert p.flush(30) == 0, codec


def move():
    """Copies source to target; each third transaction is aborted and done again."""
    c = Consumer({**BOOTSTRAP, "group.id": name, "auto.offset.reset": "earliest", "enable.auto.commit": False,
                  "isolation.level": "read_committed"})
    c.subscribe([source])
    p = Producer({**BOOTSTRAP, "transactional.id": name})
    p.init_transactions(30)
    moved, rounds = 0, 0
    while moved < 5 * RECORDS:
        batch = c.consume(200, 10)
        assert batch, f"nothing after {moved} records"
        p.begin_transaction()
        for m in batch:
            assert not m.error(), m.error()
            p.produce(target, key=m.key(), value=m.value())
        rounds += 1
        if rounds % 3 == 0:
            p.abort_transaction(30)
            for tp in c.committed(c.assignment(), 10):
                c.seek(TopicPartition(tp.topic, tp.partition, max(tp.offset, 0)))
            continue
        p.send_offsets_to_transaction(c.position(c.assignment()), c.consumer_group_metadata(), 30)
        p.commit_transaction(30)
        moved += len(batch)
    c.close()


def read(protocol):
    """Reads target as a group of a protocol: what was committed, once."""
    c = Consumer({**BOOTSTRAP, "group.id": name + "-" + protocol, "auto.offset.reset": "earliest",
                  "isolation.level": "read_committed", "group.protocol": protocol})
    c.subscribe([target])
    got, end = 0, time.time() + 60
    while got < 5 * RECORDS and time.time() < end:
        got += len([m for m in c.consume(500, 2) if not m.error()])
    got += len(c.consume(10, 1))
    c.close()
    assert got == 5 * RECORDS, f"{protocol}: {got} records"


def administer():
    topic = ConfigResource(ConfigResource.Type.TOPIC, source, incremental_configs=[
        ConfigEntry("retention.ms", "60000", incremental_operation=AlterConfigOpType.SET)])
    done(admin.incremental_alter_configs([topic]))
    shown = done(admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, source)]))[0]
    assert shown["retention.ms"].value == "60000"
    done(admin.create_partitions([NewPartitions(source, 6)]))
    assert len(admin.list_topics(source, 10).topics[source].partitions) == 6
    groups = {g.group_id for g in admin.list_consumer_groups().result().valid}
    mine = {name, name + "-classic", name + "-consumer"}
    assert mine <= groups, groups
    done(admin.delete_consumer_groups(list(mine)))
    assert done(admin.delete_records([TopicPartition(source, 0, 10)]))[0].low_watermark == 10
    done(admin.delete_topics([source, target]))


done(admin.create_topics([NewTopic(source, 4, 1), NewTopic(target, 2, 1)]))
produce()
move()
read("classic")
read("consumer")
administer()
print("confluent-kafka: produce, transactions, both group protocols, administration")
