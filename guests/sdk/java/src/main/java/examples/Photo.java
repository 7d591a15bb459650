package examples;

import static java.nio.charset.StandardCharsets.UTF_8;

import guesthouse.dapr.CallError;
import guesthouse.dapr.Dapr;
import guesthouse.dapr.Drop;
import guesthouse.dapr.Event;
import guesthouse.dapr.Models;
import guesthouse.dapr.Retry;
import guesthouse.dapr.State;
import org.teavm.interop.Export;

/**
 * Counts the photos that show a person. The count is a state, saved with its etag: where another event was faster, this
 * one comes again.
 */
public final class Photo {
    private static final int SIDE = 96;

    private Photo() {}

    @Export(name = "dapr_on_topic")
    public static int onTopic() {
        return Dapr.answer(() -> {
            try {
                count();
            } catch (CallError error) {
                throw new Retry(error.getMessage());
            }
        });
    }

    private static void count() {
        State seen = Dapr.getState("statestore", "people");
        byte[] pixels = Models.pixels(Event.body(), SIDE, SIDE);
        if (pixels == null) {
            throw new Drop("the body is not a picture");
        }
        float[] input = new float[pixels.length];
        for (int i = 0; i < pixels.length; i++) {
            input[i] = pixels[i] & 255;
        }
        boolean person = Models.infer("person", new int[] {1, SIDE, SIDE, 3}, input, 2)[0] > 0.5f;

        long people = number(seen.text()) + (person ? 1 : 0);
        Dapr.saveState("statestore", "people", Long.toString(people).getBytes(UTF_8), seen.etag);
        String result = "{\"person\":" + person + ",\"people\":" + people + "}";
        Dapr.publish("pubsub", "results", result.getBytes(UTF_8), "application/json");
    }

    private static long number(String digits) {
        try {
            return digits.chars().allMatch(one -> one >= '0' && one <= '9') ? Long.parseLong(digits) : 0;
        } catch (NumberFormatException tooLarge) {
            return 0;
        }
    }

    public static void main(String[] arguments) {}
}
