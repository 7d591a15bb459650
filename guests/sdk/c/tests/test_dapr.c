/* The header against the mock, natively: `make test`. What a host answers is tested with the examples. */
#include "../dapr_mock.h"

#define CHECK(condition)                                                                  \
    do                                                                                    \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);               \
            return 1;                                                                     \
        }                                                                                 \
    while (0)

static dapr_bytes bytes(dapr_message message) {
    dapr_bytes all = {message.data, message.size};
    return all;
}

static int has_text(dapr_bytes message, uint32_t field, const char *text) {
    return dapr_is(dapr_find(message, field).bytes, text);
}

static int test_texts(void) {
    dapr_mock_reset();
    CHECK(dapr_equal(dapr_join("a", "", "bc"), "abc"));
    CHECK(dapr_equal(dapr_number(0), "0"));
    CHECK(dapr_equal(dapr_number(INT64_MIN), "-9223372036854775808"));
    CHECK(dapr_number_of(dapr_bytes_of("9223372036854775807"), -1) == INT64_MAX);
    CHECK(dapr_number_of(dapr_bytes_of("9223372036854775808"), -1) == -1);
    CHECK(dapr_number_of(dapr_bytes_of("1x"), 7) == 7);
    CHECK(dapr_number_of(dapr_bytes_of(""), 7) == 7);
    CHECK(!dapr_equal(NULL, "") && dapr_equal(NULL, NULL) && !dapr_equal("a", "ab"));
    CHECK(dapr_is((dapr_bytes){"ab", 1}, "a") && !dapr_is((dapr_bytes){"a\0", 2}, "a"));
    CHECK(dapr_is((dapr_bytes){NULL, 0}, ""));
    return 0;
}

static int test_the_event(void) {
    dapr_mock_reset();
    dapr_mock_body("a\0b", 3);
    dapr_mock_event(DAPR_EVENT_NAME, "hello");
    dapr_mock_event(DAPR_EVENT_QUERY, "a=1&name=Ada+L%C3%B6w%2&b&name=x&=empty");
    dapr_mock_metadata("x-one", "1");
    dapr_mock_metadata("x-two", "22");
    dapr_mock_config("colour", "blue");
    CHECK(dapr_body_size() == 3 && dapr_body().size == 3 && dapr_body().data[2] == 'b');
    CHECK(dapr_equal(dapr_event(DAPR_EVENT_NAME), "hello"));
    CHECK(dapr_event(DAPR_EVENT_ID) == NULL && dapr_event(99) == NULL);
    CHECK(dapr_equal(dapr_query("name"), "Ada L\xc3\xb6w%2"));
    CHECK(dapr_equal(dapr_query("b"), "") && dapr_query("c") == NULL && dapr_equal(dapr_query(""), "empty"));
    static char many[60001]; /* more parameters than the memory has room for copies of */
    for (int i = 0; i < 60000; i++) many[i] = "a&"[i % 2];
    dapr_mock_event(DAPR_EVENT_QUERY, many);
    CHECK(dapr_query("b") == NULL && dapr_query("") == NULL && dapr_mark() < DAPR_MEMORY / 2);
    CHECK(dapr_equal(dapr_metadata("x-two"), "22") && dapr_metadata("x-three") == NULL);
    CHECK(dapr_equal(dapr_config("colour"), "blue") && dapr_config("size") == NULL);
    dapr_bytes all = dapr_metadata_all(), name, value;
    CHECK(dapr_next_pair(&all, &name, &value) && dapr_is(name, "x-one") && dapr_is(value, "1"));
    CHECK(dapr_next_pair(&all, &name, &value) && dapr_is(name, "x-two") && dapr_is(value, "22"));
    CHECK(!dapr_next_pair(&all, &name, &value));
    dapr_bytes torn = {"\x01\0\0\0\xff\xff\xff\xff" "a", 9};
    CHECK(!dapr_next_pair(&torn, &name, &value));
    return 0;
}

static int test_the_reply(void) {
    dapr_mock_reset();
    CHECK(dapr_reply_text("a") == 0 && dapr_reply_text("b") == 0 && dapr_reply_status(201) == 0);
    CHECK(dapr_reply_status(99) == DAPR_INVALID);
    CHECK(dapr_reply_type("text/plain") == 0 && dapr_reply_header("x-a", "1") == 0);
    CHECK(dapr_outcome(DAPR_DROP, "no ", "such") == DAPR_DROP);
    CHECK(dapr_equal(dapr_mock.reply, "ab") && dapr_mock.status == 201);
    CHECK(dapr_equal(dapr_mock.headers, "x-a: 1\n") && dapr_equal(dapr_mock.failure, "no such"));
    uint32_t mark = dapr_mark();
    dapr_log(DAPR_WARNING, "careful", "key", "value");
    CHECK(dapr_equal(dapr_mock.log, "warning careful\n") && dapr_mark() == mark);
    return 0;
}

