/* A host and a sidecar for tests of C guests, in the test program itself, on the machine that compiles it:
 *
 *     #include "dapr_mock.h"
 *     #include "../examples/hello.c"
 *
 *     int main(void) {
 *         dapr_mock_reset();
 *         dapr_mock_event(DAPR_EVENT_QUERY, "name=Ada");
 *         assert(dapr_on_invoke() == DAPR_DONE);
 *         assert(strcmp(dapr_mock.reply, "Hello, Ada!") == 0);
 *     }
 *
 * Include it in one source file. It records what the guest does, answers calls in the order in which they were begun,
 * and knows no grants and no limits: those are the host's. All is in `dapr_mock`, which dapr_mock_reset() empties. */
#ifndef DAPR_MOCK_H
#define DAPR_MOCK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dapr.h"

enum { DAPR_MOCK_MOST = 64, DAPR_MOCK_REPLY = 65536, DAPR_MOCK_KEPT = 1 << 20 };

struct dapr_mock_text {
    char name[128];
    dapr_bytes value;
};

struct dapr_mock_call {
    char method[129];
    dapr_bytes request;  /* protobuf: dapr_find reads it */
    dapr_bytes metadata; /* for dapr_next_pair */
    int32_t code;
    dapr_bytes answer;
    int closed;
};

static struct {
    dapr_bytes event[16];
    struct dapr_mock_text metadata[DAPR_MOCK_MOST], config[DAPR_MOCK_MOST];
    uint32_t metadata_count, config_count;
    char reply[DAPR_MOCK_REPLY + 1];
    uint32_t reply_size, status, retry_after;
    char content_type[257], failure[1025];
    char headers[4096]; /* a line `name: value` for each */
    char log[4096];     /* a line `level text` for each */
    struct dapr_mock_call calls[DAPR_MOCK_MOST];
    struct {
        int32_t code;
        dapr_bytes answer;
    } answers[DAPR_MOCK_MOST];
    uint32_t calls_count, answers_count;
    int64_t time_left;
} dapr_mock;

static struct {
    uint32_t used;
    char bytes[DAPR_MOCK_KEPT];
} dapr_mock_kept_;

static inline dapr_bytes dapr_mock_copy_(const void *data, uint32_t size) {
    if (size >= DAPR_MOCK_KEPT - dapr_mock_kept_.used) abort();
    char *copy = dapr_mock_kept_.bytes + dapr_mock_kept_.used;
    dapr_mock_kept_.used += size + 1;
    if (size) memcpy(copy, data, size);
    copy[size] = 0;
    dapr_bytes bytes = {copy, size};
    return bytes;
}

/* Forgets everything: the next event comes to a fresh instance. */
static inline void dapr_mock_reset(void) {
    memset(&dapr_mock, 0, sizeof dapr_mock);
    dapr_mock_kept_.used = 0;
    dapr_mock.status = 200;
    dapr_mock.time_left = 10000;
    dapr_mock.event[DAPR_EVENT_BODY] = dapr_mock_copy_("", 0);
    dapr_release(0);
}

static inline void dapr_mock_body(const void *data, uint32_t size) {
    dapr_mock.event[DAPR_EVENT_BODY] = dapr_mock_copy_(data, size);
}

static inline void dapr_mock_event(uint32_t field, const char *text) {
    dapr_mock.event[field] = dapr_mock_copy_(text, (uint32_t)strlen(text));
}

/* An actor's turn: `trigger` is actor, timer or reminder, `name` what is called. */
static inline void dapr_mock_turn(const char *trigger, const char *type, const char *id, const char *name) {
    dapr_mock_event(DAPR_EVENT_TRIGGER, trigger);
    dapr_mock_event(DAPR_EVENT_NAME, type);
    dapr_mock_event(DAPR_EVENT_ACTOR_ID, id);
    dapr_mock_event(DAPR_EVENT_ACTOR_METHOD, name);
}

static inline void dapr_mock_put_(struct dapr_mock_text *texts, uint32_t *count, const char *name, const char *value) {
    if (*count == DAPR_MOCK_MOST) abort();
    snprintf(texts[*count].name, sizeof texts->name, "%s", name);
    texts[(*count)++].value = dapr_mock_copy_(value, (uint32_t)strlen(value));
}

static inline void dapr_mock_metadata(const char *name, const char *value) {
    dapr_mock_put_(dapr_mock.metadata, &dapr_mock.metadata_count, name, value);
}

