/* A bank account for each customer, as an actor: the balance is a state, and so is each transfer, under its id. */
#include "dapr.h"

enum { MOST = 1000000000, PERCENT = 100 };

static int64_t number_under(const char *key, dapr_result *read) {
    *read = dapr_actor_get(key);
    return dapr_number_of(read->data, 0);
}

/* The number that a text is, or 0 where it is no amount. */
static int64_t amount_of(const char *text) {
    int64_t amount = dapr_number_of(dapr_bytes_of(text), 0);
    return amount <= MOST ? amount : 0;
}

static int32_t no_amount(void) { return dapr_outcome(DAPR_DROP, "this is not an amount"); }
static int32_t no_transfer(void) { return dapr_outcome(DAPR_DROP, "this is not a transfer"); }

static dapr_result keep(const char *key, int64_t number) {
    return dapr_actor_set(key, dapr_bytes_of(dapr_number(number)));
}

/* Saves the balance and replies with it. */
static int32_t with_balance(int64_t balance) {
    dapr_result kept = keep("balance", balance);
    if (kept.code) return dapr_failed(kept);
    dapr_reply_text(dapr_number(balance));
    return DAPR_DONE;
}

static int32_t not_enough(int64_t balance) { return dapr_refuse(409, "not enough: the balance is ", dapr_number(balance)); }

static int32_t balance(void) {
    dapr_result read;
    int64_t balance = number_under("balance", &read);
    if (read.code) return dapr_failed(read);
    dapr_reply_text(dapr_number(balance));
    return DAPR_DONE;
}

static int32_t deposit(void) {
    dapr_result read;
    int64_t amount = amount_of(dapr_text(dapr_body())), balance = number_under("balance", &read);
    if (read.code) return dapr_failed(read);
    return amount ? with_balance(balance + amount) : no_amount();
}

static int32_t withdraw(void) {
    dapr_result read;
    int64_t amount = amount_of(dapr_text(dapr_body())), balance = number_under("balance", &read);
    if (read.code) return dapr_failed(read);
    if (!amount) return no_amount();
    return amount > balance ? not_enough(balance) : with_balance(balance - amount);
}

/* Splits a text at its first space: the end of the first word is a zero then, and the result is what follows. Null
 * where there is no space or no word. */
static const char *rest_of(char *text) {
    char *at = text;
    while (*at && *at != ' ') at++;
    if (!*at || at == text) return NULL;
    *at = 0;
    return at + 1;
}

static char *copied(dapr_bytes bytes) { return (char *)dapr_text(bytes); }

static int32_t transfer(void) {
    char *id = copied(dapr_body());
    const char *rest = rest_of(id);
    if (!rest) return no_transfer();
    const char *key = dapr_join("sent-", id);
    dapr_result sent = dapr_actor_get(key), read;
    int64_t balance = number_under("balance", &read);
    if (sent.code || read.code) return dapr_failed(sent.code ? sent : read);

    char *to = copied(sent.data.size ? sent.data : dapr_bytes_of(rest));
    const char *sum = rest_of(to);
    if (!sum || dapr_equal(to, dapr_event(DAPR_EVENT_ACTOR_ID))) return no_transfer();
    if (!sent.data.size) { /* the money is taken out, and that is saved, before it is somewhere else */
        int64_t amount = amount_of(sum);
        if (!amount) return no_amount();
        if (amount > balance) return not_enough(balance);
        balance -= amount;
        dapr_result kept = dapr_actor_set(key, dapr_bytes_of(rest));
        if (!kept.code) kept = keep("balance", balance);
        if (!kept.code) kept = dapr_actor_save();
        if (kept.code) return dapr_failed(kept);
    }
    dapr_result received = dapr_actor(dapr_event(DAPR_EVENT_NAME), to, "receive", dapr_bytes_of(dapr_join(id, " ", sum)));
    if (received.code) return dapr_failed(received);
    dapr_reply_text(dapr_number(balance));
    return DAPR_DONE;
}

static int32_t receive(void) {
    char *id = copied(dapr_body());
    const char *sum = rest_of(id);
    if (!sum) return no_transfer();
    int64_t amount = amount_of(sum);
    if (!amount) return no_amount();
    const char *key = dapr_join("received-", id);
    dapr_result received = dapr_actor_get(key), read;
    int64_t balance = number_under("balance", &read);
    if (received.code || read.code) return dapr_failed(received.code ? received : read);
    if (received.data.size) return with_balance(balance);
    dapr_result kept = keep(key, amount);
    return kept.code ? dapr_failed(kept) : with_balance(balance + amount);
}

static int32_t start_interest(void) {
    dapr_bytes times = dapr_body();
    if (!amount_of(dapr_text(times))) return no_amount();
    dapr_result kept = keep("interest", 0);
    if (kept.code) return dapr_failed(kept);
    dapr_result set = dapr_reminder_set("interest", "1s", .period = "1s", .data = times);
    return set.code ? dapr_failed(set) : DAPR_DONE;
}

static int32_t pay_interest(void) {
    int64_t times = amount_of(dapr_text(dapr_body()));
    dapr_result read_balance, read_paid;
    int64_t balance = number_under("balance", &read_balance), paid = number_under("interest", &read_paid) + 1;
    if (read_balance.code || read_paid.code) return dapr_failed(read_balance.code ? read_balance : read_paid);
    if (!times) return no_amount();
    dapr_result kept = keep("balance", balance + balance / PERCENT);
    if (!kept.code) kept = keep("interest", paid);
    if (kept.code) return dapr_failed(kept);
    return paid >= times ? DAPR_STOP : DAPR_DONE;
}

DAPR_ON_ACTOR({"balance", balance}, {"deposit", deposit}, {"withdraw", withdraw}, {"transfer", transfer},
              {"receive", receive}, {"interest", start_interest});
DAPR_ON_REMINDER({"interest", pay_interest});
