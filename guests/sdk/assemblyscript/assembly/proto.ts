// Protobuf messages: varints, texts, bytes, messages and maps of texts, and no other fields.

import { NOTHING, text, utf8 } from "./bytes";

/** A message that is written. Empty texts and bytes are left out, as proto3 does. */
export class Message {
  private data: Uint8Array = new Uint8Array(64);
  private size: i32 = 0;

  /** What was written. */
  get bytes(): Uint8Array {
    return this.data.subarray(0, this.size);
  }

  private room(more: i32): usize {
    if (this.size + more > this.data.length) {
      const larger = new Uint8Array(max(2 * this.data.length, this.size + more));
      memory.copy(larger.dataStart, this.data.dataStart, this.size);
      this.data = larger;
    }
    this.size += more;
    return this.data.dataStart + this.size - more;
  }

  private varint(value: u64): void {
    while (value > 127) {
      store<u8>(this.room(1), <u8>(value | 128));
      value >>= 7;
    }
    store<u8>(this.room(1), <u8>value);
  }

  /** A number or a boolean, also 0. */
  number(field: u32, value: u64): Message {
    this.varint(<u64>field << 3);
    this.varint(value);
    return this;
  }

  /** Bytes, unless there are none. */
  blob(field: u32, value: Uint8Array): Message {
    return value.length == 0 ? this : this.inner(field, value);
  }

  /** A text, unless it is empty. */
  text(field: u32, value: string): Message {
    return this.blob(field, utf8(value));
  }

  /** A message inside this one, also an empty one. */
  message(field: u32, inner: Message): Message {
    return this.inner(field, inner.bytes);
  }

  private inner(field: u32, value: Uint8Array): Message {
    this.varint((<u64>field << 3) | 2);
    this.varint(value.length);
    memory.copy(this.room(value.length), value.dataStart, value.length);
    return this;
  }

  /** A map of texts. */
  map(field: u32, values: Map<string, string> | null): Message {
    if (values === null) return this;
    const names = values.keys();
    for (let i = 0; i < names.length; i++)
      this.message(field, new Message().text(1, names[i]).text(2, values.get(names[i])));
    return this;
  }
}

/** Reads the fields of a message one after the other, up to the first that is malformed. */
export class Reader {
  number: u32 = 0;
  value: u64 = 0; // of a number
  bytes: Uint8Array = NOTHING; // of texts, bytes and messages
  private at: i32 = 0;

  constructor(private message: Uint8Array) {}

  private read: u64 = 0;

  private varint(): bool {
    this.read = 0;
    for (let shift: u64 = 0; shift < 70 && this.at < this.message.length; shift += 7) {
      const byte = this.message[this.at++];
      if (shift < 64) this.read |= <u64>(byte & 127) << shift;
      if (byte < 128) return true;
    }
    return false;
  }

  /** Whether there is another field, which is then in `number`, `value` and `bytes`. */
  next(): bool {
    this.value = 0;
    this.bytes = NOTHING;
    if (!this.varint()) return false;
    this.number = <u32>(this.read >> 3);
    let size: u64 = 0;
    switch (<i32>(this.read & 7)) {
      case 0: {
        const whole = this.varint();
        this.value = this.read;
        return whole;
      }
      case 1: size = 8; break;
      case 5: size = 4; break;
      case 2: {
        if (!this.varint()) return false;
        size = this.read;
        break;
      }
      default: return false;
    }
    if (size > <u64>(this.message.length - this.at)) return false;
    this.bytes = this.message.subarray(this.at, this.at + <i32>size);
    this.at += <i32>size;
    return true;
  }
}

/** The bytes of the last field of this number; none where there is no such field. */
export function find(message: Uint8Array, number: u32): Uint8Array {
  const reader = new Reader(message);
  let found = NOTHING;
  while (reader.next()) if (reader.number == number) found = reader.bytes;
  return found;
}

export function findText(message: Uint8Array, number: u32): string {
  return text(find(message, number));
}

/** The value of the last field of this number; 0 where there is no such field. */
export function findNumber(message: Uint8Array, number: u32): u64 {
  const reader = new Reader(message);
  let found: u64 = 0;
  while (reader.next()) if (reader.number == number) found = reader.value;
  return found;
}
