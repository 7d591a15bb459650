/* Greets whoever is named in the body, and counts the visits of each in a state store. */
#include "dapr.h"

DAPR_ON(invoke) {
    dapr_bytes name = dapr_body();
    if (!name.size) return dapr_outcome(DAPR_DROP, "the body is empty; write a name");

    const char *key = dapr_join("visits-", name.data);
    dapr_result seen = dapr_state_get("statestore", key);
    if (seen.code) return dapr_failed(seen);

    const char *visits = dapr_number(dapr_number_of(seen.data, 0) + 1);
    dapr_result saved = dapr_state_save("statestore", key, dapr_bytes_of(visits), .etag = seen.etag);
    if (saved.code) return dapr_failed(saved);

    dapr_log(DAPR_INFO, "a visit", "name", name.data, "visits", visits);
    dapr_reply_type("text/plain; charset=utf-8");
    dapr_reply_text(dapr_join("Hello, ", name.data, "! This is visit ", visits, ".\n"));
    return DAPR_DONE;
}
