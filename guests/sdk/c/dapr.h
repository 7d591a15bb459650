/* Guests in C for `dapr_v1`, the ABI by which a Wasm module answers Dapr's events and calls Dapr's API.
 *
 *     #include "dapr.h"
 *
 *     DAPR_ON(topic) {
 *         dapr_result seen = dapr_state_get("statestore", "seen");
 *         if (seen.code) return dapr_failed(seen);
 *         dapr_result saved = dapr_state_save("statestore", "last", dapr_body(), .etag = seen.etag);
 *         return saved.code ? dapr_failed(saved) : DAPR_DONE;
 *     }
 *
 * C99. It needs no malloc and no C library: with -ffreestanding -nostdlib it brings memcpy and memset itself. What
 * lives here, from top to bottom: the imported functions, the memory of this header, the event, the reply, log and
 * configuration, a writer and a reader of protobuf, calls, the usual requests, and an actor's own turn. Running a model
 * is not here: wasi_nn.h has that.
 *
 * Texts are UTF-8 with a zero at their end, as C has them; a text from outside ends at the first zero in it.
 * `dapr_bytes` are bytes of any values. What a function here gives stays as it is until the event ends, and lies in
 * DAPR_MEMORY bytes that this header reserves; define another number before you include it. A guest that needs more
 * traps, after a line in its log that says so.
 *
 * Names that end with an underscore are not for others to use. */
#ifndef DAPR_H
#define DAPR_H

#include <stddef.h>
#include <stdint.h>

#define DAPR_SDK_VERSION "0.2.0"

#ifndef DAPR_MEMORY
#define DAPR_MEMORY 262144
#endif

/* ---- the functions of the module dapr_v1 ---- */

/* Elsewhere than in Wasm these functions are the program's own: dapr_mock.h has them for tests. */
#ifdef __wasm__
#define DAPR_IMPORT_(name) __attribute__((import_module("dapr_v1"), import_name(#name)))
#define DAPR_EXPORT_(name) __attribute__((export_name(name)))
#else
#define DAPR_IMPORT_(name)
#define DAPR_EXPORT_(name)
#endif

/* The numbers below 0 that functions of dapr_v1 give. */
enum {
    DAPR_ABSENT = -1,
    DAPR_INVALID = -2,
    DAPR_BAD_HANDLE = -3,
    DAPR_LIMIT = -4,
    DAPR_PENDING = -5,
    DAPR_UNSUPPORTED = -6
};

/* Functions that read copy at most `capacity` bytes from `offset` on, and give the whole size. With them a guest reads
 * in pieces what is larger than its memory. */
DAPR_IMPORT_(event_read)
int32_t dapr_v1_event_read(uint32_t field, uint32_t offset, void *buffer, uint32_t capacity);
DAPR_IMPORT_(event_metadata)
int32_t dapr_v1_event_metadata(const char *name, uint32_t name_length, uint32_t offset, void *buffer,
                               uint32_t capacity);
DAPR_IMPORT_(event_metadata_all)
int32_t dapr_v1_event_metadata_all(uint32_t offset, void *buffer, uint32_t capacity);
DAPR_IMPORT_(reply_write)
int32_t dapr_v1_reply_write(const void *data, uint32_t length);
DAPR_IMPORT_(reply_set)
int32_t dapr_v1_reply_set(uint32_t field, const char *text, uint32_t length);
DAPR_IMPORT_(reply_status)
int32_t dapr_v1_reply_status(uint32_t status);
DAPR_IMPORT_(reply_header)
int32_t dapr_v1_reply_header(const char *name, uint32_t name_length, const char *value, uint32_t value_length);
DAPR_IMPORT_(retry_after)
int32_t dapr_v1_retry_after(uint32_t milliseconds);
DAPR_IMPORT_(log)
int32_t dapr_v1_log(uint32_t level, const char *text, uint32_t length, const void *fields, uint32_t fields_length);
DAPR_IMPORT_(time_left)
int64_t dapr_v1_time_left(void);
DAPR_IMPORT_(config_read)
int32_t dapr_v1_config_read(const char *name, uint32_t name_length, uint32_t offset, void *buffer, uint32_t capacity);
DAPR_IMPORT_(call_start)
int32_t dapr_v1_call_start(const char *method, uint32_t method_length, const void *request, uint32_t length,
                           const void *metadata, uint32_t metadata_length, uint32_t milliseconds);
DAPR_IMPORT_(call_wait)
int32_t dapr_v1_call_wait(const uint32_t *handles, uint32_t count, uint32_t mode, int32_t milliseconds);
DAPR_IMPORT_(call_status)
int32_t dapr_v1_call_status(uint32_t handle);
DAPR_IMPORT_(call_read)
int32_t dapr_v1_call_read(uint32_t handle, uint32_t part, uint32_t offset, void *buffer, uint32_t capacity);
DAPR_IMPORT_(call_close)
int32_t dapr_v1_call_close(uint32_t handle);

/* ---- handlers ---- */

/* What a handler gives. */
enum { DAPR_DONE = 0, DAPR_FAILED = 1, DAPR_RETRY = 2, DAPR_DROP = 3, DAPR_STOP = 4 };

/* DAPR_ON(invoke) { … return DAPR_DONE; } answers invocations. Others: topic, binding, job, operation, and `event` for
 * all that has no handler of its own; of actors: actor, timer, reminder, activate and deactivate. DAPR_ON_ACTOR, further
 * below, makes those of an actor by name. */
#define DAPR_ON(trigger)                                                          \
    DAPR_EXPORT_("dapr_on_" #trigger) int32_t dapr_on_##trigger(void);            \
    int32_t dapr_on_##trigger(void)

/* ---- memory ---- */

#if defined(__STDC_HOSTED__) && __STDC_HOSTED__
#include <string.h>
#else
/* The compiler may call these two by itself. Weak: a program's own come first. */
void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
__attribute__((weak, no_builtin("memcpy"))) void *memcpy(void *to, const void *from, size_t size) {
    for (size_t i = 0; i < size; i++) ((char *)to)[i] = ((const char *)from)[i];
    return to;
}
__attribute__((weak, no_builtin("memset"))) void *memset(void *to, int value, size_t size) {
    for (size_t i = 0; i < size; i++) ((char *)to)[i] = (char)value;
    return to;
}
#endif

typedef struct {
    const char *data; /* null where there is no such thing */
    uint32_t size;
} dapr_bytes;

typedef const char *const *dapr_strings; /* texts, and a null at the end */

/* Several texts: keys, or names and values by turns, as in `.metadata = dapr_texts("ttlInSeconds", "60")`. */
#define dapr_texts(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct {
    uint32_t used;
    char bytes[DAPR_MEMORY];
} dapr_memory_;

static inline uint32_t dapr_length(const char *text) {
    uint32_t length = 0;
    while (text && text[length]) length++;
    return length;
}

/* A text as bytes. */
static inline dapr_bytes dapr_bytes_of(const char *text) {
    dapr_bytes bytes = {text, dapr_length(text)};
    return bytes;
}

static inline int dapr_equal(const char *left, const char *right) {
    if (!left || !right) return left == right;
    while (*left && *left == *right) left++, right++;
    return *left == *right;
}

