import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Sends numbered records to every partition of some topics until standard input ends, idempotently and with five requests in
 * flight. For each acknowledgement it prints topic, partition, number and offset. Usage: BOOTSTRAP PARTITIONS TOPIC...
 */
public class KillProducer {
    public static void main(String[] args) throws Exception {
        Properties props = new Properties();
        props.put("bootstrap.servers", args[0]);
        props.put("enable.idempotence", "true");
        props.put("acks", "all");
        props.put("max.in.flight.requests.per.connection", "5");
        props.put("batch.size", "1000");
        props.put("linger.ms", "0");
        props.put("delivery.timeout.ms", "1800000");
        props.put("reconnect.backoff.ms", "20");
        props.put("reconnect.backoff.max.ms", "100");
        props.put("retry.backoff.ms", "20");
        props.put("retry.backoff.max.ms", "100");
        int partitions = Integer.parseInt(args[1]);
        long[] next = new long[args.length * partitions];
        Thread input = new Thread(() -> {
            try {
                while (System.in.read() >= 0) { }
            } catch (java.io.IOException e) {
                throw new java.io.UncheckedIOException(e);
            }
        });
        input.setDaemon(true);
        input.start();
        byte[] key = "java".getBytes();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(props, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (int n = 0; input.isAlive(); n++) {
                int at = n % ((args.length - 2) * partitions), partition = at % partitions;
                String topic = args[2 + at / partitions];
                long seq = next[at]++;
                byte[] value = String.format("%0200d", seq).getBytes();
                producer.send(new ProducerRecord<>(topic, partition, key, value), (m, e) -> {
                    if (e != null) {
                        System.err.println(topic + "-" + partition + ", record " + seq + ": " + e);
                        Runtime.getRuntime().halt(1);
                    }
                    System.out.println(topic + " " + partition + " " + seq + " " + m.offset());
                });
                if (n % 3 == 2) Thread.sleep(1);
            }
            producer.flush();
        }
        System.out.flush();
    }
}
