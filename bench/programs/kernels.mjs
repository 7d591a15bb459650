// The kernels of guests/kernels/src/main.rs in JavaScript, step by step, and the classifier's own part
// (guests/classify/src/lib.rs). Node runs them, and so does a guest of ours.

export function answer(input) {
  const [kernel, number] = input.split(/\s+/);
  const own = { sha256, nbody, records, parsed }[kernel];
  return own === undefined ? input : own(Number(number));
}

// ---- sha256 ----

const K = Int32Array.of(
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
);

function hex(number, digits) {
  return (number >>> 0).toString(16).padStart(digits, "0");
}

function sha256(kib) {
  const message = Uint8Array.from({ length: 1024 }, (_, i) => Math.floor((i * i) / 7));
  const state = Int32Array.of(
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
  );
  const w = new Int32Array(64);
  for (let i = 0; i < kib; i++) {
    for (let at = 0; at < 1024; at += 64) compress(state, message, at, w);
  }
  const last = new Uint8Array(64);
  last[0] = 0x80;
  const bits = new DataView(last.buffer);
  bits.setUint32(56, Math.floor((kib * 8192) / 2 ** 32));
  bits.setUint32(60, kib * 8192);
  compress(state, last, 0, w);
  return Array.from(state, (word) => hex(word, 8)).join("");
}

function compress(state, message, at, w) {
  for (let i = 0; i < 16; i++, at += 4) {
    w[i] = (message[at] << 24) | (message[at + 1] << 16) | (message[at + 2] << 8) | message[at + 3];
  }
  for (let i = 16; i < 64; i++) {
    const u = w[i - 15], v = w[i - 2];
    const s0 = ((u >>> 7) | (u << 25)) ^ ((u >>> 18) | (u << 14)) ^ (u >>> 3);
    const s1 = ((v >>> 17) | (v << 15)) ^ ((v >>> 19) | (v << 13)) ^ (v >>> 10);
    w[i] = (w[i - 16] + s0 + w[i - 7] + s1) | 0;
  }
  let a = state[0], b = state[1], c = state[2], d = state[3];
  let e = state[4], f = state[5], g = state[6], h = state[7];
  for (let i = 0; i < 64; i++) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
  state[5] += f;
  state[6] += g;
  state[7] += h;
}

// ---- nbody ----

const DAYS = 365.24, SUN = 39.47841760435743, STEP = 0.01;

class Body {
  constructor(x, y, z, vx, vy, vz, mass) {
    this.x = x;
    this.y = y;
    this.z = z;
    this.vx = vx * DAYS;
    this.vy = vy * DAYS;
    this.vz = vz * DAYS;
    this.mass = mass * SUN;
  }
}

function bodies() {
  return [
    new Body(0, 0, 0, 0, 0, 0, 1),
    new Body(4.84143144246472, -1.1603200440274284, -0.10362204447112311,
      0.001660076642744037, 0.007699011184197404, -6.90460016972063e-5, 0.0009547919384243266),
    new Body(8.34336671824458, 4.124798564124305, -0.403523417114321,
      -0.002767425107268624, 0.004998528012349172, 2.3041729757376393e-5, 0.0002858859806661308),
    new Body(12.89436956213913, -15.111151401698631, -0.22330757889265573,
      0.002964601375647616, 0.0023784717395948095, -2.9658956854023756e-5, 4.366244043351563e-5),
    new Body(15.379697114850917, -25.919314609987964, 0.17925877295037118,
      0.0026806777249038932, 0.001628241700382423, -9.515922545197159e-5, 5.1513890204661145e-5),
  ];
}

function nbody(steps) {
  const all = bodies();
  for (let n = 0; n < steps; n++) {
    for (let i = 0; i < all.length; i++) {
      const a = all[i];
      for (let j = i + 1; j < all.length; j++) {
        const b = all[j];
        const dx = a.x - b.x, dy = a.y - b.y, dz = a.z - b.z;
        const square = dx * dx + dy * dy + dz * dz;
        const by = STEP / (square * Math.sqrt(square));
        const mine = a.mass * by, other = b.mass * by;
        a.vx -= dx * other;
        a.vy -= dy * other;
        a.vz -= dz * other;
        b.vx += dx * mine;
        b.vy += dy * mine;
        b.vz += dz * mine;
      }
    }
    for (const body of all) {
      body.x += STEP * body.vx;
      body.y += STEP * body.vy;
      body.z += STEP * body.vz;
    }
  }
  let energy = 0;
  for (let i = 0; i < all.length; i++) {
    const a = all[i];
    energy += 0.5 * a.mass * (a.vx * a.vx + a.vy * a.vy + a.vz * a.vz);
    for (let j = i + 1; j < all.length; j++) {
      const b = all[j];
      const dx = a.x - b.x, dy = a.y - b.y, dz = a.z - b.z;
      energy -= (a.mass * b.mass) / Math.sqrt(dx * dx + dy * dy + dz * dz);
    }
  }
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, energy);
  return hex(bits.getUint32(0), 8) + hex(bits.getUint32(4), 8);
}

