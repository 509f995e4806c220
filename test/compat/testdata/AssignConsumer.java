import java.io.FileReader;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Reads a partition from its beginning with assign() and prints how many records it saw and how many offsets were missing. */
public class AssignConsumer {
    public static void main(String[] args) throws IOException {
        Properties props = new Properties();
        if (args.length > 4) { // how to reach the broker
            try (FileReader file = new FileReader(args[4])) {
                props.load(file);
            }
        }
        props.put("bootstrap.servers", args[0]);
        props.put("enable.auto.commit", "false");
        props.put("auto.offset.reset", "none");
        TopicPartition tp = new TopicPartition(args[1], Integer.parseInt(args[2]));
        long want = Long.parseLong(args[3]);
        long seen = 0, first = -1, last = -1, gaps = 0;
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(props, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(tp));
            consumer.seekToBeginning(List.of(tp));
            long deadline = System.nanoTime() + Duration.ofSeconds(60).toNanos();
            while (seen < want && System.nanoTime() < deadline) {
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(500))) {
                    if (first < 0) first = r.offset();
                    else if (r.offset() != last + 1) gaps++;
                    last = r.offset();
                    seen++;
                }
            }
        }
        System.out.println("records=" + seen + " first=" + first + " last=" + last + " gaps=" + gaps);
    }
}
