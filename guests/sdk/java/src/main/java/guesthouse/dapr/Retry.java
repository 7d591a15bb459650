package guesthouse.dapr;

/** Thrown in a handler: the same event may succeed later. */
public final class Retry extends Failed {
    private static final long serialVersionUID = 1;

    /** After how many milliseconds the event may be sent again; 0 where nothing is said. */
    final int after;

    public Retry(String message) {
        this(message, 0);
    }

    public Retry(String message, int after) {
        super(message);
        this.after = after;
    }
}
