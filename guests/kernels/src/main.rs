//! Small work for measurements: a program that reads a line `KERNEL NUMBER` and prints what that kernel gives. Any other
//! input it prints unchanged. `bench/programs/kernels.mjs` has the same kernels in JavaScript, step by step.

use std::io::{self, Read, Write};

fn main() -> io::Result<()> {
    let mut input = Vec::new();
    io::stdin().lock().read_to_end(&mut input)?;
    let output = answer(&input).map_or(input, String::into_bytes);
    io::stdout().lock().write_all(&output)
}

fn answer(input: &[u8]) -> Option<String> {
    let mut words = std::str::from_utf8(input).ok()?.split_ascii_whitespace();
    let kernel = words.next()?;
    let number = words.next()?.parse().ok()?;
    match kernel {
        "sha256" => Some(sha256(number)),
        "nbody" => Some(nbody(number)),
        "records" => Some(records(number)),
        _ => None,
    }
}

// ---- sha256: whole numbers. The digest of so many KiB, whose byte at i is the lowest of i * i / 7 ----

const K: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

fn sha256(kib: u32) -> String {
    let message: Vec<u8> = (0..1024u32).map(|i| (i * i / 7) as u8).collect();
    let mut state: [u32; 8] = [
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab,
        0x5be0cd19,
    ];
    for _ in 0..kib {
        for block in message.chunks_exact(64) {
            compress(&mut state, block);
        }
    }
    let mut last = [0; 64];
    last[0] = 0x80;
    last[56..].copy_from_slice(&(u64::from(kib) * 8192).to_be_bytes());
    compress(&mut state, &last);
    state.iter().map(|word| format!("{word:08x}")).collect()
}

fn compress(state: &mut [u32; 8], block: &[u8]) {
    let mut w = [0u32; 64];
    for i in 0..16 {
        w[i] = u32::from_be_bytes([
            block[4 * i],
            block[4 * i + 1],
            block[4 * i + 2],
            block[4 * i + 3],
        ]);
    }
    for i in 16..64 {
        let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
        let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16]
            .wrapping_add(s0)
            .wrapping_add(w[i - 7])
            .wrapping_add(s1);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for i in 0..64 {
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let t1 = h
            .wrapping_add(s1)
            .wrapping_add((e & f) ^ (!e & g))
            .wrapping_add(K[i])
            .wrapping_add(w[i]);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t2 = s0.wrapping_add((a & b) ^ (a & c) ^ (b & c));
        (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
    }
    for (own, more) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *own = own.wrapping_add(more);
    }
}

// ---- nbody: floating point. The sun and four planets after so many steps, as the bits of their energy ----

#[derive(Clone, Copy)]
struct Body {
    x: [f64; 3],
    v: [f64; 3],
    mass: f64,
}

const DAYS: f64 = 365.24;
const SUN: f64 = 39.478_417_604_357_43;
const STEP: f64 = 0.01;

fn bodies() -> [Body; 5] {
    let planet = |x, v: [f64; 3], mass| Body {
        x,
        v: [v[0] * DAYS, v[1] * DAYS, v[2] * DAYS],
        mass: mass * SUN,
    };
    [
        planet([0.0; 3], [0.0; 3], 1.0),
        planet(
            [
                4.841_431_442_464_72,
                -1.160_320_044_027_428_4,
                -0.103_622_044_471_123_11,
            ],
            [
                0.001_660_076_642_744_037,
                0.007_699_011_184_197_404,
                -6.904_600_169_720_63e-5,
            ],
            0.000_954_791_938_424_326_6,
        ),
        planet(
            [
                8.343_366_718_244_58,
                4.124_798_564_124_305,
                -0.403_523_417_114_321,
            ],
            [
                -0.002_767_425_107_268_624,
                0.004_998_528_012_349_172,
                2.304_172_975_737_639_3e-5,
            ],
            0.000_285_885_980_666_130_8,
        ),
        planet(
            [
                12.894_369_562_139_13,
                -15.111_151_401_698_631,
                -0.223_307_578_892_655_73,
            ],
            [
                0.002_964_601_375_647_616,
                0.002_378_471_739_594_809_5,
                -2.965_895_685_402_375_6e-5,
            ],
            4.366_244_043_351_563e-5,
        ),
        planet(
            [
                15.379_697_114_850_917,
                -25.919_314_609_987_964,
                0.179_258_772_950_371_18,
            ],
            [
                0.002_680_677_724_903_893_2,
                0.001_628_241_700_382_423,
                -9.515_922_545_197_159e-5,
            ],
            5.151_389_020_466_114_5e-5,
        ),
    ]
}

