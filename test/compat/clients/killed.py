#!/usr/bin/env python3
"""confluent-kafka (librdkafka): numbered records to every partition of some topics until standard input ends, idempotently and
with five requests in flight. For each acknowledgement it prints topic, partition, number and offset.
Usage: killed.py BOOTSTRAP PARTITIONS TOPIC..."""

import os
import sys
import threading
import time

from confluent_kafka import Producer

partitions, topics = int(sys.argv[2]), sys.argv[3:]
producer = Producer({
    "bootstrap.servers": sys.argv[1], "enable.idempotence": True, "max.in.flight.requests.per.connection": 5,
    "batch.size": 1000, "linger.ms": 0, "message.timeout.ms": 0, "retry.backoff.ms": 20, "retry.backoff.max.ms": 100,
    "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100,
})


def acknowledged(topic, partition, seq):
    def tell(err, m):
        if err is not None:
            print(f"{topic}-{partition}, record {seq}: {err}", file=sys.stderr, flush=True)
            os._exit(1)
        offset = m.offset()
        print(topic, partition, seq, -1 if offset is None or offset < 0 else offset)
    return tell


stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
sent = [0] * (len(topics) * partitions)
n = 0
while not stop.is_set():
    at = n % len(sent)
    topic, partition, seq = topics[at // partitions], at % partitions, sent[at]
    try:
        producer.produce(topic, partition=partition, key=b"librdkafka", value=b"%0200d" % seq, on_delivery=acknowledged(topic, partition, seq))
    except BufferError:
        producer.poll(0.1)
        continue
    sent[at] += 1
    n += 1
    if n % 3 == 0:
        producer.poll(0)
        time.sleep(0.001)
left = producer.flush(120)
if left:
    sys.exit(f"{left} records are not acknowledged")
