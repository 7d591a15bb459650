package guesthouse.dapr;

import java.util.function.Function;
import org.teavm.interop.Address;

/** A call that was begun. Calls that were begun before the first is waited for are under way at once. */
public final class Call<T> {
    private final int handle;
    private final Function<Message, T> decode;

    private Call(int handle, Function<Message, T> decode) {
        this.handle = handle;
        this.decode = decode;
    }

    /** Begins any method of Dapr's API, with its own protobuf message. */
    public static <T> Call<T> start(String method, Message request, Function<Message, T> decode) {
        byte[] name = Abi.utf8(method);
        byte[] data = request.bytes();
        Address none = Address.fromInt(0);
        int handle = Abi.callStart(Address.ofData(name), name.length, Address.ofData(data), data.length, none, 0, 0);
        return new Call<>(handle, decode);
    }

    /** Waits for the end, and gives what came back. Once; throws {@link CallError}. */
    public T await() {
        if (handle < 0) {
            throw new CallError(handle, "dapr_v1 gave " + handle);
        }
        int[] handles = {handle};
        Abi.callWait(Address.ofData(handles), 1, 1, -1);
        int status = Abi.callStatus(handle);
        byte[] found = status < 0 ? new byte[0] : read(status == 0 ? 0 : 1);
        Abi.callClose(handle);
        if (status != 0) {
            throw new CallError(status, status > 0 ? Abi.text(found) : "dapr_v1 gave " + status);
        }
        return decode.apply(new Message(found));
    }

    private byte[] read(int part) {
        int size = Abi.callRead(handle, part, 0, Address.fromInt(0), 0);
        byte[] found = new byte[Math.max(0, size)];
        Abi.callRead(handle, part, 0, Address.ofData(found), found.length);
        return found;
    }
}