fn nbody(steps: u32) -> String {
    let mut all = bodies();
    for _ in 0..steps {
        for i in 0..all.len() {
            for j in i + 1..all.len() {
                let d = [
                    all[i].x[0] - all[j].x[0],
                    all[i].x[1] - all[j].x[1],
                    all[i].x[2] - all[j].x[2],
                ];
                let square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
                let by = STEP / (square * square.sqrt());
                let (mine, other) = (all[i].mass * by, all[j].mass * by);
                for k in 0..3 {
                    all[i].v[k] -= d[k] * other;
                    all[j].v[k] += d[k] * mine;
                }
            }
        }
        for body in &mut all {
            for k in 0..3 {
                body.x[k] += STEP * body.v[k];
            }
        }
    }
    let mut energy = 0.0;
    for (i, body) in all.iter().enumerate() {
        let v = body.v;
        energy += 0.5 * body.mass * (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
        for other in &all[i + 1..] {
            let d = [
                body.x[0] - other.x[0],
                body.x[1] - other.x[1],
                body.x[2] - other.x[2],
            ];
            energy -= body.mass * other.mass / (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]).sqrt();
        }
    }
    format!("{:016x}", energy.to_bits())
}

// ---- records: text. Writes so many records as JSON, parses the text, sorts what it found ----

fn next(seed: &mut u32) -> u32 {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *seed >> 8
}

fn push_number(text: &mut Vec<u8>, mut number: u32) {
    let mut digits = [0; 10];
    let mut count = 0;
    loop {
        digits[count] = b'0' + (number % 10) as u8;
        count += 1;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend(digits[..count].iter().rev());
}

fn written(count: u32) -> Vec<u8> {
    let mut text = vec![b'['];
    let mut seed = 1;
    for i in 0..count {
        if i > 0 {
            text.push(b',');
        }
        text.extend(b"{\"id\":");
        push_number(&mut text, next(&mut seed));
        text.extend(b",\"name\":\"");
        for _ in 0..4 + next(&mut seed) % 12 {
            text.push(b'a' + (next(&mut seed) % 26) as u8);
        }
        text.extend(b"\",\"sizes\":[");
        push_number(&mut text, next(&mut seed) % 1000);
        text.push(b',');
        push_number(&mut text, next(&mut seed) % 1000);
        text.extend(b"]}");
    }
    text.push(b']');
    text
}

/// What is taken from the text: the numbers, and a hash of the texts.
struct Found {
    numbers: Vec<u32>,
    hash: u32,
}

fn parse(text: &[u8], mut at: usize, found: &mut Found) -> usize {
    match text[at] {
        open @ (b'{' | b'[') => {
            let close = open + 2;
            at += 1;
            while text[at] != close {
                at = parse(text, at, found);
                if text[at] == b':' || text[at] == b',' {
                    at += 1;
                }
            }
            at + 1
        }
        b'"' => {
            at += 1;
            while text[at] != b'"' {
                found.hash = (found.hash ^ u32::from(text[at])).wrapping_mul(16_777_619);
                at += 1;
            }
            at + 1
        }
        _ => {
            let mut number = 0u32;
            while text[at].is_ascii_digit() {
                number = number
                    .wrapping_mul(10)
                    .wrapping_add(u32::from(text[at] - b'0'));
                at += 1;
            }
            found.numbers.push(number);
            at
        }
    }
}

fn records(count: u32) -> String {
    let text = written(count);
    let mut found = Found {
        numbers: Vec::new(),
        hash: 2_166_136_261,
    };
    parse(&text, 0, &mut found);
    found.numbers.sort_unstable();
    let mut mixed = 0u32;
    for (i, number) in found.numbers.iter().enumerate() {
        mixed = mixed.rotate_left(5) ^ number.wrapping_add(i as u32);
    }
    format!(
        "{} {} {:08x} {:08x}",
        text.len(),
        found.numbers.len(),
        found.hash,
        mixed
    )
}
