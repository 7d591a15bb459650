package guesthouse.dapr;

/** A call that failed. */
public final class CallError extends Failed {
    private static final long serialVersionUID = 1;

    /** gRPC's code, or a number of {@code dapr_v1} below 0 where there was no call. */
    public final int code;

    CallError(int code, String message) {
        super(message);
        this.code = code;
    }

    /** Whether the same call may succeed later: nobody answered, or not in time. */
    public boolean temporary() {
        return code == 14 || code == 4;
    }
}