/* Whether bytes are those of a text. */
static inline int dapr_is(dapr_bytes bytes, const char *text) {
    uint32_t i = 0;
    if (bytes.size != dapr_length(text)) return 0;
    while (i < bytes.size && text[i] == bytes.data[i]) i++;
    return i == bytes.size;
}

static inline void dapr_out_of_memory_(void) {
    static const char text[] = "dapr.h: the memory of this guest's event is used up: define a larger DAPR_MEMORY";
    dapr_v1_log(3, text, sizeof text - 1, NULL, 0);
    __builtin_trap();
}

/* Memory until the end of the event, for any type. */
static inline void *dapr_allocate(uint32_t size) {
    uint32_t start = (dapr_memory_.used + 7) & ~7u;
    if (start > DAPR_MEMORY || size > DAPR_MEMORY - start) dapr_out_of_memory_();
    dapr_memory_.used = start + size;
    return dapr_memory_.bytes + start;
}

/* A guest that works in a loop gives back what a round has used: mark = dapr_mark(); … dapr_release(mark). */
static inline uint32_t dapr_mark(void) { return dapr_memory_.used; }
static inline void dapr_release(uint32_t mark) { dapr_memory_.used = mark; }

/* Reading into the free memory itself takes one call to the host: DAPR_TAKE_(read(…, DAPR_FREE_)). A byte is left for
 * the zero. */
#define DAPR_ROOM_ (DAPR_MEMORY - dapr_memory_.used)
#define DAPR_FREE_ 0, dapr_memory_.bytes + dapr_memory_.used, (DAPR_ROOM_ ? DAPR_ROOM_ - 1 : 0)

static inline dapr_bytes dapr_take_(int32_t size) {
    dapr_bytes taken = {NULL, 0};
    if (size < 0) return taken;
    if ((uint32_t)size >= DAPR_ROOM_) dapr_out_of_memory_();
    taken.data = dapr_memory_.bytes + dapr_memory_.used;
    taken.size = (uint32_t)size;
    dapr_memory_.bytes[dapr_memory_.used + taken.size] = 0;
    dapr_memory_.used += taken.size + 1;
    return taken;
}

/* Bytes as a text. */
static inline const char *dapr_text(dapr_bytes bytes) {
    if (!bytes.data) return NULL;
    char *text = dapr_allocate(bytes.size + 1);
    if (bytes.size) memcpy(text, bytes.data, bytes.size);
    text[bytes.size] = 0;
    return text;
}

static inline const char *dapr_join_(dapr_strings parts) {
    uint32_t size = 0, length;
    for (dapr_strings part = parts; *part; part++) size += dapr_length(*part);
    char *text = dapr_allocate(size + 1), *end = text;
    for (dapr_strings part = parts; *part; part++, end += length) {
        length = dapr_length(*part);
        if (length) memcpy(end, *part, length);
    }
    *end = 0;
    return text;
}

/* dapr_join("key-", name): one text of several. The first null ends them. */
#define dapr_join(...) dapr_join_((const char *const[]){__VA_ARGS__, NULL})

static inline const char *dapr_number(int64_t value) {
    char digits[20];
    uint32_t count = 0, length = 0;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do digits[count++] = (char)('0' + left % 10);
    while (left /= 10);
    char *text = dapr_allocate(count + 2);
    if (value < 0) text[length++] = '-';
    while (count) text[length++] = digits[--count];
    text[length] = 0;
    return text;
}

/* The number that decimal digits are, or `otherwise` for anything else and for more than 2^63 - 1. */
static inline int64_t dapr_number_of(dapr_bytes digits, int64_t otherwise) {
    uint64_t value = 0;
    if (!digits.size) return otherwise;
    for (uint32_t i = 0; i < digits.size; i++) {
        uint32_t digit = (uint32_t)(unsigned char)digits.data[i] - '0';
        if (digit > 9 || value > ((uint64_t)INT64_MAX - digit) / 10) return otherwise;
        value = value * 10 + digit;
    }
    return (int64_t)value;
}

/* ---- the event ---- */

enum {
    DAPR_EVENT_BODY = 1,
    DAPR_EVENT_TRIGGER = 2,
    DAPR_EVENT_NAME = 3,
    DAPR_EVENT_CONTENT_TYPE = 4,
    DAPR_EVENT_VERB = 5,
    DAPR_EVENT_QUERY = 6,
    DAPR_EVENT_PATH = 7,
    DAPR_EVENT_ID = 8,
    DAPR_EVENT_PUBSUB = 9,
    DAPR_EVENT_TOPIC = 10,
    DAPR_EVENT_SOURCE = 11,
    DAPR_EVENT_TYPE = 12,
    DAPR_EVENT_ACTOR_ID = 13,
    DAPR_EVENT_ACTOR_METHOD = 14,
    DAPR_EVENT_CALLBACK = 15
};

static inline dapr_bytes dapr_body(void) { return dapr_take_(dapr_v1_event_read(DAPR_EVENT_BODY, DAPR_FREE_)); }

static inline uint32_t dapr_body_size(void) { return (uint32_t)dapr_v1_event_read(DAPR_EVENT_BODY, 0, NULL, 0); }

/* A field of the event, or null where it has none: dapr_event(DAPR_EVENT_NAME). */
static inline const char *dapr_event(uint32_t field) {
    return dapr_take_(dapr_v1_event_read(field, DAPR_FREE_)).data;
}

/* A piece of metadata by its name in lower case (of an invocation: a header), or null. */
static inline const char *dapr_metadata(const char *name) {
    return dapr_take_(dapr_v1_event_metadata(name, dapr_length(name), DAPR_FREE_)).data;
}

/* All metadata, for dapr_next_pair. */
static inline dapr_bytes dapr_metadata_all(void) { return dapr_take_(dapr_v1_event_metadata_all(DAPR_FREE_)); }

static inline uint32_t dapr_u32_(const char *data) {
    const unsigned char *byte = (const unsigned char *)data;
    return byte[0] | (uint32_t)byte[1] << 8 | (uint32_t)byte[2] << 16 | (uint32_t)byte[3] << 24;
}

/* Takes the first pair out of `pairs`: 1, or 0 where there is none left. */
static inline int dapr_next_pair(dapr_bytes *pairs, dapr_bytes *name, dapr_bytes *value) {
    if (pairs->size < 8) return 0;
    name->size = dapr_u32_(pairs->data);
    value->size = dapr_u32_(pairs->data + 4);
    pairs->data += 8, pairs->size -= 8;
    if (name->size > pairs->size || value->size > pairs->size - name->size) return 0;
    name->data = pairs->data;
    value->data = pairs->data + name->size;
    pairs->data += name->size + value->size, pairs->size -= name->size + value->size;
    return 1;
}

