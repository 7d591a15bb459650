package examples;

import static java.nio.charset.StandardCharsets.UTF_8;

import guesthouse.dapr.Dapr;
import guesthouse.dapr.Drop;
import guesthouse.dapr.Event;
import guesthouse.dapr.Failed;
import guesthouse.dapr.Reply;
import guesthouse.dapr.Retry;
import org.teavm.interop.Export;

/** Fails, asks for a retry, or drops the event, as its body says. */
public final class Outcomes {
    private Outcomes() {}

    @Export(name = "dapr_on_event")
    public static int onEvent() {
        return Dapr.answer(() -> {
            switch (new String(Event.body(), UTF_8)) {
                case "error":
                    throw new Failed("the body asks for an error");
                case "retry":
                    throw new Retry("the body asks for a retry", 1500);
                case "drop":
                    throw new Drop("the body asks to be dropped");
                default:
                    Reply.text("done");
            }
        });
    }

    public static void main(String[] arguments) {}
}
