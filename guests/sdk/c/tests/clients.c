/* No example: each request once, and a line of the reply for what came back. Dapr's own protobuf code reads the
 * requests in the SDKs' tests. */
#include "dapr.h"

static int32_t failed;

static void tell(dapr_result result, const char *what) {
    if (result.code) failed = result.code;
    dapr_reply_text(dapr_join(result.code ? result.error : what, "\n"));
}

static void tell_items(dapr_result result) {
    const char *line = "";
    dapr_result item;
    for (dapr_result left = result; dapr_next_item(&left, &item);) {
        const char *data = item.code ? item.error : dapr_text(item.data);
        const char *is = item.code ? "!" : "=", *at = *item.etag ? "@" : "";
        line = dapr_join(line, *line ? " " : "", item.key, is, data, at, item.etag);
    }
    tell(result, line);
}

DAPR_ON(invoke) {
    dapr_bytes v = dapr_bytes_of("v"), data = dapr_bytes_of("data");
    dapr_strings ab = dapr_texts("a", "b");
    dapr_result got = dapr_state_get("store", "k", .metadata = ab);
    tell(got, dapr_join(dapr_text(got.data), " ", got.etag));
    tell_items(dapr_state_get_bulk("store", dapr_texts("k", "l"), .metadata = ab));
    tell(dapr_state_save("store", "k", v, .etag = got.etag, .metadata = dapr_texts("ttlInSeconds", "9")), "ok");
    tell(dapr_state_save("store", "k", v), "ok");
    tell(dapr_state_save("store", "k", v, .etag = ""), "ok");
    tell(dapr_state_delete("store", "k", .etag = "7", .metadata = ab), "ok");
    dapr_operation both[] = {{.key = "k", .value = v, .etag = "7"}, {.key = "l", .is_delete = 1}};
    tell(dapr_state_transaction("store", both, 2, .metadata = ab), "ok");
    tell(dapr_publish("pubsub", "results", data, "text/plain", .metadata = dapr_texts("rawPayload", "true")), "ok");
    dapr_result invoked = dapr_invoke("other", "price", data, "text/plain", .query = "a=b", .verb = DAPR_PATCH,
                                      .headers = dapr_texts("x-a", "b"), .milliseconds = 5000);
    tell(invoked, dapr_join(dapr_text(invoked.data), " ", invoked.content_type));
    dapr_result bound = dapr_binding("mail", "create", data, .metadata = ab);
    tell(bound, dapr_text(bound.data));
    tell_items(dapr_secret("vault", "key", .metadata = dapr_texts("version_id", "2")));
    tell_items(dapr_configuration("config", dapr_texts("k", "l"), .metadata = ab));
    dapr_result lock = dapr_lock("locks", "r", "me", 60);
    tell(lock, dapr_number((int64_t)lock.number));
    dapr_result unlock = dapr_unlock("locks", "r", "me");
    tell(unlock, dapr_number((int64_t)unlock.number));
    tell(dapr_job_schedule("sweep", .schedule = "@daily", .due_time = "10s", .ttl = "1h", .data = data, .repeats = 3,
                           .overwrite = 1), "ok");
    dapr_result job = dapr_job_get("sweep");
    tell(job, dapr_text(job.data));
    tell(dapr_job_delete("sweep"), "ok");
    dapr_result actor = dapr_actor("Cart", "7", "add", data, .metadata = ab);
    tell(actor, dapr_text(actor.data));
    dapr_message request = {NULL, 0};
    dapr_put_text(&request, 1, "any");
    tell(dapr_finish(dapr_start("GetWorkflowBeta1", request, NULL, 0)), "ok");
    return failed ? DAPR_FAILED : DAPR_DONE;
}

/* The calls of an actor's own turn. */
DAPR_ON(actor) {
    dapr_bytes v = dapr_bytes_of("v"), data = dapr_bytes_of("data");
    dapr_result got = dapr_actor_get("k");
    tell(got, dapr_text(got.data));
    tell(dapr_actor_set("k", v, .metadata = dapr_texts("ttlInSeconds", "9")), "ok");
    tell(dapr_actor_remove("l"), "ok");
    tell(dapr_actor_save(), "ok");
    tell(dapr_timer_set("tick", "1s", .period = "2s", .callback = "again", .data = data, .ttl = "9s"), "ok");
    tell(dapr_timer_clear("tick"), "ok");
    tell(dapr_reminder_set("daily", "1s", .period = "2s", .data = data, .ttl = "9s"), "ok");
    tell(dapr_reminder_clear("daily"), "ok");
    return failed ? DAPR_FAILED : DAPR_DONE;
}
