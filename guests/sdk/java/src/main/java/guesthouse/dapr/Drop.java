package guesthouse.dapr;

/** Thrown in a handler: the event is at fault, and sending it again cannot help. */
public final class Drop extends Failed {
    private static final long serialVersionUID = 1;

    public Drop(String message) {
        super(message);
    }
}
