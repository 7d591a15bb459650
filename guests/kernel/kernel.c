/* What is done to each pixel of a picture: PNG's filters and colours, and resizing. The host runs this module itself
 * (guesthouse_abi/pictures/kernel.py), on a memory of its own; no guest can call it.
 *
 * It knows no formats, no weights and no limits: whoever calls hands over rows, tables and places in memory that fit
 * each other. All sums are made in the order of the numpy version (guesthouse_abi/resampling.py), so that the results
 * are the same to the last bit. It is built without contraction: a product and a sum stay two roundings.
 *
 * Stores are as wide as the processor likes and may go up to 16 bytes beyond what they are for: rows are written from
 * the first to the last, and behind the last there must be room.
 */
#include <stdint.h>
#include <wasm_simd128.h>

typedef uint8_t u8;
typedef uint32_t u32;

#define EXPORTED(name) __attribute__((export_name(#name))) name

extern u8 __heap_base;

/* Where the memory begins that is the caller's. */
u32 EXPORTED(base)(void) { return ((u32)&__heap_base + 63) & ~63u; }

/* ---- PNG's filters (PNG, third edition, 9) ---- */

/* The bytes of one pixel, and maybe some more, as lanes of 16 bits. */
static inline v128_t pixel(const u8 *at, int size) {
    if (size > 4)
        return wasm_u16x8_load8x8(at);
    return wasm_u16x8_extend_low_u8x16(wasm_v128_load32_zero(at));
}

static inline void put_pixel(u8 *at, v128_t lanes, int size) {
    v128_t bytes = wasm_u8x16_narrow_i16x8(lanes, lanes);
    if (size > 4)
        wasm_v128_store64_lane(at, bytes, 0);
    else
        wasm_v128_store32_lane(at, bytes, 0);
}

static inline v128_t low_bytes(v128_t lanes) { return wasm_v128_and(lanes, wasm_i16x8_const_splat(255)); }

static inline void sub(const u8 *row, u32 length, int size, u8 *out) {
    v128_t left = wasm_i16x8_const_splat(0);
    for (u32 at = 0; at < length; at += size) {
        left = low_bytes(wasm_i16x8_add(pixel(row + at, size), left));
        put_pixel(out + at, left, size);
    }
}

static inline void average(const u8 *row, u32 length, int size, const u8 *above, u8 *out) {
    v128_t left = wasm_i16x8_const_splat(0);
    for (u32 at = 0; at < length; at += size) {
        v128_t mean = wasm_u16x8_shr(wasm_i16x8_add(left, pixel(above + at, size)), 1);
        left = low_bytes(wasm_i16x8_add(pixel(row + at, size), mean));
        put_pixel(out + at, left, size);
    }
}

static inline void paeth(const u8 *row, u32 length, int size, const u8 *above, u8 *out) {
    v128_t left = wasm_i16x8_const_splat(0), corner = left;
    for (u32 at = 0; at < length; at += size) {
        v128_t up = pixel(above + at, size);
        v128_t to_left = wasm_i16x8_sub(up, corner), to_up = wasm_i16x8_sub(left, corner);
        v128_t to_corner = wasm_i16x8_abs(wasm_i16x8_add(to_left, to_up));
        to_left = wasm_i16x8_abs(to_left);
        to_up = wasm_i16x8_abs(to_up);
        v128_t least = wasm_i16x8_min(to_corner, wasm_i16x8_min(to_left, to_up));
        v128_t nearest = wasm_v128_bitselect(up, corner, wasm_i16x8_eq(least, to_up));
        nearest = wasm_v128_bitselect(left, nearest, wasm_i16x8_eq(least, to_left));
        left = low_bytes(wasm_i16x8_add(pixel(row + at, size), nearest));
        corner = up;
        put_pixel(out + at, left, size);
    }
}