static inline void dapr_mock_config(const char *name, const char *value) {
    dapr_mock_put_(dapr_mock.config, &dapr_mock.config_count, name, value);
}

/* How the next call that has no answer yet ends: with DAPR_OK and a response message, or with another code and a text.
 * A call without an answer ends with DAPR_OK and an empty message. */
static inline void dapr_mock_answer(int32_t code, dapr_bytes message) {
    if (dapr_mock.answers_count == DAPR_MOCK_MOST) abort();
    dapr_mock.answers[dapr_mock.answers_count].code = code;
    dapr_mock.answers[dapr_mock.answers_count++].answer = dapr_mock_copy_(message.data, message.size);
}

/* The response message of a state: dapr_mock_answer(DAPR_OK, dapr_mock_state("5", "1")). */
static inline dapr_bytes dapr_mock_state(const char *value, const char *etag) {
    dapr_message message = {NULL, 0};
    dapr_put_text(&message, 1, value);
    dapr_put_text(&message, 2, etag);
    dapr_bytes bytes = {message.data, message.size};
    return bytes;
}

/* ---- the functions of dapr_v1 ---- */

static inline int32_t dapr_mock_give_(dapr_bytes bytes, uint32_t offset, void *buffer, uint32_t capacity) {
    if (offset < bytes.size && capacity) {
        uint32_t left = bytes.size - offset;
        memcpy(buffer, bytes.data + offset, left < capacity ? left : capacity);
    }
    return (int32_t)bytes.size;
}

static inline int32_t dapr_mock_look_(const struct dapr_mock_text *texts, uint32_t count, const char *name,
                                      uint32_t length, uint32_t offset, void *buffer, uint32_t capacity) {
    for (uint32_t i = 0; i < count; i++)
        if (strlen(texts[i].name) == length && memcmp(texts[i].name, name, length) == 0)
            return dapr_mock_give_(texts[i].value, offset, buffer, capacity);
    return DAPR_ABSENT;
}

int32_t dapr_v1_event_read(uint32_t field, uint32_t offset, void *buffer, uint32_t capacity) {
    if (field >= sizeof dapr_mock.event / sizeof *dapr_mock.event || !dapr_mock.event[field].data) return DAPR_ABSENT;
    return dapr_mock_give_(dapr_mock.event[field], offset, buffer, capacity);
}

int32_t dapr_v1_event_metadata(const char *name, uint32_t length, uint32_t offset, void *buffer, uint32_t capacity) {
    return dapr_mock_look_(dapr_mock.metadata, dapr_mock.metadata_count, name, length, offset, buffer, capacity);
}

int32_t dapr_v1_event_metadata_all(uint32_t offset, void *buffer, uint32_t capacity) {
    static char pairs[65536];
    dapr_bytes all = {pairs, 0};
    for (uint32_t i = 0; i < dapr_mock.metadata_count; i++) {
        struct dapr_mock_text *one = dapr_mock.metadata + i;
        uint32_t length = (uint32_t)strlen(one->name);
        if (sizeof pairs - all.size < 8 + length + one->value.size) abort();
        dapr_put_u32_(pairs + all.size, length), dapr_put_u32_(pairs + all.size + 4, one->value.size);
        memcpy(pairs + all.size + 8, one->name, length);
        memcpy(pairs + all.size + 8 + length, one->value.data, one->value.size);
        all.size += 8 + length + one->value.size;
    }
    return dapr_mock_give_(all, offset, buffer, capacity);
}

int32_t dapr_v1_reply_write(const void *data, uint32_t length) {
    if (length > DAPR_MOCK_REPLY - dapr_mock.reply_size) return DAPR_LIMIT;
    if (length) memcpy(dapr_mock.reply + dapr_mock.reply_size, data, length);
    dapr_mock.reply_size += length;
    return 0;
}

int32_t dapr_v1_reply_set(uint32_t field, const char *text, uint32_t length) {
    if (field == 1 && length < sizeof dapr_mock.content_type)
        return snprintf(dapr_mock.content_type, sizeof dapr_mock.content_type, "%.*s", (int)length, text), 0;
    if (field == 2) return snprintf(dapr_mock.failure, sizeof dapr_mock.failure, "%.*s", (int)length, text), 0;
    return DAPR_INVALID;
}