static inline int dapr_hex_(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    digit |= 32;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static inline const char *dapr_unescaped_(const char *text, uint32_t size) {
    char *out = dapr_allocate(size + 1), *end = out;
    for (uint32_t i = 0; i < size; i++) {
        char byte = text[i] == '+' ? ' ' : text[i];
        if (byte == '%' && size - i > 2) {
            int high = dapr_hex_(text[i + 1]), low = dapr_hex_(text[i + 2]);
            if (high >= 0 && low >= 0) byte = (char)(high * 16 + low), i += 2;
        }
        *end++ = byte;
    }
    *end = 0;
    return out;
}

/* The first parameter of this name in the query string, decoded; null where there is none. */
static inline const char *dapr_query(const char *name) {
    const char *left = dapr_event(DAPR_EVENT_QUERY);
    while (left && *left) {
        uint32_t size = 0, split = 0;
        while (left[size] && left[size] != '&') size++;
        while (split < size && left[split] != '=') split++;
        uint32_t mark = dapr_mark();
        int found = size && dapr_equal(dapr_unescaped_(left, split), name);
        dapr_release(mark);
        if (found) return split < size ? dapr_unescaped_(left + split + 1, size - split - 1) : "";
        left += size + (left[size] == '&');
    }
    return NULL;
}

/* ---- the reply ---- */

/* Each gives 0, or a number below 0: DAPR_LIMIT for a reply that is too large, DAPR_INVALID for a value that no reply
 * can have, DAPR_UNSUPPORTED for status and headers of an event that has none. */
static inline int32_t dapr_reply(dapr_bytes data) { return dapr_v1_reply_write(data.data, data.size); }

static inline int32_t dapr_reply_text(const char *text) { return dapr_v1_reply_write(text, dapr_length(text)); }

static inline int32_t dapr_reply_type(const char *content_type) {
    return dapr_v1_reply_set(1, content_type, dapr_length(content_type));
}

static inline int32_t dapr_reply_status(uint32_t status) { return dapr_v1_reply_status(status); }

static inline int32_t dapr_reply_header(const char *name, const char *value) {
    return dapr_v1_reply_header(name, dapr_length(name), value, dapr_length(value));
}

/* Why the event failed, in words for the caller. */
static inline int32_t dapr_reply_failure(const char *text) { return dapr_v1_reply_set(2, text, dapr_length(text)); }

static inline int32_t dapr_retry_after(uint32_t milliseconds) { return dapr_v1_retry_after(milliseconds); }

static inline int32_t dapr_outcome_(int32_t outcome, const char *why) {
    dapr_reply_failure(why);
    return outcome;
}

/* return dapr_outcome(DAPR_DROP, "no such colour: ", name); says why with texts, joined. */
#define dapr_outcome(outcome, ...) dapr_outcome_(outcome, dapr_join(__VA_ARGS__))

/* ---- log, time, configuration ---- */

enum { DAPR_DEBUG = 0, DAPR_INFO = 1, DAPR_WARNING = 2, DAPR_ERROR = 3 };

static inline void dapr_put_u32_(char *to, uint32_t value) {
    for (int i = 0; i < 4; i++) to[i] = (char)(value >> 8 * i);
}

static inline dapr_bytes dapr_encode_pairs_(dapr_strings texts) {
    dapr_bytes pairs = {NULL, 0};
    if (!texts) return pairs;
    for (dapr_strings at = texts; at[0] && at[1]; at += 2) pairs.size += 8 + dapr_length(at[0]) + dapr_length(at[1]);
    char *end = dapr_allocate(pairs.size);
    pairs.data = end;
    for (dapr_strings at = texts; at[0] && at[1]; at += 2) {
        uint32_t name = dapr_length(at[0]), value = dapr_length(at[1]);
        dapr_put_u32_(end, name), dapr_put_u32_(end + 4, value);
        if (name) memcpy(end + 8, at[0], name);
        if (value) memcpy(end + 8 + name, at[1], value);
        end += 8 + name + value;
    }
    return pairs;
}

static inline int32_t dapr_log_(uint32_t level, dapr_strings texts) {
    uint32_t mark = dapr_mark();
    dapr_bytes fields = dapr_encode_pairs_(texts[0] ? texts + 1 : NULL);
    int32_t error = dapr_v1_log(level, texts[0], dapr_length(texts[0]), fields.data, fields.size);
    dapr_release(mark);
    return error;
}

/* dapr_log(DAPR_INFO, "saved", "key", key): a line, and names and values of fields by turns. */
#define dapr_log(level, ...) dapr_log_(level, (const char *const[]){__VA_ARGS__, NULL})

/* Milliseconds until the event's deadline. */
static inline int64_t dapr_time_left(void) { return dapr_v1_time_left(); }

/* A value that the operator has given to this guest, or null. */
static inline const char *dapr_config(const char *name) {
    return dapr_take_(dapr_v1_config_read(name, dapr_length(name), DAPR_FREE_)).data;
}

/* ---- protobuf: writing ---- */

/* A message that is written: dapr_message request = {0}; dapr_put_text(&request, 1, "store"); … Absent texts and empty
 * bytes are left out, as protobuf's proto3 does. */
typedef struct {
    char *data;
    uint32_t size;
} dapr_message;

/* Room for `size` more bytes, where they are to be written. The message grows in its place while nothing else was
 * allocated behind it. */
static inline char *dapr_grow_(dapr_message *message, uint32_t size) {
    if (!message->data || message->data + message->size != dapr_memory_.bytes + dapr_memory_.used) {
        char *moved = dapr_allocate(message->size);
        if (message->size) memcpy(moved, message->data, message->size);
        message->data = moved;
    }
    if (size > DAPR_ROOM_) dapr_out_of_memory_();
    dapr_memory_.used += size;
    message->size += size;
    return message->data + message->size - size;
}

static inline uint32_t dapr_varint_(uint64_t value, char *to) {
    uint32_t size = 0;
    for (; value > 127; value >>= 7) to[size++] = (char)(value | 128);
    to[size++] = (char)value;
    return size;
}

static inline void dapr_put_varint_(dapr_message *message, uint64_t value) {
    char bytes[10];
    uint32_t size = dapr_varint_(value, bytes);
    memcpy(dapr_grow_(message, size), bytes, size);
}

/* A number or a boolean, also 0. */
static inline void dapr_put_number(dapr_message *message, uint32_t field, uint64_t value) {
    dapr_put_varint_(message, (uint64_t)field << 3);
    dapr_put_varint_(message, value);
}

static inline void dapr_put_bytes(dapr_message *message, uint32_t field, dapr_bytes bytes) {
    if (!bytes.size) return;
    dapr_put_varint_(message, (uint64_t)field << 3 | 2);
    dapr_put_varint_(message, bytes.size);
    memcpy(dapr_grow_(message, bytes.size), bytes.data, bytes.size);
}

static inline void dapr_put_text(dapr_message *message, uint32_t field, const char *text) {
    dapr_put_bytes(message, field, dapr_bytes_of(text));
}

/* A message inside this one: uint32_t inner = dapr_put_begin(&m, 2); … dapr_put_end(&m, inner). */
static inline uint32_t dapr_put_begin(dapr_message *message, uint32_t field) {
    dapr_put_varint_(message, (uint64_t)field << 3 | 2);
    return message->size;
}

static inline void dapr_put_end(dapr_message *message, uint32_t begin) {
    char bytes[10];
    uint32_t length = message->size - begin, size = dapr_varint_(length, bytes);
    dapr_grow_(message, size);
    for (uint32_t i = length; i-- > 0;) message->data[begin + size + i] = message->data[begin + i];
    memcpy(message->data + begin, bytes, size);
}

/* A map of texts: names and values by turns. */
static inline void dapr_put_map(dapr_message *message, uint32_t field, dapr_strings texts) {
    for (dapr_strings at = texts; at && at[0] && at[1]; at += 2) {
        uint32_t entry = dapr_put_begin(message, field);
        dapr_put_text(message, 1, at[0]);
        dapr_put_text(message, 2, at[1]);
        dapr_put_end(message, entry);
    }
}

/* ---- protobuf: reading ---- */

typedef struct {
    uint32_t number;
    uint64_t value;   /* of a number */
    dapr_bytes bytes; /* of texts, bytes and messages */
} dapr_field;

static inline int dapr_next_varint_(dapr_bytes *message, uint64_t *value) {
    *value = 0;
    for (uint32_t i = 0; i < message->size && i < 10; i++) {
        unsigned char byte = (unsigned char)message->data[i];
        *value |= (uint64_t)(byte & 127) << 7 * i;
        if (byte < 128) {
            message->data += i + 1, message->size -= i + 1;
            return 1;
        }
    }
    return 0;
}

/* Takes the first field out of `message`: 1; 0 at its end, and where it is malformed. */
static inline int dapr_next_field(dapr_bytes *message, dapr_field *field) {
    uint64_t tag, size;
    field->value = 0;
    field->bytes.data = NULL, field->bytes.size = 0;
    if (!dapr_next_varint_(message, &tag)) return 0;
    field->number = (uint32_t)(tag >> 3);
    switch (tag & 7) {
    case 0: return dapr_next_varint_(message, &field->value);
    case 1: size = 8; break;
    case 5: size = 4; break;
    case 2:
        if (dapr_next_varint_(message, &size)) break;
        return 0;
    default: return 0;
    }
    if (size > message->size) return 0;
    field->bytes.data = message->data;
    field->bytes.size = (uint32_t)size;
    message->data += size, message->size -= (uint32_t)size;
    return 1;
}

/* The last field of this number; of number 0 where there is none. */
static inline dapr_field dapr_find(dapr_bytes message, uint32_t number) {
    dapr_field field, found = {0, 0, {NULL, 0}};
    while (dapr_next_field(&message, &field))
        if (field.number == number) found = field;
    return found;
}

static inline const char *dapr_find_text_(dapr_bytes message, uint32_t number) {
    const char *text = dapr_text(dapr_find(message, number).bytes);
    return text ? text : "";
}

/* ---- calls ---- */

/* gRPC's codes, by which calls end. */
enum {
    DAPR_OK = 0,
    DAPR_CANCELLED = 1,
    DAPR_UNKNOWN = 2,
    DAPR_INVALID_ARGUMENT = 3,
    DAPR_DEADLINE_EXCEEDED = 4,
    DAPR_NOT_FOUND = 5,
    DAPR_ALREADY_EXISTS = 6,
    DAPR_PERMISSION_DENIED = 7,
    DAPR_RESOURCE_EXHAUSTED = 8,
    DAPR_FAILED_PRECONDITION = 9,
    DAPR_ABORTED = 10,
    DAPR_OUT_OF_RANGE = 11,
    DAPR_UNIMPLEMENTED = 12,
    DAPR_INTERNAL = 13,
    DAPR_UNAVAILABLE = 14,
    DAPR_DATA_LOSS = 15,
    DAPR_UNAUTHENTICATED = 16
};

/* How the response of a call is read. */
enum dapr_kind_ {
    DAPR_ANY_,
    DAPR_DATA_, /* field 1 is the data */
    DAPR_STATE_,
    DAPR_STATES_,
    DAPR_INVOKED_,
    DAPR_MAP_,
    DAPR_CONFIGURATION_,
    DAPR_NUMBER_,
    DAPR_JOB_
};

/* A call that was begun. */
typedef struct {
    int32_t handle; /* a number below 0 where it could not be begun */
    enum dapr_kind_ kind;
} dapr_call;

/* How a call ended, and what came back. Texts are never null. */
typedef struct {
    int32_t code;             /* DAPR_OK, another of gRPC's codes, or a number below 0: there was no call */
    const char *error;        /* why, where the code is not DAPR_OK */
    dapr_bytes data;          /* the value, the reply, the secret; data.size is 0 where there is none */
    const char *key;          /* of what dapr_next_item gives, and of a secret or a piece of configuration */
    const char *etag;         /* of a state; of configuration its version */
    const char *content_type; /* of an invocation's reply */
    uint64_t number;          /* of a lock: 1 where it was taken. Of its giving back: 0 where it was held by you */
    dapr_bytes message;       /* the whole response, as protobuf */
    enum dapr_kind_ kind_;
} dapr_result;

/* Begins a call of any method of the sidecar. `metadata` are gRPC's, as names and values; null for none. `milliseconds`
 * is how long it may take; 0 for as long as the event may. */
static inline dapr_call dapr_start(const char *method, dapr_message request, dapr_strings metadata,
                                   uint32_t milliseconds) {
    dapr_call call = {0, DAPR_ANY_};
    uint32_t mark = dapr_mark();
    dapr_bytes pairs = dapr_encode_pairs_(metadata);
    call.handle = dapr_v1_call_start(method, dapr_length(method), request.data, request.size, pairs.data, pairs.size,
                                     milliseconds);
    dapr_release(mark);
    return call;
}

/* The first items of a map or a list, or the next ones: 1 with `item`, 0 at the end. For dapr_state_get_bulk,
 * dapr_secret and dapr_configuration: while (dapr_next_item(&result, &item)) … item.key, item.data. */
static inline int dapr_next_item(dapr_result *result, dapr_result *item) {
    dapr_field field;
    do
        if (result->code || !dapr_next_field(&result->message, &field)) return 0;
    while (field.number != 1);
    item->code = DAPR_OK;
    item->kind_ = DAPR_ANY_;
    item->number = 0;
    item->message = field.bytes;
    item->key = dapr_find_text_(field.bytes, 1);
    item->data = dapr_find(field.bytes, 2).bytes;
    item->etag = item->error = item->content_type = "";
    if (result->kind_ == DAPR_STATES_) {
        item->etag = dapr_find_text_(field.bytes, 3);
        item->error = dapr_find_text_(field.bytes, 4);
        if (*item->error) item->code = DAPR_UNKNOWN;
    } else if (result->kind_ == DAPR_CONFIGURATION_) {
        item->etag = dapr_find_text_(item->data, 2);
        item->data = dapr_find(item->data, 1).bytes;
    }
    return 1;
}

static inline void dapr_decode_(dapr_result *result) {
    dapr_bytes message = result->message;
    switch (result->kind_) {
    case DAPR_STATE_: result->etag = dapr_find_text_(message, 2); /* fall through */
    case DAPR_DATA_: result->data = dapr_find(message, 1).bytes; break;
    case DAPR_INVOKED_:
        result->data = dapr_find(dapr_find(message, 1).bytes, 2).bytes;
        result->content_type = dapr_find_text_(message, 2);
        break;
    case DAPR_NUMBER_: result->number = dapr_find(message, 1).value; break;
    case DAPR_JOB_: {
        dapr_bytes job = dapr_find(message, 1).bytes;
        result->key = dapr_find_text_(job, 1);
        result->data = dapr_find(dapr_find(job, 6).bytes, 2).bytes;
        break;
    }
    case DAPR_MAP_:
    case DAPR_CONFIGURATION_: {
        dapr_result whole = *result, item;
        if (dapr_next_item(&whole, &item)) result->key = item.key, result->data = item.data, result->etag = item.etag;
        break;
    }
    case DAPR_ANY_:
    case DAPR_STATES_: break;
    }
}

static inline const char *dapr_number_name_(int32_t number) {
    switch (number) {
    case DAPR_INVALID: return "dapr_v1 takes no such call (INVALID)";
    case DAPR_BAD_HANDLE: return "there is no such call (BAD_HANDLE)";
    case DAPR_LIMIT: return "this event has as many calls, or bytes in them, as it may (LIMIT)";
    case DAPR_PENDING: return "the call has not ended (PENDING)";
    default: return "dapr_v1 gave a number below 0";
    }
}

/* Waits for a call, reads how it ended, and closes it. */
static inline dapr_result dapr_finish(dapr_call call) {
    dapr_result result = {call.handle, "", {NULL, 0}, "", "", "", 0, {NULL, 0}, call.kind};
    uint32_t handle = (uint32_t)call.handle;
    if (call.handle > 0) result.code = dapr_v1_call_wait(&handle, 1, 1, -1);
    if (call.handle == 0) result.code = DAPR_BAD_HANDLE;
    if (result.code > 0) result.code = dapr_v1_call_status(handle);
    if (result.code < 0) result.error = dapr_number_name_(result.code);
    if (call.handle <= 0) return result;
    if (result.code == DAPR_OK) {
        result.message = dapr_take_(dapr_v1_call_read(handle, 0, DAPR_FREE_));
        dapr_decode_(&result);
    } else if (result.code > 0) {
        const char *text = dapr_take_(dapr_v1_call_read(handle, 1, DAPR_FREE_)).data;
        if (text) result.error = text;
    }
    dapr_v1_call_close(handle);
    return result;
}

/* Cancels a call, where it has not ended. Whether it is carried out then is not known. */
static inline void dapr_give_up(dapr_call call) {
    if (call.handle > 0) dapr_v1_call_close((uint32_t)call.handle);
}

/* The position of the call that ended first; calls with the handle 0 are left out, and calls that could not be begun
 * have ended. So results come in order of arrival: finish calls[i], then set calls[i].handle = 0. `milliseconds`: how
 * long to wait; -1 until the event's deadline. DAPR_PENDING where that is over, DAPR_ABSENT where no call is left. */
static inline int32_t dapr_wait_any(const dapr_call *calls, uint32_t count, int32_t milliseconds) {
    uint32_t mark = dapr_mark(), open = 0;
    uint32_t *handles = dapr_allocate(8 * count), *positions = handles + count;
    for (uint32_t i = 0; i < count; i++) {
        if (calls[i].handle < 0) return dapr_release(mark), (int32_t)i;
        if (calls[i].handle > 0) handles[open] = (uint32_t)calls[i].handle, positions[open++] = i;
    }
    int32_t first = dapr_v1_call_wait(handles, open, 0, milliseconds);
    if (first >= 0) first = (int32_t)positions[first];
    dapr_release(mark);
    return first;
}

/* Finishes all calls, results[i] of calls[i]. The result is DAPR_OK, or the code of the first that has another;
 * `results` may be null. */
static inline int32_t dapr_finish_all(const dapr_call *calls, dapr_result *results, uint32_t count) {
    int32_t code = DAPR_OK;
    for (uint32_t i = 0; i < count; i++) {
        dapr_result result = dapr_finish(calls[i]);
        if (code == DAPR_OK) code = result.code;
        if (results) results[i] = result;
    }
    return code;
}

/* Whether the same call may succeed later, as it is: the sidecar did not answer, or not in time. */
static inline int dapr_is_passing(int32_t code) {
    return code == DAPR_UNAVAILABLE || code == DAPR_DEADLINE_EXCEEDED;
}

/* return dapr_failed(result): DAPR_RETRY where the same call may succeed later, else DAPR_FAILED, with the call's error
 * as the reason. */
static inline int32_t dapr_failed(dapr_result result) {
    return dapr_outcome_(dapr_is_passing(result.code) ? DAPR_RETRY : DAPR_FAILED, result.error);
}

/* ---- the usual requests ----
 *
 * Each is a macro in two forms. dapr_publish(…) makes the call, waits, and gives a dapr_result. dapr_publish_start(…)
 * only begins it and gives a dapr_call, so that several are under way at once. The arguments are the members of the
 * struct of that name below: the first ones in their order, the others by name, or not at all:
 *
 *     dapr_publish("pubsub", "results", data, .content_type = "text/plain", .metadata = dapr_texts("a", "b"));
 *
 * `.milliseconds` is how long the call may take. */

#define DAPR_REQUEST_(name, ...) dapr_##name##_(&(struct dapr_##name##_request){__VA_ARGS__, .end_ = 0})

static inline dapr_call dapr_started_(enum dapr_kind_ kind, const char *method, dapr_message request,
                                      uint32_t milliseconds) {
    dapr_call call = dapr_start(method, request, NULL, milliseconds);
    call.kind = kind;
    return call;
}

/* The value of a state. An absent key has no data and no etag. */
#define dapr_state_get(...) dapr_finish(dapr_state_get_start(__VA_ARGS__))
#define dapr_state_get_start(...) DAPR_REQUEST_(state_get, __VA_ARGS__)
struct dapr_state_get_request {
    const char *store, *key;
    dapr_strings metadata;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_state_get_(const struct dapr_state_get_request *of) {
    dapr_message request = {NULL, 0};
    dapr_put_text(&request, 1, of->store);
    dapr_put_text(&request, 2, of->key);
    dapr_put_map(&request, 4, of->metadata);
    return dapr_started_(DAPR_STATE_, "GetState", request, of->milliseconds);
}

/* Several states by one call: .keys = dapr_texts("a", "b", "c"), then dapr_next_item. */
#define dapr_state_get_bulk(...) dapr_finish(dapr_state_get_bulk_start(__VA_ARGS__))
#define dapr_state_get_bulk_start(...) DAPR_REQUEST_(state_get_bulk, __VA_ARGS__)
struct dapr_state_get_bulk_request {
    const char *store;
    dapr_strings keys, metadata;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_state_get_bulk_(const struct dapr_state_get_bulk_request *of) {
    dapr_message request = {NULL, 0};
    dapr_put_text(&request, 1, of->store);
    for (dapr_strings key = of->keys; key && *key; key++) dapr_put_text(&request, 2, *key);
    dapr_put_map(&request, 4, of->metadata);
    return dapr_started_(DAPR_STATES_, "GetBulkState", request, of->milliseconds);
}

/* An etag of null saves whatever is there. Another one, as dapr_state_get gave it, saves only if the state is still the
 * same, and an empty one only if it is still absent; the code is DAPR_ABORTED otherwise. */
static inline void dapr_put_etag_(dapr_message *request, uint32_t etag_field, uint32_t options_field,
                                  const char *etag) {
    if (!etag) return;
    uint32_t inner;
    if (*etag) {
        inner = dapr_put_begin(request, etag_field);
        dapr_put_text(request, 1, etag);
        dapr_put_end(request, inner);
    }
    inner = dapr_put_begin(request, options_field);
    dapr_put_number(request, 1, 1); /* first write wins */
    dapr_put_end(request, inner);
}

static inline void dapr_put_state_(dapr_message *request, uint32_t field, const char *key, dapr_bytes value,
                                   const char *etag, dapr_strings metadata) {
    uint32_t item = dapr_put_begin(request, field);
    dapr_put_text(request, 1, key);
    dapr_put_bytes(request, 2, value);
    dapr_put_etag_(request, 3, 5, etag);
    dapr_put_map(request, 4, metadata);
    dapr_put_end(request, item);
}

#define dapr_state_save(...) dapr_finish(dapr_state_save_start(__VA_ARGS__))
#define dapr_state_save_start(...) DAPR_REQUEST_(state_save, __VA_ARGS__)
struct dapr_state_save_request {
    const char *store, *key;
    dapr_bytes value;
    const char *etag;
    dapr_strings metadata;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_state_save_(const struct dapr_state_save_request *of) {
    dapr_message request = {NULL, 0};
    dapr_put_text(&request, 1, of->store);
    dapr_put_state_(&request, 2, of->key, of->value, of->etag, of->metadata);
    return dapr_started_(DAPR_ANY_, "SaveState", request, of->milliseconds);
}

#define dapr_state_delete(...) dapr_finish(dapr_state_delete_start(__VA_ARGS__))
#define dapr_state_delete_start(...) DAPR_REQUEST_(state_delete, __VA_ARGS__)
struct dapr_state_delete_request {
    const char *store, *key, *etag;
    dapr_strings metadata;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_state_delete_(const struct dapr_state_delete_request *of) {
    dapr_message request = {NULL, 0};
    dapr_put_text(&request, 1, of->store);
    dapr_put_text(&request, 2, of->key);
    dapr_put_etag_(&request, 3, 4, of->etag);
    dapr_put_map(&request, 5, of->metadata);
    return dapr_started_(DAPR_ANY_, "DeleteState", request, of->milliseconds);
}

/* All of it or nothing: dapr_operation both[] = {{"a", value}, {"b", .is_delete = 1}};
 * dapr_state_transaction("store", both, 2). */
typedef struct {
    const char *key;
    dapr_bytes value;
    const char *etag;
    dapr_strings metadata;
    int is_delete;
} dapr_operation;

#define dapr_state_transaction(...) dapr_finish(dapr_state_transaction_start(__VA_ARGS__))
#define dapr_state_transaction_start(...) DAPR_REQUEST_(state_transaction, __VA_ARGS__)
struct dapr_state_transaction_request {
    const char *store;
    const dapr_operation *operations;
    uint32_t count;
    dapr_strings metadata;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_state_transaction_(const struct dapr_state_transaction_request *of) {
    dapr_message request = {NULL, 0};
    dapr_put_text(&request, 1, of->store);
    for (uint32_t i = 0; i < of->count; i++) {
        const dapr_operation *one = of->operations + i;
        uint32_t operation = dapr_put_begin(&request, 2);
        dapr_put_text(&request, 1, one->is_delete ? "delete" : "upsert");
        dapr_put_state_(&request, 2, one->key, one->value, one->etag, one->metadata);
        dapr_put_end(&request, operation);
    }
    dapr_put_map(&request, 3, of->metadata);
    return dapr_started_(DAPR_ANY_, "ExecuteStateTransaction", request, of->milliseconds);
}

#define dapr_publish(...) dapr_finish(dapr_publish_start(__VA_ARGS__))
#define dapr_publish_start(...) DAPR_REQUEST_(publish, __VA_ARGS__)
struct dapr_publish_request {
    const char *pubsub, *topic;
    dapr_bytes data;
    const char *content_type;
    dapr_strings metadata;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_publish_(const struct dapr_publish_request *of) {
    dapr_message request = {NULL, 0};
    dapr_put_text(&request, 1, of->pubsub);
    dapr_put_text(&request, 2, of->topic);
    dapr_put_bytes(&request, 3, of->data);
    dapr_put_text(&request, 4, of->content_type);
    dapr_put_map(&request, 5, of->metadata);
    return dapr_started_(DAPR_ANY_, "PublishEvent", request, of->milliseconds);
}

/* A method of another application; DAPR_POST where `.verb` is 0. `.headers` are what it sees as headers. */
enum {
    DAPR_GET = 1,
    DAPR_HEAD = 2,
    DAPR_POST = 3,
    DAPR_PUT = 4,
    DAPR_DELETE = 5,
    DAPR_CONNECT = 6,
    DAPR_OPTIONS = 7,
    DAPR_TRACE = 8,
    DAPR_PATCH = 9
};
#define dapr_invoke(...) dapr_finish(dapr_invoke_start(__VA_ARGS__))
#define dapr_invoke_start(...) DAPR_REQUEST_(invoke, __VA_ARGS__)
struct dapr_invoke_request {
    const char *app, *method;
    dapr_bytes data;
    const char *content_type, *query;
    uint32_t verb;
    dapr_strings headers;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_invoke_(const struct dapr_invoke_request *of) {
    dapr_message request = {NULL, 0};
    dapr_put_text(&request, 1, of->app);
    uint32_t message = dapr_put_begin(&request, 3), inner;
    dapr_put_text(&request, 1, of->method);
    inner = dapr_put_begin(&request, 2);
    dapr_put_bytes(&request, 2, of->data);
    dapr_put_end(&request, inner);
    dapr_put_text(&request, 3, of->content_type);
    inner = dapr_put_begin(&request, 4);
    dapr_put_number(&request, 1, of->verb ? of->verb : DAPR_POST);
    dapr_put_text(&request, 2, of->query);
    dapr_put_end(&request, inner);
    dapr_put_end(&request, message);
    dapr_call call = dapr_start("InvokeService", request, of->headers, of->milliseconds);
    call.kind = DAPR_INVOKED_;
    return call;
}

/* An output binding. */
#define dapr_binding(...) dapr_finish(dapr_binding_start(__VA_ARGS__))
#define dapr_binding_start(...) DAPR_REQUEST_(binding, __VA_ARGS__)
struct dapr_binding_request {
    const char *name, *operation;
    dapr_bytes data;
    dapr_strings metadata;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_binding_(const struct dapr_binding_request *of) {
    dapr_message request = {NULL, 0};
    dapr_put_text(&request, 1, of->name);
    dapr_put_bytes(&request, 2, of->data);
    dapr_put_map(&request, 3, of->metadata);
    dapr_put_text(&request, 4, of->operation);
    return dapr_started_(DAPR_DATA_, "InvokeBinding", request, of->milliseconds);
}

/* A secret. Where it has several values, `data` is one of them: see dapr_next_item. */
#define dapr_secret(...) dapr_finish(dapr_secret_start(__VA_ARGS__))
#define dapr_secret_start(...) DAPR_REQUEST_(secret, __VA_ARGS__)
struct dapr_secret_request {
    const char *store, *key;
    dapr_strings metadata;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_secret_(const struct dapr_secret_request *of) {
    dapr_message request = {NULL, 0};
    dapr_put_text(&request, 1, of->store);
    dapr_put_text(&request, 2, of->key);
    dapr_put_map(&request, 3, of->metadata);
    return dapr_started_(DAPR_MAP_, "GetSecret", request, of->milliseconds);
}

/* Configuration by its keys: .keys = dapr_texts("a", "b"). `data` is the first value, dapr_next_item gives all. */
#define dapr_configuration(...) dapr_finish(dapr_configuration_start(__VA_ARGS__))
#define dapr_configuration_start(...) DAPR_REQUEST_(configuration, __VA_ARGS__)
struct dapr_configuration_request {
    const char *store;
    dapr_strings keys, metadata;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_configuration_(const struct dapr_configuration_request *of) {
    dapr_message request = {NULL, 0};
    dapr_put_text(&request, 1, of->store);
    for (dapr_strings key = of->keys; key && *key; key++) dapr_put_text(&request, 2, *key);
    dapr_put_map(&request, 3, of->metadata);
    return dapr_started_(DAPR_CONFIGURATION_, "GetConfiguration", request, of->milliseconds);
}

/* Takes a lock for some seconds; result.number is 1 where it was taken, 0 where another owner has it. */
#define dapr_lock(...) dapr_finish(dapr_lock_start(__VA_ARGS__))
#define dapr_lock_start(...) DAPR_REQUEST_(lock, __VA_ARGS__)
struct dapr_lock_request {
    const char *store, *resource, *owner;
    uint32_t seconds;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_lock_(const struct dapr_lock_request *of) {
    dapr_message request = {NULL, 0};
    dapr_put_text(&request, 1, of->store);
    dapr_put_text(&request, 2, of->resource);
    dapr_put_text(&request, 3, of->owner);
    dapr_put_number(&request, 4, of->seconds);
    return dapr_started_(DAPR_NUMBER_, "TryLockAlpha1", request, of->milliseconds);
}

/* Gives a lock back; result.number is 0, 1 where there is no such lock, 2 where it is another owner's, 3 for an error
 * of the store. */
#define dapr_unlock(...) dapr_finish(dapr_unlock_start(__VA_ARGS__))
#define dapr_unlock_start(...) DAPR_REQUEST_(unlock, __VA_ARGS__)
struct dapr_unlock_request {
    const char *store, *resource, *owner;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_unlock_(const struct dapr_unlock_request *of) {
    dapr_message request = {NULL, 0};
    dapr_put_text(&request, 1, of->store);
    dapr_put_text(&request, 2, of->resource);
    dapr_put_text(&request, 3, of->owner);
    return dapr_started_(DAPR_NUMBER_, "UnlockAlpha1", request, of->milliseconds);
}

/* A job that comes back as an event: .schedule = "@every 5m", or .due_time = "30s". `.data` is its body. */
#define dapr_job_schedule(...) dapr_finish(dapr_job_schedule_start(__VA_ARGS__))
#define dapr_job_schedule_start(...) DAPR_REQUEST_(job_schedule, __VA_ARGS__)
struct dapr_job_schedule_request {
    const char *name;
    const char *schedule, *due_time, *ttl;
    dapr_bytes data;
    uint32_t repeats;
    int overwrite;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_job_schedule_(const struct dapr_job_schedule_request *of) {
    dapr_message request = {NULL, 0};
    uint32_t job = dapr_put_begin(&request, 1);
    dapr_put_text(&request, 1, of->name);
    dapr_put_text(&request, 2, of->schedule);
    if (of->repeats) dapr_put_number(&request, 3, of->repeats);
    dapr_put_text(&request, 4, of->due_time);
    dapr_put_text(&request, 5, of->ttl);
    uint32_t data = dapr_put_begin(&request, 6);
    dapr_put_bytes(&request, 2, of->data);
    dapr_put_end(&request, data);
    dapr_put_end(&request, job);
    if (of->overwrite) dapr_put_number(&request, 2, 1);
    return dapr_started_(DAPR_ANY_, "ScheduleJob", request, of->milliseconds);
}

struct dapr_job_get_request {
    const char *name;
    uint32_t milliseconds;
    char end_;
};
/* A job's data; result.message has the rest of it. */
#define dapr_job_get(...) dapr_finish(dapr_job_get_start(__VA_ARGS__))
#define dapr_job_get_start(...) DAPR_REQUEST_(job_get, __VA_ARGS__)
static inline dapr_call dapr_job_get_(const struct dapr_job_get_request *of) {
    dapr_message request = {NULL, 0};
    dapr_put_text(&request, 1, of->name);
    return dapr_started_(DAPR_JOB_, "GetJob", request, of->milliseconds);
}

#define dapr_job_delete(...) dapr_finish(dapr_job_delete_start(__VA_ARGS__))
#define dapr_job_delete_start(...) DAPR_REQUEST_(job_delete, __VA_ARGS__)
struct dapr_job_delete_request {
    const char *name;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_job_delete_(const struct dapr_job_delete_request *of) {
    dapr_message request = {NULL, 0};
    dapr_put_text(&request, 1, of->name);
    return dapr_started_(DAPR_ANY_, "DeleteJob", request, of->milliseconds);
}

/* A method of an actor. */
#define dapr_actor(...) dapr_finish(dapr_actor_start(__VA_ARGS__))
#define dapr_actor_start(...) DAPR_REQUEST_(actor, __VA_ARGS__)
struct dapr_actor_request {
    const char *type, *id, *method;
    dapr_bytes data;
    dapr_strings metadata;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_actor_(const struct dapr_actor_request *of) {
    dapr_message request = {NULL, 0};
    dapr_put_text(&request, 1, of->type);
    dapr_put_text(&request, 2, of->id);
    dapr_put_text(&request, 3, of->method);
    dapr_put_bytes(&request, 4, of->data);
    dapr_put_map(&request, 5, of->metadata);
    return dapr_started_(DAPR_DATA_, "InvokeActor", request, of->milliseconds);
}

/* ---- the own turn of an actor ----
 *
 * The actor is DAPR_EVENT_NAME (its type) and DAPR_EVENT_ACTOR_ID; DAPR_EVENT_ACTOR_METHOD is the method, the timer or
 * the reminder. What is written in a turn is saved when the turn has ended well, all of it at once, and is given up when
 * it has not. dapr_actor_save saves at once what was written until then. */

static inline dapr_message dapr_own_actor_(void) {
    dapr_message request = {NULL, 0};
    dapr_put_text(&request, 1, dapr_event(DAPR_EVENT_NAME));
    dapr_put_text(&request, 2, dapr_event(DAPR_EVENT_ACTOR_ID));
    return request;
}

/* What is under a key of the actor's state. An absent key has no data. */
#define dapr_actor_get(...) dapr_finish(dapr_actor_get_start(__VA_ARGS__))
#define dapr_actor_get_start(...) DAPR_REQUEST_(actor_get, __VA_ARGS__)
struct dapr_actor_get_request {
    const char *key;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_actor_get_(const struct dapr_actor_get_request *of) {
    dapr_message request = dapr_own_actor_();
    dapr_put_text(&request, 3, of->key);
    return dapr_started_(DAPR_DATA_, "GetActorState", request, of->milliseconds);
}

static inline dapr_call dapr_actor_change_(const char *kind, const char *key, dapr_bytes value, dapr_strings metadata,
                                           uint32_t milliseconds) {
    dapr_message request = dapr_own_actor_();
    if (kind) {
        uint32_t operation = dapr_put_begin(&request, 3);
        dapr_put_text(&request, 1, kind);
        dapr_put_text(&request, 2, key);
        if (dapr_equal(kind, "upsert")) {
            uint32_t any = dapr_put_begin(&request, 3);
            dapr_put_bytes(&request, 2, value);
            dapr_put_end(&request, any);
        }
        dapr_put_map(&request, 4, metadata);
        dapr_put_end(&request, operation);
    }
    return dapr_started_(DAPR_ANY_, "ExecuteActorStateTransaction", request, milliseconds);
}

/* Puts a value under a key of the actor's state. */
#define dapr_actor_set(...) dapr_finish(dapr_actor_set_start(__VA_ARGS__))
#define dapr_actor_set_start(...) DAPR_REQUEST_(actor_set, __VA_ARGS__)
struct dapr_actor_set_request {
    const char *key;
    dapr_bytes value;
    dapr_strings metadata;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_actor_set_(const struct dapr_actor_set_request *of) {
    return dapr_actor_change_("upsert", of->key, of->value, of->metadata, of->milliseconds);
}

/* Takes a key out of the actor's state. */
#define dapr_actor_remove(...) dapr_finish(dapr_actor_remove_start(__VA_ARGS__))
#define dapr_actor_remove_start(...) DAPR_REQUEST_(actor_remove, __VA_ARGS__)
struct dapr_actor_remove_request {
    const char *key;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_actor_remove_(const struct dapr_actor_remove_request *of) {
    dapr_bytes none = {NULL, 0};
    return dapr_actor_change_("delete", of->key, none, NULL, of->milliseconds);
}

/* Saves at once what was written until now. It stays saved, also where the turn fails. */
static inline dapr_result dapr_actor_save(void) {
    dapr_bytes none = {NULL, 0};
    return dapr_finish(dapr_actor_change_(NULL, NULL, none, NULL, 0));
}

static inline dapr_message dapr_fires_(const char *name, const char *due_time, const char *period) {
    dapr_message request = dapr_own_actor_();
    dapr_put_text(&request, 3, name);
    dapr_put_text(&request, 4, due_time);
    dapr_put_text(&request, 5, period);
    return request;
}

/* A timer of the actor, which lasts as long as the actor is in memory: dapr_timer_set("tick", "10s", .period = "1m").
 * `.data` is the body of its events, `.callback` their DAPR_EVENT_CALLBACK. */
#define dapr_timer_set(...) dapr_finish(dapr_timer_set_start(__VA_ARGS__))
#define dapr_timer_set_start(...) DAPR_REQUEST_(timer_set, __VA_ARGS__)
struct dapr_timer_set_request {
    const char *name, *due_time, *period, *callback;
    dapr_bytes data;
    const char *ttl;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_timer_set_(const struct dapr_timer_set_request *of) {
    dapr_message request = dapr_fires_(of->name, of->due_time, of->period);
    dapr_put_text(&request, 6, of->callback);
    dapr_put_bytes(&request, 7, of->data);
    dapr_put_text(&request, 8, of->ttl);
    return dapr_started_(DAPR_ANY_, "RegisterActorTimer", request, of->milliseconds);
}

/* A reminder of the actor, which outlasts restarts: dapr_reminder_set("daily", "1h", .period = "24h"). */
#define dapr_reminder_set(...) dapr_finish(dapr_reminder_set_start(__VA_ARGS__))
#define dapr_reminder_set_start(...) DAPR_REQUEST_(reminder_set, __VA_ARGS__)
struct dapr_reminder_set_request {
    const char *name, *due_time, *period;
    dapr_bytes data;
    const char *ttl;
    uint32_t milliseconds;
    char end_;
};
static inline dapr_call dapr_reminder_set_(const struct dapr_reminder_set_request *of) {
    dapr_message request = dapr_fires_(of->name, of->due_time, of->period);
    dapr_put_bytes(&request, 6, of->data);
    dapr_put_text(&request, 7, of->ttl);
    return dapr_started_(DAPR_ANY_, "RegisterActorReminder", request, of->milliseconds);
}

/* Takes a timer or a reminder out. In its own turn, the outcome DAPR_STOP does that. */
static inline dapr_result dapr_timer_clear(const char *name) {
    dapr_message request = dapr_fires_(name, NULL, NULL);
    return dapr_finish(dapr_started_(DAPR_ANY_, "UnregisterActorTimer", request, 0));
}

static inline dapr_result dapr_reminder_clear(const char *name) {
    dapr_message request = dapr_fires_(name, NULL, NULL);
    return dapr_finish(dapr_started_(DAPR_ANY_, "UnregisterActorReminder", request, 0));
}

/* return dapr_refuse(409, "not enough: ", balance): a status for the caller of a method, with texts, joined. They are
 * the body: a caller over gRPC sees nothing else. */
static inline int32_t dapr_refuse_(uint32_t status, const char *text) {
    dapr_reply_status(status);
    dapr_reply_failure(text);
    dapr_reply_text(text);
    return DAPR_DONE;
}
#define dapr_refuse(status, ...) dapr_refuse_(status, dapr_join(__VA_ARGS__))

/* A function for the method, timer or reminder of a name. */
typedef struct {
    const char *name;
    int32_t (*call)(void);
} dapr_named;

static inline int32_t dapr_call_named_(const dapr_named *functions, uint32_t count, const char *kind) {
    const char *name = dapr_event(DAPR_EVENT_ACTOR_METHOD);
    if (!name) name = "";
    for (uint32_t i = 0; i < count; i++)
        if (dapr_equal(functions[i].name, name)) return functions[i].call();
    if (dapr_equal(dapr_event(DAPR_EVENT_TRIGGER), "actor")) return dapr_refuse(404, "there is no method ", name);
    return dapr_outcome(DAPR_DROP, "there is no ", kind, " ", name);
}

#define DAPR_NAMED_(trigger, ...)                                                                      \
    DAPR_ON(trigger) {                                                                                 \
        static const dapr_named functions[] = {__VA_ARGS__};                                           \
        return dapr_call_named_(functions, (uint32_t)(sizeof functions / sizeof *functions), #trigger); \
    }                                                                                                  \
    struct dapr_semicolon_

/* DAPR_ON_ACTOR({"deposit", deposit}, {"withdraw", withdraw}); calls static int32_t deposit(void) for the method
 * `deposit`. Another method is answered with the status 404; another timer or reminder is dropped. */
#define DAPR_ON_ACTOR(...) DAPR_NAMED_(actor, __VA_ARGS__)
#define DAPR_ON_TIMER(...) DAPR_NAMED_(timer, __VA_ARGS__)
#define DAPR_ON_REMINDER(...) DAPR_NAMED_(reminder, __VA_ARGS__)

#endif