static inline void up(const u8 *row, u32 length, const u8 *above, u8 *out) {
    for (u32 at = 0; at < length; at += 16)
        wasm_v128_store(out + at, wasm_i8x16_add(wasm_v128_load(row + at), wasm_v128_load(above + at)));
}

static inline void copy(const u8 *row, u32 length, u8 *out) {
    for (u32 at = 0; at < length; at += 16)
        wasm_v128_store(out + at, wasm_v128_load(row + at));
}

static inline u32 unfiltered(const u8 *rows, u32 count, u32 length, int size, u8 *out) {
    for (u32 index = 0; index < count; index++, rows += length + 1, out += length) {
        const u8 *row = rows + 1, *above = out - length;
        switch (rows[0]) {
        case 0: copy(row, length, out); break;
        case 1: sub(row, length, size, out); break;
        case 2: up(row, length, above, out); break;
        case 3: average(row, length, size, above, out); break;
        case 4: paeth(row, length, size, above, out); break;
        default: return 1;
        }
    }
    return 0;
}

/* `count` rows, each a filter's number and `length` bytes, become the bytes at `out`; the row above the first stands
 * before `out`. A pixel has `size` bytes, or less than one. Returns 1 for a filter that PNG does not have. */
u32 EXPORTED(unfilter)(const u8 *rows, u32 count, u32 length, u32 size, u8 *out) {
    switch (size) {
    case 1: return unfiltered(rows, count, length, 1, out);
    case 2: return unfiltered(rows, count, length, 2, out);
    case 3: return unfiltered(rows, count, length, 3, out);
    case 4: return unfiltered(rows, count, length, 4, out);
    case 6: return unfiltered(rows, count, length, 6, out);
    default: return unfiltered(rows, count, length, 8, out);
    }
}

/* ---- colours ---- */

static inline void put_rgb(u8 *at, u32 rgb) { __builtin_memcpy(at, &rgb, 4); }

/* Rows of numbers of 1, 2, 4 or 8 bits, each row from a byte of its own, become RGB: the first three bytes of the
 * table's entry. */
void EXPORTED(look_up)(const u8 *rows, u32 count, u32 width, u32 bits, const u32 *table, u8 *out) {
    u32 length = (width * bits + 7) >> 3, mask = (1u << bits) - 1;
    for (u32 index = 0; index < count; index++, rows += length) {
        if (bits == 8) {
            for (u32 x = 0; x < width; x++, out += 3)
                put_rgb(out, table[rows[x]]);
        } else {
            for (u32 x = 0; x < width; x++, out += 3) {
                u32 at = x * bits;
                put_rgb(out, table[rows[at >> 3] >> (8 - bits - (at & 7)) & mask]);
            }
        }
    }
}

/* A byte times a byte over 255, rounded, as Pillow has it. */
static inline u32 share(u32 value, u32 opacity) {
    u32 product = value * opacity + 128;
    return (product + (product >> 8)) >> 8;
}

static inline v128_t shares(v128_t values, v128_t opacities) {
    v128_t product = wasm_i16x8_add(wasm_i16x8_mul(values, opacities), wasm_i16x8_const_splat(128));
    return wasm_u16x8_shr(wasm_i16x8_add(product, wasm_u16x8_shr(product, 8)), 8);
}

/* Four pixels of RGB and opacity as RGB. */
static inline void put_four(const u8 *at, u32 multiply, u8 *out) {
    v128_t four = wasm_v128_load(at);
    if (multiply) {
        v128_t low = wasm_u16x8_extend_low_u8x16(four), high = wasm_u16x8_extend_high_u8x16(four);
        low = shares(low, wasm_i16x8_shuffle(low, low, 3, 3, 3, 3, 7, 7, 7, 7));
        high = shares(high, wasm_i16x8_shuffle(high, high, 3, 3, 3, 3, 7, 7, 7, 7));
        four = wasm_u8x16_narrow_i16x8(low, high);
    }
    wasm_v128_store(out, wasm_i8x16_shuffle(four, four, 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 3, 3, 3));
}

