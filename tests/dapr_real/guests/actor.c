/* An actor for tests. What it does is its method's name:
 *
 *     add        adds the number that is the body to the state `n`, and gives the sum
 *     get        gives `n`
 *     version    gives the text VERSION that this guest was compiled with
 *     ends       adds 1000 to `n`, and ends then as the body says: trap, loop, grow, failed, retry, drop, teapot, absent
 *     waits      says `begun` in its log, waits until the state `gate-BODY` of the store `state` is there, adds 1 to `n`,
 *                and gives VERSION
 *     saves      saves `n` at once (state_now) as 7, and ends then as the body says
 *     calls      body TYPE/ID/METHOD/BODY: calls that method, gives its reply, and adds 1 to `n`
 *     ordered    adds its body and a line break to the state `heard`
 *     call-NAME  makes a call of the sidecar's method NAME; the body is the request, the reply is the response
 *
 * A timer or a reminder adds a line NAME|CALLBACK|DATA| to the state `fired`, and ends as the first word of its data
 * says: as those of `ends`, or stop; or it waits as `waits` does, for gate-NAME, where it is `waits`. */
#include "dapr.h"

#ifndef VERSION
#define VERSION "one"
#endif

__attribute__((import_module("wasi_snapshot_preview1"), import_name("poll_oneoff")))
int32_t poll_oneoff(const void *subscriptions, void *events, uint32_t count, uint32_t *got);

static void nap(uint64_t milliseconds) {
    /* __wasi_subscription_t: u64 userdata, u8 tag (0: clock), u32 clock id at 16, u64 timeout at 24, precision, flags */
    uint64_t subscription[6] = {0, 0, 1, milliseconds * 1000000, 0, 0}, event[4];
    uint32_t got;
    poll_oneoff(subscription, event, 1, &got);
}

static dapr_bytes get(const char *key) {
    dapr_result result = dapr_actor_get(key);
    if (result.code) {
        dapr_log(DAPR_ERROR, "no state", "why", result.error);
        __builtin_trap();
    }
    return result.data;
}

static void checked(dapr_result result) {
    if (result.code) {
        dapr_log(DAPR_ERROR, "not saved", "why", result.error);
        __builtin_trap();
    }
}

static void set(const char *key, dapr_bytes value) { checked(dapr_actor_set(key, value)); }

static dapr_bytes add(int64_t more) {
    dapr_bytes sum = dapr_bytes_of(dapr_number(dapr_number_of(get("n"), 0) + more));
    set("n", sum);
    return sum;
}

static void append(const char *key, const char *text) {
    const char *before = dapr_text(get(key));
    set(key, dapr_bytes_of(dapr_join(before ? before : "", text)));
}

static int is(const char *text, const char *other) { return dapr_equal(text, other); }

/* Ends as a word says; DONE for other words. */
static int32_t end(const char *how) {
    if (is(how, "trap")) __builtin_trap();
    if (is(how, "loop")) {
        for (volatile int i = 0;; i++) {
        }
    }
    if (is(how, "grow")) {
        while (__builtin_wasm_memory_grow(0, 16) != (unsigned long)-1) {
        }
        __builtin_trap();
    }
    if (is(how, "failed")) return dapr_outcome(DAPR_FAILED, "no film in the camera");
    if (is(how, "retry")) return dapr_outcome(DAPR_RETRY, "come back later");
    if (is(how, "drop")) return dapr_outcome(DAPR_DROP, "that is no photo");
    if (is(how, "stop")) return DAPR_STOP;
    if (is(how, "teapot")) return dapr_refuse(418, "teapot");
    if (is(how, "absent")) return dapr_refuse(404, "there is no such method");
    return DAPR_DONE;
}

static void wait_for(const char *gate) {
    const char *key = dapr_join("gate-", gate);
    dapr_log(DAPR_INFO, "begun", "gate", gate);
    for (;;) {
        uint32_t mark = dapr_mark();
        dapr_result result = dapr_state_get("state", key);
        if (result.code == DAPR_OK && result.data.size) break;
        dapr_release(mark);
        nap(20);
    }
}

static int32_t called(dapr_result result) {
    if (result.code) return dapr_failed(result);
    dapr_reply(result.message);
    return DAPR_DONE;
}

DAPR_ON(actor) {
    const char *method = dapr_event(DAPR_EVENT_ACTOR_METHOD), *body = dapr_text(dapr_body());
    if (is(method, "add")) return dapr_reply(add(dapr_number_of(dapr_bytes_of(body), 0))), DAPR_DONE;
    if (is(method, "get")) return dapr_reply(get("n")), DAPR_DONE;
    if (is(method, "version")) return dapr_reply(dapr_bytes_of(VERSION)), DAPR_DONE;
    if (is(method, "ends")) return add(1000), end(body);
    if (is(method, "waits")) {
        wait_for(body);
        add(1);
        dapr_reply_text(VERSION);
        return DAPR_DONE;
    }
    if (is(method, "saves")) {
        set("n", dapr_bytes_of("7"));
        checked(dapr_actor_save());
        add(1000);
        return end(body);
    }
    if (is(method, "ordered")) return append("heard", dapr_join(body, "\n")), DAPR_DONE;
    if (is(method, "calls")) {
        char *words[4] = {(char *)body, "", "", ""};
        char *at = (char *)body;
        for (int i = 1; i < 4; i++) {
            while (*at && *at != '/') at++;
            if (!*at) break;
            *at++ = 0;
            words[i] = at;
        }
        dapr_result result = dapr_actor(words[0], words[1], words[2], dapr_bytes_of(words[3]));
        if (result.code) return dapr_failed(result);
        add(1);
        dapr_reply(result.data);
        return DAPR_DONE;
    }
    if (method[0] == 'c' && method[1] == 'a' && method[2] == 'l' && method[3] == 'l' && method[4] == '-') {
        dapr_message request = {NULL, 0};
        dapr_bytes whole = dapr_body();
        request.data = (char *)whole.data, request.size = whole.size;
        return called(dapr_finish(dapr_start(method + 5, request, NULL, 0)));
    }
    return end("absent");
}

static int32_t fired(void) {
    const char *name = dapr_event(DAPR_EVENT_ACTOR_METHOD), *callback = dapr_event(DAPR_EVENT_CALLBACK);
    const char *data = dapr_text(dapr_body());
    append("fired", dapr_join(name, "|", callback ? callback : "", "|", data ? data : "", "|\n"));
    if (is(data, "waits")) wait_for(name);
    return end(data);
}

DAPR_ON(timer) { return fired(); }
DAPR_ON(reminder) { return fired(); }
#ifndef QUIET
DAPR_ON(activate) { return dapr_log(DAPR_INFO, "activated", "actor", dapr_event(DAPR_EVENT_ACTOR_ID)), DAPR_DONE; }
DAPR_ON(deactivate) { return dapr_log(DAPR_INFO, "deactivated", "actor", dapr_event(DAPR_EVENT_ACTOR_ID)), DAPR_DONE; }
#endif
