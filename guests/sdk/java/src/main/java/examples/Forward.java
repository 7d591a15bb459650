package examples;

import guesthouse.dapr.Dapr;
import guesthouse.dapr.Event;
import java.util.Map;
import org.teavm.interop.Export;

/** Asks another application for a price, and hands the answer to an output binding. */
public final class Forward {
    private Forward() {}

    @Export(name = "dapr_on_binding")
    public static int onBinding() {
        return Dapr.answer(() -> {
            byte[] price = Dapr.invoke("other", "price", Event.body(), "text/plain");
            Dapr.binding("store", "create", price, Map.of("fileName", "price"));
        });
    }

    public static void main(String[] arguments) {}
}