static inline void coloured(const u8 *pixels, u32 count, u32 channels, u32 step, u32 multiply, u8 *out) {
    u32 size = channels * step, x = 0;
    if (size == 4 && channels == 4)
        for (; x + 4 <= count; x += 4)
            put_four(pixels + x * 4, multiply, out + x * 3);
    for (; x < count; x++) {
        const u8 *at = pixels + x * size;
        u32 red = at[0], green = channels < 3 ? red : at[step], blue = channels < 3 ? red : at[2 * step];
        if (multiply && !(channels & 1)) {
            u32 opacity = at[(channels - 1) * step];
            red = share(red, opacity);
            green = share(green, opacity);
            blue = share(blue, opacity);
        }
        put_rgb(out + x * 3, red | green << 8 | blue << 16);
    }
}

/* `count` pixels of grey, grey and opacity, RGB, or RGB and opacity become RGB. A value has `step` bytes, the upper one
 * first, which is kept. Opacity is multiplied in with `multiply`, else dropped. */
void EXPORTED(colour)(const u8 *pixels, u32 count, u32 channels, u32 step, u32 multiply, u8 *out) {
    switch (channels * 4 + step) {
    case 5: return coloured(pixels, count, 1, 1, 0, out);
    case 6: return coloured(pixels, count, 1, 2, 0, out);
    case 9: return coloured(pixels, count, 2, 1, multiply, out);
    case 10: return coloured(pixels, count, 2, 2, multiply, out);
    case 14: return coloured(pixels, count, 3, 2, 0, out);
    case 17: return coloured(pixels, count, 4, 1, multiply, out);
    default: return coloured(pixels, count, 4, 2, multiply, out);
    }
}

/* ---- Boost.GIL's resizing ---- */

/* The values at two places of a row and of each place's right neighbour, as doubles: red and green of each, and the two
 * blues. */
typedef struct {
    v128_t first, second, blue, first_right, second_right, blue_right;
} Two;

static inline Two two_of(const u8 *first, const u8 *second) {
    v128_t one = wasm_u16x8_load8x8(first), other = wasm_u16x8_load8x8(second);
    v128_t a = wasm_u32x4_extend_low_u16x8(one), b = wasm_u32x4_extend_high_u16x8(one);
    v128_t c = wasm_u32x4_extend_low_u16x8(other), d = wasm_u32x4_extend_high_u16x8(other);
    return (Two){
        wasm_f64x2_convert_low_i32x4(a),
        wasm_f64x2_convert_low_i32x4(c),
        wasm_f64x2_convert_low_i32x4(wasm_i32x4_shuffle(a, c, 2, 6, 2, 6)),
        wasm_f64x2_convert_low_i32x4(wasm_i32x4_shuffle(a, b, 3, 4, 3, 4)),
        wasm_f64x2_convert_low_i32x4(wasm_i32x4_shuffle(c, d, 3, 4, 3, 4)),
        wasm_f64x2_convert_low_i32x4(wasm_i32x4_shuffle(b, d, 1, 5, 1, 5)),
    };
}

/* The sum of four values times their weights, from the left. */
static inline v128_t sum(v128_t a, v128_t wa, v128_t b, v128_t wb, v128_t c, v128_t wc, v128_t d, v128_t wd) {
    v128_t total = wasm_f64x2_add(wasm_f64x2_mul(a, wa), wasm_f64x2_mul(b, wb));
    return wasm_f64x2_add(wasm_f64x2_add(total, wasm_f64x2_mul(c, wc)), wasm_f64x2_mul(d, wd));
}

/* What is before the point, of doubles from 0 to 255, in the lowest byte of each lane: 2^52 has no bits behind it. */
static inline v128_t truncated(v128_t values) {
    return wasm_f64x2_add(wasm_f64x2_floor(values), wasm_f64x2_const_splat(4503599627370496.0));
}

