package guesthouse.dapr;

import java.util.Arrays;

/** A protobuf message, written and read by the numbers of its fields. */
public final class Message {
    private byte[] data;
    private int size;
    private int at; // where `find` reads

    public Message() {
        this(new byte[0]);
    }

    public Message(byte[] data) {
        this.data = data;
        this.size = data.length;
    }

    public byte[] bytes() {
        return Arrays.copyOf(data, size);
    }

    /** A number or a boolean. */
    public Message number(int field, long value) {
        return varint((long) field << 3).varint(value);
    }

    /** Bytes, unless there are none. */
    public Message bytes(int field, byte[] value) {
        return value.length == 0 ? this : inner(field, value);
    }

    /** A text, unless it is empty. */
    public Message text(int field, String value) {
        return bytes(field, Abi.utf8(value));
    }

    /** A message inside this one, also an empty one. */
    public Message message(int field, Message value) {
        return inner(field, value.bytes());
    }

    private Message inner(int field, byte[] value) {
        varint((long) field << 3 | 2).varint(value.length);
        room(value.length);
        System.arraycopy(value, 0, data, size, value.length);
        size += value.length;
        return this;
    }

    private Message varint(long value) {
        room(10);
        for (; value < 0 || value > 127; value >>>= 7) {
            data[size++] = (byte) (value | 128);
        }
        data[size++] = (byte) value;
        return this;
    }

    private void room(int more) {
        if (size + more > data.length) {
            data = Arrays.copyOf(data, Math.max(2 * data.length, size + more));
        }
    }

    /** The last field of this number that is bytes, text or a message; empty where there is none. */
    public byte[] find(int field) {
        byte[] found = new byte[0];
        at = 0;
        while (at < size) {
            long tag = readVarint();
            long length = length((int) tag & 7);
            if (length < 0 || length > size - at) {
                break; // what is malformed ends here
            }
            if (tag == ((long) field << 3 | 2)) {
                found = Arrays.copyOfRange(data, at, at + (int) length);
            }
            at += (int) length;
        }
        return found;
    }

    /** How many bytes a field of this wire type has from here on; -1 for one that there is not. */
    private long length(int type) {
        switch (type) {
            case 0:
                readVarint();
                return 0;
            case 1:
                return 8;
            case 2:
                return readVarint();
            case 5:
                return 4;
            default:
                return -1;
        }
    }

    private long readVarint() {
        long value = 0;
        for (int shift = 0; shift < 64 && at < size; shift += 7) {
            byte next = data[at++];
            value |= (next & 127L) << shift;
            if (next >= 0) {
                return value;
            }
        }
        return -1;
    }
}