int32_t dapr_v1_reply_status(uint32_t status) {
    if (status < 200 || status > 599) return DAPR_INVALID;
    dapr_mock.status = status;
    return 0;
}

static inline void dapr_mock_line_(char *lines, size_t room, const char *first, const char *between, const char *text,
                                   uint32_t length) {
    size_t used = strlen(lines);
    snprintf(lines + used, room - used, "%s%s%.*s\n", first, between, (int)length, text);
}

int32_t dapr_v1_reply_header(const char *name, uint32_t name_length, const char *value, uint32_t value_length) {
    char key[257];
    snprintf(key, sizeof key, "%.*s", (int)name_length, name);
    dapr_mock_line_(dapr_mock.headers, sizeof dapr_mock.headers, key, ": ", value, value_length);
    return 0;
}

int32_t dapr_v1_retry_after(uint32_t milliseconds) {
    dapr_mock.retry_after = milliseconds;
    return 0;
}

int32_t dapr_v1_log(uint32_t level, const char *text, uint32_t length, const void *fields, uint32_t fields_length) {
    static const char *const names[] = {"debug", "info", "warning", "error"};
    (void)fields, (void)fields_length;
    if (level > 3) return DAPR_INVALID;
    dapr_mock_line_(dapr_mock.log, sizeof dapr_mock.log, names[level], " ", text, length);
    return 0;
}

int64_t dapr_v1_time_left(void) { return dapr_mock.time_left; }

int32_t dapr_v1_config_read(const char *name, uint32_t length, uint32_t offset, void *buffer, uint32_t capacity) {
    return dapr_mock_look_(dapr_mock.config, dapr_mock.config_count, name, length, offset, buffer, capacity);
}

int32_t dapr_v1_call_start(const char *method, uint32_t method_length, const void *request, uint32_t length,
                           const void *metadata, uint32_t metadata_length, uint32_t milliseconds) {
    (void)milliseconds;
    if (method_length > 128) return DAPR_INVALID;
    if (dapr_mock.calls_count == DAPR_MOCK_MOST) return DAPR_LIMIT;
    struct dapr_mock_call *call = dapr_mock.calls + dapr_mock.calls_count;
    memcpy(call->method, method, method_length);
    call->request = dapr_mock_copy_(request, length);
    call->metadata = dapr_mock_copy_(metadata, metadata_length);
    call->code = dapr_mock.answers[dapr_mock.calls_count].code;
    call->answer = dapr_mock.answers[dapr_mock.calls_count].answer;
    return (int32_t)++dapr_mock.calls_count;
}

static inline struct dapr_mock_call *dapr_mock_open_(uint32_t handle) {
    if (handle == 0 || handle > dapr_mock.calls_count || dapr_mock.calls[handle - 1].closed) return NULL;
    return dapr_mock.calls + handle - 1;
}

int32_t dapr_v1_call_wait(const uint32_t *handles, uint32_t count, uint32_t mode, int32_t milliseconds) {
    (void)milliseconds;
    if (mode > 1 || count > 1024) return DAPR_INVALID;
    for (uint32_t i = 0; i < count; i++)
        if (!dapr_mock_open_(handles[i])) return DAPR_BAD_HANDLE;
    if (mode == 1) return (int32_t)count;
    uint32_t first = 0;
    for (uint32_t i = 1; i < count; i++)
        if (handles[i] < handles[first]) first = i;
    return count ? (int32_t)first : DAPR_ABSENT;
}

int32_t dapr_v1_call_status(uint32_t handle) {
    struct dapr_mock_call *call = dapr_mock_open_(handle);
    return call ? call->code : DAPR_BAD_HANDLE;
}

int32_t dapr_v1_call_read(uint32_t handle, uint32_t part, uint32_t offset, void *buffer, uint32_t capacity) {
    struct dapr_mock_call *call = dapr_mock_open_(handle);
    if (!call) return DAPR_BAD_HANDLE;
    if (part > 1 || (part == 0) != (call->code == DAPR_OK)) return DAPR_ABSENT;
    return dapr_mock_give_(call->answer, offset, buffer, capacity);
}

int32_t dapr_v1_call_close(uint32_t handle) {
    struct dapr_mock_call *call = dapr_mock_open_(handle);
    if (!call) return DAPR_BAD_HANDLE;
    call->closed = 1;
    return 0;
}

#endif