#define FIRST(v) wasm_i64x2_shuffle(v, v, 0, 0)
#define SECOND(v) wasm_i64x2_shuffle(v, v, 1, 1)

/* Pairs of rows of RGB, `stride` bytes each, become rows of `width` pixels. `lefts` says where the left neighbour of
 * each is in a row, `far_x` the share of the right one, `far_y` that of a pair's second row. The tables of columns
 * have an even length. A neighbour with the share 0 is read, and may be any byte. */
void EXPORTED(bilinear)(const u8 *rows, u32 stride, const u32 *lefts, const double *far_x, u32 width,
                        const double *far_y, u32 height, u32 swap, u8 *out) {
    for (u32 y = 0; y < height; y++, rows += 2 * stride, out += width * 3) {
        v128_t fy = wasm_f64x2_splat(far_y[y]), ny = wasm_f64x2_sub(wasm_f64x2_const_splat(1), fy);
        u8 *at = out;
        for (u32 x = 0; x < width; x += 2, at += 6) {
            const u8 *first = rows + lefts[x], *second = rows + lefts[x + 1];
            v128_t fx = wasm_v128_load(far_x + x), nx = wasm_f64x2_sub(wasm_f64x2_const_splat(1), fx);
            v128_t a = wasm_f64x2_mul(nx, ny), b = wasm_f64x2_mul(fx, ny);
            v128_t c = wasm_f64x2_mul(nx, fy), d = wasm_f64x2_mul(fx, fy);
            Two t = two_of(first, second), u = two_of(first + stride, second + stride);
            v128_t one = sum(t.first, FIRST(a), t.first_right, FIRST(b), u.first, FIRST(c), u.first_right, FIRST(d));
            v128_t two =
                sum(t.second, SECOND(a), t.second_right, SECOND(b), u.second, SECOND(c), u.second_right, SECOND(d));
            v128_t blue = truncated(sum(t.blue, a, t.blue_right, b, u.blue, c, u.blue_right, d));
            /* red, green, red, green */
            v128_t four = wasm_i8x16_shuffle(truncated(one), truncated(two), 0, 8, 16, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                             0, 0);
            if (swap)
                four = wasm_i8x16_shuffle(four, blue, 16, 1, 0, 24, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
            else
                four = wasm_i8x16_shuffle(four, blue, 0, 1, 16, 2, 3, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
            wasm_v128_store64_lane(at, four, 0);
        }
    }
}

/* Bytes as the numbers that a table has for them. */
void EXPORTED(convert)(const u8 *bytes, u32 count, const float *table, float *out) {
    for (u32 at = 0; at < count; at++)
        out[at] = table[bytes[at]];
}

/* ---- stb_image_resize2's resizing ---- */

/* A row of the result, or a part of its sum: `taps` rows from `row` on, times the weights from `weight` on. It is added
 * to what stands in `line`, except where it `begins`. */
typedef struct {
    u32 row, taps, weight, line, begins;
} Job;

enum { BLOCK = 32 };

/* Rows of bytes, `length` each (a multiple of BLOCK), become `numbers`: those of a table, or with none the bytes
 * themselves. Then all jobs are done; lines are `stride` numbers apart. */
void EXPORTED(down)(const u8 *rows, u32 count, u32 length, const float *table, float *numbers, const Job *jobs,
                    u32 job_count, const float *weights, float *lines, u32 stride) {
    if (table) {
        for (u32 at = 0; at < count * length; at++)
            numbers[at] = table[rows[at]];
    } else {
        for (u32 at = 0; at < count * length; at += 8) {
            v128_t eight = wasm_u16x8_load8x8(rows + at);
            wasm_v128_store(numbers + at, wasm_f32x4_convert_i32x4(wasm_u32x4_extend_low_u16x8(eight)));
            wasm_v128_store(numbers + at + 4, wasm_f32x4_convert_i32x4(wasm_u32x4_extend_high_u16x8(eight)));
        }
    }
    for (const Job *job = jobs; job < jobs + job_count; job++) {
        const float *weight = weights + job->weight;
        for (u32 block = 0; block < length; block += BLOCK) {
            const float *from = numbers + job->row * length + block;
            float *line = lines + job->line * stride + block;
            v128_t total[BLOCK / 4];
            u32 tap = 0;
            if (job->begins) {
                v128_t w = wasm_v128_load32_splat(weight);
                for (int i = 0; i < BLOCK / 4; i++)
                    total[i] = wasm_f32x4_mul(wasm_v128_load(from + 4 * i), w);
                tap = 1;
                from += length;
            } else {
                for (int i = 0; i < BLOCK / 4; i++)
                    total[i] = wasm_v128_load(line + 4 * i);
            }
            for (; tap < job->taps; tap++, from += length) {
                v128_t w = wasm_v128_load32_splat(weight + tap);
                for (int i = 0; i < BLOCK / 4; i++)
                    total[i] = wasm_f32x4_add(total[i], wasm_f32x4_mul(wasm_v128_load(from + 4 * i), w));
            }
            for (int i = 0; i < BLOCK / 4; i++)
                wasm_v128_store(line + 4 * i, total[i]);
        }
    }
}

static inline v128_t across_one(const float *from, u32 taps, const float *weight) {
    /* Two sums, of every second pixel each: as stb has it where it uses SSE2. */
    v128_t even = wasm_f32x4_mul(wasm_v128_load(from), wasm_v128_load32_splat(weight));
    if (taps == 1)
        return even;
    v128_t odd = wasm_f32x4_mul(wasm_v128_load(from + 3), wasm_v128_load32_splat(weight + 1));
    u32 tap = 2;
    for (; tap + 1 < taps; tap += 2) {
        const float *at = from + 3 * tap;
        even = wasm_f32x4_add(even, wasm_f32x4_mul(wasm_v128_load(at), wasm_v128_load32_splat(weight + tap)));
        odd = wasm_f32x4_add(odd, wasm_f32x4_mul(wasm_v128_load(at + 3), wasm_v128_load32_splat(weight + tap + 1)));
    }
    if (tap < taps)
        even = wasm_f32x4_add(even, wasm_f32x4_mul(wasm_v128_load(from + 3 * tap), wasm_v128_load32_splat(weight + tap)));
    return wasm_f32x4_add(even, odd);
}

/* Lines of RGB, `stride` numbers apart, become rows of `width` pixels: numbers, or with `bytes` rounded and clamped
 * ones. `firsts` and `taps` say which pixels make each, `weights` has `most` for each. */
void EXPORTED(across)(const float *lines, u32 count, u32 stride, const u32 *firsts, const u32 *taps, const float *weights,
                      u32 most, u32 width, u32 bytes, u32 swap, u8 *out) {
    for (u32 y = 0; y < count; y++, lines += stride) {
        for (u32 x = 0; x < width; x++) {
            v128_t pixel = across_one(lines + firsts[x] * 3, taps[x], weights + x * most);
            if (swap)
                pixel = wasm_i32x4_shuffle(pixel, pixel, 2, 1, 0, 3);
            if (bytes) {
                pixel = wasm_f32x4_add(pixel, wasm_f32x4_const_splat(0.5f));
                pixel = wasm_f32x4_pmin(wasm_f32x4_const_splat(255), wasm_f32x4_pmax(wasm_f32x4_const_splat(0), pixel));
                pixel = wasm_i32x4_trunc_sat_f32x4(pixel);
                pixel = wasm_u16x8_narrow_i32x4(pixel, pixel);
                wasm_v128_store32_lane(out, wasm_u8x16_narrow_i16x8(pixel, pixel), 0);
                out += 3;
            } else {
                wasm_v128_store(out, pixel);
                out += 12;
            }
        }
    }
}
