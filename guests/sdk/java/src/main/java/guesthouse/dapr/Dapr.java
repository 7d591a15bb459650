package guesthouse.dapr;

import java.util.Map;

/** The outcome of an event, and the calls that the five examples make; {@link Call#start} makes all others. */
public final class Dapr {
    private static final int DONE = 0;
    private static final int FAILED = 1;
    private static final int RETRY = 2;
    private static final int DROP = 3;

    private Dapr() {}

    /** What an exported handler returns: the outcome of the event that {@code handler} answers. */
    public static int answer(Runnable handler) {
        try {
            handler.run();
            return DONE;
        } catch (Throwable error) {
            Abi.setText(2, error.getMessage() == null ? error.getClass().getName() : error.getMessage());
            if (error instanceof Drop) {
                return DROP;
            }
            if (error instanceof Retry) {
                if (((Retry) error).after > 0) {
                    Abi.retryAfter(((Retry) error).after);
                }
                return RETRY;
            }
            return error instanceof CallError && ((CallError) error).temporary() ? RETRY : FAILED;
        }
    }

    public static Call<State> startGetState(String store, String key) {
        Message request = new Message().text(1, store).text(2, key);
        return Call.start("GetState", request, found -> new State(found.find(1), Abi.text(found.find(2))));
    }

    public static State getState(String store, String key) {
        return startGetState(store, key).await();
    }

    /** Saves a state only if it still has this etag, as getState gave it; an empty one: if it is still absent. */
    public static void saveState(String store, String key, byte[] data, String etag) {
        Message item = new Message().text(1, key).bytes(2, data);
        if (!etag.isEmpty()) {
            item.message(3, new Message().text(1, etag));
        }
        item.message(5, new Message().number(1, 1)); // the first write wins
        Call.start("SaveState", new Message().text(1, store).message(2, item), found -> found).await();
    }

    public static void publish(String pubsub, String topic, byte[] data, String contentType) {
        Message request = new Message().text(1, pubsub).text(2, topic).bytes(3, data).text(4, contentType);
        Call.start("PublishEvent", request, found -> found).await();
    }

    /** Calls a method of another application by POST, and gives its answer. */
    public static byte[] invoke(String app, String method, byte[] data, String contentType) {
        Message message = new Message().text(1, method).message(2, new Message().bytes(2, data)).text(3, contentType);
        message.message(4, new Message().number(1, 3)); // POST
        Message request = new Message().text(1, app).message(3, message);
        return Call.start("InvokeService", request, found -> new Message(found.find(1)).find(2)).await();
    }

    /** Uses an output binding, and gives what it answers. */
    public static byte[] binding(String name, String operation, byte[] data, Map<String, String> metadata) {
        Message request = new Message().text(1, name).bytes(2, data);
        metadata.forEach((key, value) -> request.message(3, new Message().text(1, key).text(2, value)));
        return Call.start("InvokeBinding", request.text(4, operation), found -> found.find(1)).await();
    }
}