// ---- records ----

class Text {
  constructor() {
    this.bytes = new Uint8Array(1 << 16);
    this.size = 0;
  }

  push(byte) {
    if (this.size === this.bytes.length) {
      const more = new Uint8Array(2 * this.size);
      more.set(this.bytes);
      this.bytes = more;
    }
    this.bytes[this.size++] = byte;
  }

  text(text) {
    for (let i = 0; i < text.length; i++) this.push(text.charCodeAt(i));
  }

  number(number) {
    this.text(String(number));
  }
}

class Random {
  constructor() {
    this.seed = 1;
  }

  next() {
    this.seed = (Math.imul(this.seed, 1664525) + 1013904223) | 0;
    return this.seed >>> 8;
  }
}

function written(count) {
  const text = new Text(), random = new Random();
  text.text("[");
  for (let i = 0; i < count; i++) {
    if (i > 0) text.text(",");
    text.text('{"id":');
    text.number(random.next());
    text.text(',"name":"');
    for (let length = 4 + (random.next() % 12); length > 0; length--) text.push(97 + (random.next() % 26));
    text.text('","sizes":[');
    text.number(random.next() % 1000);
    text.text(",");
    text.number(random.next() % 1000);
    text.text("]}");
  }
  text.text("]");
  return text.bytes.subarray(0, text.size);
}

const QUOTE = 34, COMMA = 44, ZERO = 48, NINE = 57, COLON = 58, BRACKET = 91, BRACE = 123, PRIME = 16777619;

function parse(text, at, found) {
  const first = text[at];
  if (first === BRACE || first === BRACKET) {
    const close = first + 2;
    at++;
    while (text[at] !== close) {
      at = parse(text, at, found);
      if (text[at] === COLON || text[at] === COMMA) at++;
    }
    return at + 1;
  }
  if (first === QUOTE) {
    let hash = found.hash;
    for (at++; text[at] !== QUOTE; at++) hash = Math.imul(hash ^ text[at], PRIME);
    found.hash = hash;
    return at + 1;
  }
  let number = 0;
  for (; text[at] >= ZERO && text[at] <= NINE; at++) number = (Math.imul(number, 10) + text[at] - ZERO) >>> 0;
  found.numbers.push(number);
  return at;
}

function told(size, { numbers, hash }) {
  const sorted = Uint32Array.from(numbers).sort();
  let mixed = 0;
  for (let i = 0; i < sorted.length; i++) mixed = ((mixed << 5) | (mixed >>> 27)) ^ (sorted[i] + i);
  return `${size} ${sorted.length} ${hex(hash, 8)} ${hex(mixed, 8)}`;
}

function records(count) {
  const text = written(count), found = { numbers: [], hash: 2166136261 | 0 };
  parse(text, 0, found);
  return told(text.length, found);
}

// The same with JSON.parse, as one would write it.
function parsed(count) {
  const bytes = written(count), found = { numbers: [], hash: 2166136261 | 0 };
  const hashed = (text) => {
    for (let i = 0; i < text.length; i++) found.hash = Math.imul(found.hash ^ text.charCodeAt(i), PRIME);
  };
  for (const { id, name, sizes } of JSON.parse(new TextDecoder().decode(bytes))) {
    for (const text of ["id", "name", name, "sizes"]) hashed(text);
    found.numbers.push(id, ...sizes);
  }
  return told(bytes.length, found);
}

// ---- classify ----

// What the guest does between what it asks of its host: are there pixels, and which labels are the likeliest. Like the
// guest, it finds the labels in their text anew.
export function describe(pixels, probabilities, text) {
  const labels = JSON.parse(text);
  if (pixels.every((value) => value === 0)) throw new Error("all black");
  const top = [];
  probabilities.forEach((probability, index) => {
    let place = 0;
    while (place < top.length && probabilities[top[place]] >= probability) place++;
    if (place < 5) {
      top.splice(place, 0, index);
      top.length = Math.min(top.length, 5);
    }
  });
  const rounded = (probability) => Math.round(probability * 10000) / 10000;
  return JSON.stringify(
    top.map((index) => ({ label: labels[index], index, probability: rounded(probabilities[index]) })),
  );
}
