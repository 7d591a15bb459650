package guesthouse.dapr;

/** Thrown in a handler: the event fails, with the message for its caller. */
public class Failed extends RuntimeException {
    private static final long serialVersionUID = 1;

    public Failed(String message) {
        super(message);
    }
}
