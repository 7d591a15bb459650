package guesthouse.dapr;

/** A state. An absent one has no data, and an empty etag. */
public final class State {
    public final byte[] data;
    public final String etag;

    State(byte[] data, String etag) {
        this.data = data;
        this.etag = etag;
    }

    /** The data as text. */
    public String text() {
        return Abi.text(data);
    }
}
