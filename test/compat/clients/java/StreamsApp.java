import static org.apache.kafka.streams.CloseOptions.GroupMembershipOperation.LEAVE_GROUP;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.config.TopicConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;

/**
 * A program on Kafka Streams. Usage: StreamsApp BOOTSTRAP STATE_DIR TOPOLOGY GUARANTEE[,GUARANTEE].
 * Each guarantee is an instance of its own, whose application id and output topics begin with
 * TOPOLOGY-GUARANTEE. It prints RUNNING when all have begun, and ends with an exit code other than 0
 * when one of them meets an error that it does not get over.
 */
public class StreamsApp {
    public static void main(String[] args) throws Exception {
        List<KafkaStreams> instances = new ArrayList<>();
        CountDownLatch end = new CountDownLatch(1);
        for (String guarantee : args[3].split(",")) {
            String id = args[2] + "-" + guarantee;
            Topology topology = args[2].equals("words") ? words(id) : once(id);
            KafkaStreams streams = new KafkaStreams(topology, settings(args[0], args[1], id, guarantee));
            streams.setUncaughtExceptionHandler(e -> {
                e.printStackTrace();
                Runtime.getRuntime().halt(1);
                return null;
            });
            instances.add(streams);
        }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            for (KafkaStreams streams : instances) {
                if (!streams.close(CloseOptions.timeout(Duration.ofSeconds(30)).withGroupMembershipOperation(LEAVE_GROUP))) {
                    System.out.println("NOT CLOSED");
                }
            }
            System.out.println("CLOSED");
        }));
        for (KafkaStreams streams : instances) {
            streams.start();
        }
        for (KafkaStreams streams : instances) {
            while (streams.state() != KafkaStreams.State.RUNNING) {
                Thread.sleep(20);
            }
        }
        System.out.println("RUNNING");
        end.await();
    }

    /** Counts words: a repartition topic, a store with its changelog, a windowed store with its own. */
    static Topology words(String id) {
        StreamsBuilder b = new StreamsBuilder();
        KGroupedStream<String, String> words = b.stream("words-in", Consumed.with(Serdes.String(), Serdes.String()))
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.with("by-word", Serdes.String(), Serdes.String()));
        words.count(Materialized.as("counts")).toStream().to(id + "-out", Produced.with(Serdes.String(), Serdes.Long()));
        words.windowedBy(TimeWindows.ofSizeWithNoGrace(Duration.ofHours(1))).count(Materialized.as("hours"));
        return b.build();
    }

    /** Passes each input on, and counts the inputs of each key in a store behind a repartition topic. */
    static Topology once(String id) {
        StreamsBuilder b = new StreamsBuilder();
        KStream<Bytes, String> in = b.stream("in", Consumed.with(Serdes.Bytes(), Serdes.String()));
        in.to(id + "-out", Produced.with(Serdes.Bytes(), Serdes.String()));
        in.groupBy((key, value) -> value.substring(9, 12), Grouped.with("by-end", Serdes.String(), Serdes.String()))
            .count(Materialized.as("counts")).toStream().to(id + "-counts", Produced.with(Serdes.String(), Serdes.Long()));
        return b.build();
    }

    static Properties settings(String bootstrap, String dir, String id, String guarantee) {
        Properties p = new Properties();
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, id);
        p.put(StreamsConfig.STATE_DIR_CONFIG, dir);
        p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, guarantee);
        p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        p.put(StreamsConfig.REPARTITION_PURGE_INTERVAL_MS_CONFIG, 200);
        p.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        // Changelogs are compacted while they grow.
        p.put(StreamsConfig.topicPrefix(TopicConfig.SEGMENT_BYTES_CONFIG), 1 << 20);
        p.put(StreamsConfig.topicPrefix(TopicConfig.MIN_CLEANABLE_DIRTY_RATIO_CONFIG), 0.1);
        p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG), 2000);
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG), 300);
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        p.put(StreamsConfig.producerPrefix(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG), 5000);
        return p;
    }
}
