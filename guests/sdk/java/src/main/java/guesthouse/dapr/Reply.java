package guesthouse.dapr;

import org.teavm.interop.Address;

/** What the guest answers; of events that are no invocation the body alone. */
public final class Reply {
    private Reply() {}

    /** Appends to the body. */
    public static void write(byte[] data) {
        checked("reply_write", Abi.replyWrite(Address.ofData(data), data.length));
    }

    /** Appends to the body. */
    public static void text(String value) {
        write(Abi.utf8(value));
    }

    public static void contentType(String value) {
        checked("reply_set", Abi.setText(1, value));
    }

    /** HTTP's, from 200 to 599. */
    public static void status(int value) {
        checked("reply_status", Abi.replyStatus(value));
    }

    /** A header; its name has lower-case letters. */
    public static void header(String name, String value) {
        byte[] key = Abi.utf8(name);
        byte[] data = Abi.utf8(value);
        checked("reply_header", Abi.replyHeader(Address.ofData(key), key.length, Address.ofData(data), data.length));
    }

    private static void checked(String function, int result) {
        if (result < 0) {
            throw new Failed(function + " gave " + result);
        }
    }
}
