/* An account of the actors' checker (actors_checker.py, which says what must hold). Methods, with words in the body:
 *
 *     deposit ID AMOUNT      adds to the balance
 *     send ID AMOUNT TO      has the account TO take the deposit ID, and takes the amount from its own balance
 *     later ID AMOUNT TO     takes the amount, and has a reminder ID bring it to TO
 *
 * ID is of the operation: one that is done already is not done again. Every turn saves its token as `busy` when it
 * begins, at once, and takes it away with all that it saves at its end. What it did is the value of `t-ID`:
 * NUMBER AMOUNT BEGIN END TOKEN BUSY: of the turn, the change of the balance, times in microseconds, the turn's token,
 * and what `busy` was when it began, or `-`. `head` is NUMBER BALANCE. `out-ID` is what a reminder has to bring. */
#include "dapr.h"

__attribute__((import_module("wasi_snapshot_preview1"), import_name("clock_time_get")))
int32_t clock_time_get(uint32_t id, uint64_t precision, uint64_t *time);
__attribute__((import_module("wasi_snapshot_preview1"), import_name("random_get")))
int32_t random_get(void *buffer, uint32_t length);

enum { WORDS = 3 };
static const char *words[WORDS] = {"", "", ""};
static const char *token, *busy, *begin;
static int64_t number, balance;

static const char *now(void) {
    uint64_t time = 0;
    clock_time_get(0, 1000, &time);
    return dapr_number((int64_t)(time / 1000));
}

static void split(const char *text, const char **to, int count) {
    char *at = (char *)text;
    for (int i = 0; at && i < count; i++) {
        to[i] = at;
        while (*at && *at != ' ') at++;
        if (!*at) return;
        *at++ = 0;
    }
}

static int64_t number_of(const char *text) {
    int64_t minus = text[0] == '-';
    int64_t value = dapr_number_of(dapr_bytes_of(text + minus), 0);
    return minus ? -value : value;
}

/* What the last call that failed said; null where none has. */
static const char *error;

static dapr_bytes get(const char *key) {
    dapr_result result = dapr_actor_get(key);
    if (result.code && !error) error = result.error;
    return result.data;
}

static void done(dapr_result result) {
    if (result.code && !error) error = result.error;
}

/* Begins the turn. */
static void begins(void) {
    uint64_t random;
    random_get(&random, sizeof random);
    token = dapr_number((int64_t)(random >> 1));
    begin = now();
    split(dapr_text(dapr_body()), words, WORDS);
    dapr_bytes before = get("busy"), head = get("head");
    busy = before.size ? dapr_text(before) : "-";
    const char *parts[2] = {"0", "0"};
    split(dapr_text(head), parts, 2);
    number = number_of(parts[0]), balance = number_of(parts[1]);
    done(dapr_actor_set("busy", dapr_bytes_of(token)));
    done(dapr_actor_save());
}

/* Ends the turn, which changes the balance under an operation's id. */
static int32_t ends(const char *id, int64_t change) {
    const char *count = dapr_number(number + 1), *sum = dapr_number(balance + change), *amount = dapr_number(change);
    const char *told = dapr_join(count, " ", amount, " ", begin, " ", now(), " ", token, " ", busy);
    done(dapr_actor_set(dapr_join("t-", id), dapr_bytes_of(told)));
    done(dapr_actor_set("head", dapr_bytes_of(dapr_join(count, " ", sum))));
    done(dapr_actor_remove("busy"));
    if (error) return dapr_outcome(DAPR_FAILED, error);
    dapr_reply_text("done");
    return DAPR_DONE;
}

/* Whether the operation was done before, or cannot be. */
static int over(void) { return error || get(dapr_join("t-", words[0])).size || error; }

static int32_t told(void) {
    done(dapr_actor_remove("busy"));
    if (error) return dapr_outcome(DAPR_FAILED, error);
    dapr_reply_text("again");
    return DAPR_DONE;
}

static int32_t deposit(void) {
    begins();
    if (over()) return told();
    return ends(words[0], number_of(words[1]));
}

static int brings(const char *id, const char *amount, const char *to) {
    dapr_bytes body = dapr_bytes_of(dapr_join(id, " ", amount));
    dapr_result result = dapr_actor(dapr_event(DAPR_EVENT_NAME), to, "deposit", body, .milliseconds = 8000);
    done(result);
    return !result.code;
}

static int32_t send(void) {
    begins();
    if (over()) return told();
    brings(words[0], words[1], words[2]);
    return ends(words[0], -number_of(words[1]));
}

static int32_t later(void) {
    begins();
    if (over()) return told();
    done(dapr_reminder_set(words[0], "0s", .period = "2s"));
    done(dapr_actor_set(dapr_join("out-", words[0]), dapr_bytes_of(dapr_join(words[1], " ", words[2]))));
    return ends(words[0], -number_of(words[1]));
}

DAPR_ON_ACTOR({"deposit", deposit}, {"send", send}, {"later", later});

DAPR_ON(reminder) {
    const char *name = dapr_event(DAPR_EVENT_ACTOR_METHOD), *key = dapr_join("out-", name);
    const char *what[2] = {"0", ""};
    begins();
    dapr_bytes out = get(key);
    if (error) return dapr_outcome(DAPR_FAILED, error);
    if (!out.size) return told() == DAPR_DONE ? DAPR_STOP : DAPR_FAILED;
    split(dapr_text(out), what, 2);
    if (!brings(name, what[0], what[1])) return dapr_outcome(DAPR_FAILED, error);
    done(dapr_actor_remove(key));
    return ends(dapr_join(name, "-brought"), 0) == DAPR_DONE ? DAPR_STOP : DAPR_FAILED;
}