static int test_messages(void) {
    dapr_mock_reset();
    char large[300];
    memset(large, 'x', sizeof large);
    dapr_message message = {NULL, 0};
    dapr_put_number(&message, 1, UINT64_MAX);
    uint32_t outer = dapr_put_begin(&message, 16);
    uint32_t inner = dapr_put_begin(&message, 2);
    dapr_put_bytes(&message, 3, (dapr_bytes){large, sizeof large});
    CHECK(dapr_equal(dapr_text((dapr_bytes){"in between", 10}), "in between"));
    dapr_put_end(&message, inner);
    dapr_put_map(&message, 4, dapr_texts("a", "b"));
    dapr_put_end(&message, outer);
    dapr_put_text(&message, 5, "");
    CHECK(dapr_find(bytes(message), 1).value == UINT64_MAX);
    dapr_bytes found = dapr_find(bytes(message), 16).bytes;
    CHECK(dapr_find(dapr_find(found, 2).bytes, 3).bytes.size == sizeof large);
    CHECK(has_text(dapr_find(found, 4).bytes, 2, "b"));
    CHECK(dapr_find(bytes(message), 5).number == 0);
    /* Fixed numbers are passed over; the last of two fields counts; what is torn is the end. */
    CHECK(has_text((dapr_bytes){"\x09" "12345678" "\x15" "1234" "\x1a\x01" "a" "\x1a\x01" "b", 20}, 3, "b"));
    CHECK(dapr_find((dapr_bytes){"\x0a\x05" "abc", 5}, 1).number == 0);
    CHECK(dapr_find((dapr_bytes){"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12}, 1).number == 0);
    CHECK(dapr_find((dapr_bytes){"\x0b", 1}, 1).number == 0);
    return 0;
}

/* Whatever the bytes are, what is read lies inside them. Each has memory of its own, so that a sanitizer sees a step
 * beyond. */
static int test_any_bytes(void) {
    uint32_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        uint32_t size = (seed >> 8) % 24;
        char *bytes = malloc(size ? size : 1);
        CHECK(bytes);
        for (uint32_t i = 0; i < size; i++) {
            seed = seed * 1664525 + 1013904223;
            bytes[i] = (char)(round % 2 ? seed >> 24 : (seed >> 24) % 20);
        }
        seed = seed * 1664525 + 1013904223;
        dapr_bytes left = {bytes, size}, name, value;
        for (dapr_field field; dapr_next_field(&left, &field);)
            if (field.bytes.size) CHECK(field.bytes.data >= bytes && field.bytes.data + field.bytes.size <= bytes + size);
        left = (dapr_bytes){bytes, size};
        while (dapr_next_pair(&left, &name, &value))
            CHECK(name.data >= bytes + 8 && value.data + value.size <= bytes + size);
        free(bytes);
    }
    return 0;
}

static int test_state(void) {
    dapr_mock_reset();
    dapr_mock_answer(DAPR_OK, dapr_mock_state("5", "7"));
    dapr_result seen = dapr_state_get("store", "key", .metadata = dapr_texts("partitionKey", "p"));
    CHECK(seen.code == DAPR_OK && dapr_is(seen.data, "5") && dapr_equal(seen.etag, "7") && *seen.error == 0);
    struct dapr_mock_call *call = dapr_mock.calls;
    CHECK(dapr_equal(call->method, "GetState") && call->closed);
    CHECK(has_text(call->request, 1, "store") && has_text(call->request, 2, "key"));
    CHECK(has_text(dapr_find(call->request, 4).bytes, 2, "p"));

    dapr_mock_answer(DAPR_ABORTED, dapr_bytes_of("stale etag"));
    dapr_result saved = dapr_state_save("store", "key", dapr_bytes_of("6"), .etag = seen.etag);
    CHECK(saved.code == DAPR_ABORTED && dapr_equal(saved.error, "stale etag"));
    CHECK(dapr_failed(saved) == DAPR_FAILED && dapr_equal(dapr_mock.failure, "stale etag"));
    saved.code = DAPR_UNAVAILABLE;
    CHECK(dapr_failed(saved) == DAPR_RETRY);
    dapr_bytes item = dapr_find(dapr_mock.calls[1].request, 2).bytes;
    CHECK(has_text(item, 1, "key") && has_text(item, 2, "6") && has_text(dapr_find(item, 3).bytes, 1, "7"));
    CHECK(dapr_find(dapr_find(item, 5).bytes, 1).value == 1);

    CHECK(dapr_state_save("store", "key", dapr_bytes_of("6"), .etag = "").code == DAPR_OK);
    item = dapr_find(dapr_mock.calls[2].request, 2).bytes;
    CHECK(dapr_find(item, 3).number == 0 && dapr_find(dapr_find(item, 5).bytes, 1).value == 1);
    CHECK(dapr_state_save("store", "key", dapr_bytes_of("6")).code == DAPR_OK);
    CHECK(dapr_find(dapr_find(dapr_mock.calls[3].request, 2).bytes, 5).number == 0);
    return 0;
}

static int test_items(void) {
    dapr_mock_reset();
    dapr_message message = {NULL, 0};
    uint32_t item = dapr_put_begin(&message, 1);
    dapr_put_text(&message, 1, "a"), dapr_put_text(&message, 2, "A"), dapr_put_text(&message, 3, "1");
    dapr_put_end(&message, item);
    item = dapr_put_begin(&message, 1);
    dapr_put_text(&message, 1, "b"), dapr_put_text(&message, 4, "broken");
    dapr_put_end(&message, item);
    dapr_mock_answer(DAPR_OK, bytes(message));
    dapr_result all = dapr_state_get_bulk("store", .keys = dapr_texts("a", "b")), one;
    CHECK(dapr_next_item(&all, &one) && dapr_equal(one.key, "a") && dapr_is(one.data, "A"));
    CHECK(dapr_equal(one.etag, "1"));
    CHECK(dapr_next_item(&all, &one) && one.code == DAPR_UNKNOWN && dapr_equal(one.error, "broken"));
    CHECK(!dapr_next_item(&all, &one));

    message = (dapr_message){NULL, 0};
    dapr_put_map(&message, 1, dapr_texts("user", "u", "password", "p"));
    dapr_mock_answer(DAPR_OK, bytes(message));
    dapr_result secret = dapr_secret("vault", "login");
    CHECK(dapr_equal(secret.key, "user") && dapr_is(secret.data, "u"));
    CHECK(dapr_next_item(&secret, &one) && dapr_next_item(&secret, &one) && dapr_is(one.data, "p"));
    CHECK(!dapr_next_item(&secret, &one));
    return 0;
}

static int test_calls_at_once(void) {
    dapr_mock_reset();
    dapr_mock_answer(DAPR_OK, dapr_mock_state("A", ""));
    dapr_mock_answer(DAPR_NOT_FOUND, dapr_bytes_of("no store"));
    dapr_call calls[] = {dapr_state_get_start("store", "a"), dapr_state_get_start("none", "b"), {DAPR_LIMIT, 0}};
    CHECK(dapr_wait_any(calls, 2, -1) == 0);
    CHECK(dapr_wait_any(calls, 3, -1) == 2);
    CHECK(dapr_is(dapr_finish(calls[0]).data, "A"));
    calls[0].handle = 0;
    CHECK(dapr_wait_any(calls, 2, -1) == 1);
    dapr_result results[3];
    CHECK(dapr_finish_all(calls + 1, results, 2) == DAPR_NOT_FOUND);
    CHECK(results[1].code == DAPR_LIMIT && strstr(results[1].error, "LIMIT"));
    CHECK(dapr_failed(results[0]) == DAPR_FAILED && dapr_equal(dapr_mock.failure, "no store"));
    CHECK(dapr_finish(calls[1]).code == DAPR_BAD_HANDLE);
    calls[1].handle = 0;
    CHECK(dapr_wait_any(calls, 2, 0) == DAPR_ABSENT);
    return 0;
}

static int test_an_invocation(void) {
    dapr_mock_reset();
    dapr_message answer = {NULL, 0};
    uint32_t any = dapr_put_begin(&answer, 1);
    dapr_put_text(&answer, 2, "paid");
    dapr_put_end(&answer, any);
    dapr_put_text(&answer, 2, "text/plain");
    dapr_mock_answer(DAPR_OK, bytes(answer));
    dapr_result paid = dapr_invoke("billing", "charge", dapr_bytes_of("{}"), .content_type = "application/json",
                                   .query = "a=1", .headers = dapr_texts("x-a", "b"));
    CHECK(dapr_is(paid.data, "paid") && dapr_equal(paid.content_type, "text/plain"));
    dapr_bytes message = dapr_find(dapr_mock.calls[0].request, 3).bytes, name, value;
    dapr_bytes pairs = dapr_mock.calls[0].metadata;
    CHECK(has_text(dapr_mock.calls[0].request, 1, "billing") && has_text(message, 1, "charge"));
    CHECK(has_text(dapr_find(message, 2).bytes, 2, "{}") && has_text(message, 3, "application/json"));
    CHECK(dapr_find(dapr_find(message, 4).bytes, 1).value == DAPR_POST);
    CHECK(dapr_next_pair(&pairs, &name, &value) && dapr_is(name, "x-a") && dapr_is(value, "b"));
    return 0;
}

static int32_t count(void) {
    dapr_result total = dapr_actor_get("total");
    if (total.code) return dapr_failed(total);
    const char *next = dapr_number(dapr_number_of(total.data, 0) + 1);
    dapr_result set = dapr_actor_set("total", dapr_bytes_of(next), .metadata = dapr_texts("ttlInSeconds", "9"));
    if (!set.code) set = dapr_actor_remove("draft");
    if (!set.code) set = dapr_actor_save();
    if (set.code) return dapr_failed(set);
    dapr_reply_text(next);
    return DAPR_DONE;
}

static int32_t stop(void) { return DAPR_STOP; }

static int32_t set_all(void) {
    dapr_timer_set("tick", "1s", .period = "2s", .callback = "again", .data = dapr_bytes_of("d"), .ttl = "9s");
    dapr_timer_clear("tick");
    dapr_reminder_set("daily", "1s", .period = "2s", .data = dapr_bytes_of("d"), .ttl = "9s");
    dapr_reminder_clear("daily");
    return DAPR_DONE;
}

DAPR_ON_ACTOR({"count", count}, {"set", set_all});
DAPR_ON_REMINDER({"daily", stop});

static int has_name(uint32_t call, const char *method, const char *name) {
    dapr_bytes request = dapr_mock.calls[call].request;
    return dapr_equal(dapr_mock.calls[call].method, method) && has_text(request, 1, "Counter") &&
           has_text(request, 2, "a") && has_text(request, 3, name);
}

static int test_an_actor(void) {
    dapr_mock_reset();
    dapr_mock_turn("actor", "Counter", "a", "count");
    dapr_mock_answer(DAPR_OK, dapr_mock_state("4", ""));
    CHECK(dapr_on_actor() == DAPR_DONE && dapr_equal(dapr_mock.reply, "5") && dapr_mock.calls_count == 4);
    CHECK(has_name(0, "GetActorState", "total"));
    dapr_bytes operation = dapr_find(dapr_mock.calls[1].request, 3).bytes;
    CHECK(has_text(operation, 1, "upsert") && has_text(operation, 2, "total"));
    CHECK(has_text(dapr_find(operation, 3).bytes, 2, "5") && has_text(dapr_find(operation, 4).bytes, 2, "9"));
    operation = dapr_find(dapr_mock.calls[2].request, 3).bytes;
    CHECK(has_text(operation, 1, "delete") && has_text(operation, 2, "draft"));
    CHECK(dapr_find(dapr_mock.calls[3].request, 3).number == 0);

    dapr_mock_turn("actor", "Counter", "a", "other");
    CHECK(dapr_on_actor() == DAPR_DONE && dapr_mock.status == 404);
    CHECK(dapr_equal(dapr_mock.reply, "5there is no method other"));
    dapr_mock_turn("reminder", "Counter", "a", "daily");
    CHECK(dapr_on_reminder() == DAPR_STOP);
    dapr_mock_turn("reminder", "Counter", "a", "count");
    CHECK(dapr_on_reminder() == DAPR_DROP && dapr_equal(dapr_mock.failure, "there is no reminder count"));
    return 0;
}

static int test_timers_and_reminders(void) {
    dapr_mock_reset();
    dapr_mock_turn("actor", "Counter", "a", "set");
    CHECK(dapr_on_actor() == DAPR_DONE && dapr_mock.calls_count == 4);
    CHECK(has_name(0, "RegisterActorTimer", "tick") && has_name(1, "UnregisterActorTimer", "tick"));
    CHECK(has_name(2, "RegisterActorReminder", "daily") && has_name(3, "UnregisterActorReminder", "daily"));
    dapr_bytes timer = dapr_mock.calls[0].request, reminder = dapr_mock.calls[2].request;
    CHECK(has_text(timer, 4, "1s") && has_text(timer, 5, "2s") && has_text(timer, 6, "again"));
    CHECK(has_text(timer, 7, "d") && has_text(timer, 8, "9s"));
    CHECK(has_text(reminder, 4, "1s") && has_text(reminder, 5, "2s") && has_text(reminder, 6, "d"));
    CHECK(has_text(reminder, 7, "9s"));
    return 0;
}

int main(void) {
    int (*const tests[])(void) = {test_texts, test_the_event, test_the_reply, test_messages, test_any_bytes,
                                  test_state, test_items, test_calls_at_once, test_an_invocation,
                                  test_an_actor, test_timers_and_reminders};
    int failed = 0;
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) failed += tests[i]();
    printf("%d of %d tests failed\n", failed, (int)(sizeof tests / sizeof *tests));
    return failed != 0;
}
