package guesthouse.dapr;

import java.nio.charset.StandardCharsets;
import org.teavm.interop.Address;
import org.teavm.interop.Import;

/**
 * The functions of the module {@code dapr_v1}. The host reads and writes arrays where they are. The garbage collector
 * may move them, but only when something is made: so an address is taken in the call that it is for.
 */
final class Abi {
    private Abi() {}

    @Import(module = "dapr_v1", name = "event_read")
    static native int eventRead(int field, int offset, Address buffer, int capacity);

    @Import(module = "dapr_v1", name = "event_metadata")
    static native int eventMetadata(Address name, int nameSize, int offset, Address buffer, int capacity);

    @Import(module = "dapr_v1", name = "reply_write")
    static native int replyWrite(Address data, int size);

    @Import(module = "dapr_v1", name = "reply_set")
    static native int replySet(int field, Address text, int size);

    @Import(module = "dapr_v1", name = "reply_status")
    static native int replyStatus(int status);

    @Import(module = "dapr_v1", name = "reply_header")
    static native int replyHeader(Address name, int nameSize, Address value, int valueSize);

    @Import(module = "dapr_v1", name = "retry_after")
    static native int retryAfter(int milliseconds);

    @Import(module = "dapr_v1", name = "call_start")
    static native int callStart(
            Address method, int methodSize, Address request, int size, Address metadata, int metadataSize, int millis);

    @Import(module = "dapr_v1", name = "call_wait")
    static native int callWait(Address handles, int count, int mode, int milliseconds);

    @Import(module = "dapr_v1", name = "call_status")
    static native int callStatus(int handle);

    @Import(module = "dapr_v1", name = "call_read")
    static native int callRead(int handle, int part, int offset, Address buffer, int capacity);

    @Import(module = "dapr_v1", name = "call_close")
    static native int callClose(int handle);

    /** A field of the event; null where it has none. */
    static byte[] field(int number) {
        int size = eventRead(number, 0, Address.fromInt(0), 0);
        if (size < 0) {
            return null;
        }
        byte[] found = new byte[size];
        eventRead(number, 0, Address.ofData(found), size);
        return found;
    }

    /** What of the reply is a text: 1 its content type, 2 why the event failed. */
    static int setText(int field, String text) {
        byte[] data = utf8(text);
        return replySet(field, Address.ofData(data), data.length);
    }

    static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] utf8) {
        return new String(utf8, StandardCharsets.UTF_8);
    }
}
