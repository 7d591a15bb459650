/* The demo's thermostat: an actor for each room. Its reminder `measure` takes a reading, runs a model on the last eight
 * of them, and heats where the room will be too cold three steps later. Each step of heating is told to another actor,
 * the ledger.
 *
 * The room is made up: a step of heating makes it 0.6 degrees warmer, another step 0.3 degrees colder. Temperatures are
 * kept in tenths of a degree. */
#include "dapr.h"
#include "wasi_nn.h"

enum { READINGS = 8, STEPS = 12, BEGIN = 185, WARMER = 6, COLDER = 3 };

static int64_t number_under(const char *key, int64_t otherwise) {
    return dapr_number_of(dapr_actor_get(key).data, otherwise);
}

static int32_t keep(const char *key, const char *value) { return dapr_actor_set(key, dapr_bytes_of(value)).code; }

/* 205 as 20.5; a temperature below zero is not needed here. */
static const char *degrees(int64_t tenths) {
    return dapr_join(dapr_number(tenths / 10), ".", dapr_number(tenths % 10));
}

/* `start` with the target in tenths of a degree: the reminder is set, and begins anew. */
static int32_t start(void) {
    dapr_bytes target = dapr_body();
    int64_t tenths = dapr_number_of(target, 0);
    if (tenths < 50 || tenths > 300) return dapr_refuse(400, "a target is 50 to 300 tenths of a degree");
    if (keep("target", dapr_number(tenths)) || keep("steps", "0") || keep("readings", "") || keep("heating", "0"))
        return DAPR_FAILED;
    dapr_result set = dapr_reminder_set("measure", "0s", .period = "1s");
    return set.code ? dapr_failed(set) : DAPR_DONE;
}

/* The readings so far, oldest first, as floats; how many there are. They are kept as text, a space behind each. */
static uint32_t readings_of(dapr_bytes text, float *readings) {
    uint32_t count = 0, begin = 0;
    for (uint32_t at = 0; at < text.size && count < READINGS; at++)
        if (text.data[at] == ' ') {
            readings[count++] = (float)dapr_number_of((dapr_bytes){text.data + begin, at - begin}, 0);
            begin = at + 1;
        }
    return count;
}

static int32_t measure(void) {
    static const uint32_t shape[] = {1, READINGS};
    static float readings[READINGS + 1];
    int64_t heating = number_under("heating", 0), steps = number_under("steps", 0) + 1;
    uint32_t count = readings_of(dapr_actor_get("readings").data, readings);
    int64_t now = count ? (int64_t)readings[count - 1] + (heating ? WARMER : -COLDER) : BEGIN;

    if (count == READINGS) /* the oldest goes */
        for (uint32_t i = 0; i < READINGS; i++) readings[i] = i + 1 < READINGS ? readings[i + 1] : (float)now;
    else
        readings[count++] = (float)now;
    const char *kept = "";
    for (uint32_t i = 0; i < count; i++) kept = dapr_join(kept, dapr_number((int64_t)readings[i]), " ");

    float next = readings[count - 1];
    if (count == READINGS) {
        struct wasi_nn_tensor tensor = {shape, 2, WASI_NN_F32, readings, READINGS * sizeof *readings};
        uint32_t error = wasi_nn_infer("next_reading", &tensor, &next, sizeof next);
        if (error) return dapr_outcome(DAPR_FAILED, "the model does not run: wasi-nn's error ", dapr_number(error));
    }
    int64_t target = number_under("target", 200);
    int heat = next < (float)target;
    if (heat) { /* one step more is written down; the id makes sure that it is once, also if this turn comes again */
        const char *use = dapr_join(dapr_event(DAPR_EVENT_ACTOR_ID), " ", dapr_number(steps));
        dapr_result told = dapr_actor("Ledger", "heating", "use", dapr_bytes_of(use));
        if (told.code) return dapr_failed(told);
    }
    if (keep("readings", kept) || keep("next", dapr_number((int64_t)next)) || keep("steps", dapr_number(steps)) ||
        keep("heating", heat ? "1" : "0"))
        return dapr_outcome(DAPR_FAILED, "the state was not taken");
    dapr_log(DAPR_INFO, "a reading", "room", dapr_event(DAPR_EVENT_ACTOR_ID), "degrees", degrees(now), "heating",
             heat ? "on" : "off");
    return steps >= STEPS ? DAPR_STOP : DAPR_DONE;
}

/* `look`: how many steps there were, the newest reading, what the model says, and whether it is heated, as JSON. */
static int32_t look(void) {
    static float readings[READINGS];
    uint32_t count = readings_of(dapr_actor_get("readings").data, readings);
    int64_t now = count ? (int64_t)readings[count - 1] : BEGIN;
    dapr_reply_text(dapr_join("{\"steps\":", dapr_number(number_under("steps", 0)), ",\"of\":", dapr_number(STEPS),
                              ",\"degrees\":", degrees(now), ",\"in three steps\":", degrees(number_under("next", now)),
                              ",\"heating\":", number_under("heating", 0) ? "true" : "false", "}"));
    dapr_reply_type("application/json");
    return DAPR_DONE;
}

DAPR_ON_ACTOR({"start", start}, {"look", look});
DAPR_ON_REMINDER({"measure", measure});
