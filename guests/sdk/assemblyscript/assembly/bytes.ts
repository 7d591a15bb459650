// Texts as UTF-8, numbers in them, and pairs of names with values.

export const NOTHING = new Uint8Array(0);

/** The UTF-8 bytes of a text. */
export function utf8(text: string): Uint8Array {
  return Uint8Array.wrap(String.UTF8.encode(text));
}

/** UTF-8 bytes as a text. */
export function text(data: Uint8Array): string {
  return String.UTF8.decodeUnsafe(data.dataStart, data.byteLength);
}

/** The number that decimal digits are, or `otherwise` for anything else and for more than 2^63 - 1. */
export function numberOf(digits: Uint8Array, otherwise: i64): i64 {
  if (digits.length == 0) return otherwise;
  let value: u64 = 0;
  for (let i = 0; i < digits.length; i++) {
    const digit: u64 = <u64>unchecked(digits[i]) - 48;
    if (digit > 9 || value > (<u64>i64.MAX_VALUE - digit) / 10) return otherwise;
    value = value * 10 + digit;
  }
  return <i64>value;
}

/** Names and values, each after their lengths. */
export function encodePairs(values: Map<string, string> | null): Uint8Array {
  if (values === null) return NOTHING;
  const names = values.keys();
  const parts = new Array<Uint8Array>();
  let size = 0;
  for (let i = 0; i < names.length; i++) {
    const name = utf8(names[i]), value = utf8(values.get(names[i]));
    parts.push(name);
    parts.push(value);
    size += 8 + name.length + value.length;
  }
  const made = new Uint8Array(size);
  let at = made.dataStart;
  for (let i = 0; i < parts.length; i += 2) {
    const name = parts[i], value = parts[i + 1];
    store<u32>(at, name.length);
    store<u32>(at + 4, value.length);
    memory.copy(at + 8, name.dataStart, name.length);
    memory.copy(at + 8 + name.length, value.dataStart, value.length);
    at += 8 + name.length + value.length;
  }
  return made;
}

export function decodePairs(data: Uint8Array): Map<string, string> {
  const found = new Map<string, string>();
  let at = data.dataStart, left: u64 = data.length;
  while (left >= 8) {
    const name = load<u32>(at), value = load<u32>(at + 4);
    left -= 8;
    at += 8;
    if (<u64>name + value > left) break;
    found.set(String.UTF8.decodeUnsafe(at, name), String.UTF8.decodeUnsafe(at + name, value));
    at += name + value;
    left -= <u64>name + value;
  }
  return found;
}

function hex(digit: u8): i32 {
  if (digit >= 48 && digit <= 57) return digit - 48;
  const lower = digit | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

/** A part of a query string, decoded. What is no escape stays as it is. */
export function unescaped(data: Uint8Array): string {
  const made = new Uint8Array(data.length);
  let size = 0;
  for (let i = 0; i < data.length; i++) {
    let byte = data[i];
    if (byte == 43) byte = 32;
    else if (byte == 37 && i + 2 < data.length && hex(data[i + 1]) >= 0 && hex(data[i + 2]) >= 0) {
      byte = <u8>((hex(data[i + 1]) << 4) | hex(data[i + 2]));
      i += 2;
    }
    made[size++] = byte;
  }
  return text(made.subarray(0, size));
}
