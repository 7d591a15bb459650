package guesthouse.dapr;

import java.io.ByteArrayOutputStream;
import org.teavm.interop.Address;

/** The event that the guest answers. */
public final class Event {
    /** The position of a digit, modulo 16, is its value. */
    private static final String HEX = "0123456789abcdef0123456789ABCDEF";

    private Event() {}

    /** The body; it may be empty. */
    public static byte[] body() {
        byte[] found = Abi.field(1);
        return found == null ? new byte[0] : found;
    }

    /** What of the event is text, by the numbers of {@code event_read}; null where the event has none. */
    public static String text(int number) {
        byte[] found = Abi.field(number);
        return found == null ? null : Abi.text(found);
    }

    /** A piece of metadata by its name in lower case (of an invocation: a header), or {@code otherwise}. */
    public static String metadata(String name, String otherwise) {
        byte[] key = Abi.utf8(name);
        int size = Abi.eventMetadata(Address.ofData(key), key.length, 0, Address.fromInt(0), 0);
        if (size < 0) {
            return otherwise;
        }
        byte[] found = new byte[size];
        Abi.eventMetadata(Address.ofData(key), key.length, 0, Address.ofData(found), size);
        return Abi.text(found);
    }

    /** The first parameter of this name in the query, decoded; null where there is none. */
    public static String query(String name) {
        String query = text(6);
        int start = 0;
        while (query != null && start < query.length()) {
            int end = query.indexOf('&', start);
            String part = query.substring(start, end < 0 ? query.length() : end);
            int split = part.indexOf('=');
            String found = unescaped(split < 0 ? part : part.substring(0, split));
            if (!part.isEmpty() && found.equals(name)) {
                return split < 0 ? "" : unescaped(part.substring(split + 1));
            }
            start += part.length() + 1;
        }
        return null;
    }

    /** A part of a query, decoded. What is no escape stays as it is. */
    private static String unescaped(String part) {
        byte[] bytes = Abi.utf8(part.replace('+', ' '));
        ByteArrayOutputStream made = new ByteArrayOutputStream();
        for (int at = 0; at < bytes.length; at++) {
            boolean escaped = bytes[at] == '%' && at + 2 < bytes.length;
            int high = escaped ? HEX.indexOf(bytes[at + 1]) : -1;
            int low = escaped ? HEX.indexOf(bytes[at + 2]) : -1;
            if (high >= 0 && low >= 0) {
                made.write(16 * (high % 16) + low % 16);
                at += 2;
            } else {
                made.write(bytes[at]);
            }
        }
        return Abi.text(made.toByteArray());
    }
}
