// kafkajs: an idempotent producer, transactions with offsets in them, groups, administration.
// Usage: kafkajs.js BOOTSTRAP. Any failure is an exit code other than 0.
const { Kafka, CompressionTypes, logLevel } = require('kafkajs');

const records = 1000;
const name = 'kafkajs-' + Date.now();
const [source, target] = [name, name + '-out'];
const { token, ...security } = JSON.parse(process.env.CLIENT_SECURITY || '{}');
if (token) security.sasl = { mechanism: 'oauthbearer', oauthBearerProvider: async () => ({ value: token }) };
const kafka = new Kafka({ brokers: [process.argv[2]], logLevel: logLevel.ERROR, ...security });
const within = (ms, what, work) => Promise.race([new Promise(work), new Promise((_, no) => setTimeout(() => no(new Error('no end of ' + what())), ms))]);
const check = (ok, what) => { if (!ok) throw new Error(what); };

async function main() {
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: source, numPartitions: 3 }, { topic: target, numPartitions: 1 }] });
  const plain = kafka.producer({ idempotent: true });
  await plain.connect();
  for (const compression of [CompressionTypes.None, CompressionTypes.GZIP]) {
    const messages = Array.from({ length: records / 2 }, (_, i) => ({ key: '' + i, value: 'v' + i, headers: { h: '1' } }));
    await plain.send({ topic: source, compression, messages });
  }
  await plain.disconnect();

  const producer = kafka.producer({ transactionalId: name, maxInFlightRequests: 1, idempotent: true });
  await producer.connect();
  const mover = kafka.consumer({ groupId: name, readUncommitted: false });
  await mover.connect();
  await mover.subscribe({ topic: source, fromBeginning: true });
  let moved = 0;
  await within(60000, () => `moving, ${moved} records`, (yes, no) => mover.run({
    autoCommit: false,
    eachBatch: async ({ batch }) => {
      const txn = await producer.transaction();
      try {
        await txn.send({ topic: target, messages: batch.messages.map(({ key, value }) => ({ key, value })) });
        const offset = (BigInt(batch.lastOffset()) + 1n).toString();
        await txn.sendOffsets({ consumerGroupId: name, topics: [{ topic: source, partitions: [{ partition: batch.partition, offset }] }] });
        await txn.commit();
      } catch (e) { no(e); return; }
      if ((moved += batch.messages.length) >= records) yes();
    },
  }));
  await mover.disconnect();

  const reader = kafka.consumer({ groupId: name + '-reader', readUncommitted: false });
  await reader.connect();
  await reader.subscribe({ topic: target, fromBeginning: true });
  let got = 0;
  await within(60000, () => `reading, ${got} records`, (yes) => reader.run({ eachMessage: async () => { if (++got === records) yes(); } }));
  await reader.disconnect();

  const [offsets] = await admin.fetchOffsets({ groupId: name, topics: [source] });
  check(offsets.partitions.reduce((n, p) => n + Number(p.offset), 0) >= records, 'offsets: ' + JSON.stringify(offsets));
  await admin.alterConfigs({ validateOnly: false, resources: [{ type: 2, name: source, configEntries: [{ name: 'retention.ms', value: '70000' }] }] });
  const shown = await admin.describeConfigs({ resources: [{ type: 2, name: source, configNames: ['retention.ms'] }] });
  check(shown.resources[0].configEntries[0].configValue === '70000', 'retention.ms');
  await admin.createPartitions({ topicPartitions: [{ topic: source, count: 5 }] });
  check((await admin.fetchTopicMetadata({ topics: [source] })).topics[0].partitions.length === 5, 'partitions');
  check((await admin.describeGroups([name])).groups[0].state === 'Empty', 'state of the group');
  await admin.deleteTopicRecords({ topic: source, partitions: [{ partition: 0, offset: '5' }] });
  await admin.deleteGroups([name, name + '-reader']);
  await admin.deleteTopics({ topics: [source, target] });
  await producer.disconnect();
  await admin.disconnect();
  console.log('kafkajs: produce, transactions, groups, administration');
}

main().then(() => process.exit(0), (e) => { console.error(e); process.exit(1); });
