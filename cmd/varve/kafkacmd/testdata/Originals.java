import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;

import org.apache.kafka.common.utils.Exit;

/**
 * Runs Kafka's own tools one after the other in one process. A line of stdin is a command: its words
 * and its input, each in base64; the answer is a line with its exit code, stdout and stderr.
 * The first call of exit is the end of a command: what it prints later is thrown away.
 */
public final class Originals {
    private static final Map<String, String> TOOLS = Map.of(
        "kafka-topics", "org.apache.kafka.tools.TopicCommand",
        "kafka-configs", "kafka.admin.ConfigCommand",
        "kafka-consumer-groups", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        "kafka-console-producer", "org.apache.kafka.tools.ConsoleProducer",
        "kafka-console-consumer", "org.apache.kafka.tools.consumer.ConsoleConsumer",
        "kafka-acls", "org.apache.kafka.tools.AclCommand");

    private static final class Ended extends Error { }

    private static int code;
    private static boolean ended;
    private static final List<Runnable> HOOKS = new ArrayList<>();

    /** Forgets what comes after the end of a command. */
    private static final class Kept extends OutputStream {
        private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();

        @Override
        public synchronized void write(int b) {
            if (!ended)
                bytes.write(b);
        }
    }

    private static void end(int with) {
        if (!ended) {
            code = with;
            List<Runnable> hooks = new ArrayList<>(HOOKS);
            HOOKS.clear();
            hooks.forEach(Runnable::run); // a producer sends what it still has
            System.out.flush();
            System.err.flush();
            ended = true;
        }
        throw new Ended();
    }

    public static void main(String[] unused) throws Exception {
        PrintStream answers = System.out;
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Exit.setExitProcedure((with, why) -> end(with));
        Exit.setHaltProcedure((with, why) -> end(with));
        Exit.setShutdownHookAdder((name, hook) -> HOOKS.add(hook));
        String line;
        while ((line = in.readLine()) != null) {
            String[] parts = line.split(" ", -1);
            String[] words = text(parts[0]).split("\0", -1);
            Kept out = new Kept();
            Kept err = new Kept();
            ended = false;
            code = 0;
            HOOKS.clear();
            System.setIn(new ByteArrayInputStream(Base64.getDecoder().decode(parts[1])));
            System.setOut(new PrintStream(out, false, "UTF-8"));
            System.setErr(new PrintStream(err, false, "UTF-8"));
            String[] args = new String[words.length - 1];
            System.arraycopy(words, 1, args, 0, args.length);
            try {
                Class.forName(TOOLS.get(words[0])).getMethod("main", String[].class).invoke(null, (Object) args);
            } catch (java.lang.reflect.InvocationTargetException e) {
                if (!(e.getCause() instanceof Ended) && !ended) { // as the machine prints it
                    System.err.print("Exception in thread \"main\" ");
                    e.getCause().printStackTrace();
                    code = 1;
                }
            }
            try {
                end(code);
            } catch (Ended e) {
                answers.println(code + " " + base64(out) + " " + base64(err));
                answers.flush();
            }
        }
    }

    private static String text(String base64) {
        return new String(Base64.getDecoder().decode(base64), StandardCharsets.UTF_8);
    }

    private static String base64(Kept kept) {
        return Base64.getEncoder().encodeToString(kept.bytes.toByteArray());
    }
}
