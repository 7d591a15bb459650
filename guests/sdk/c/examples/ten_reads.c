/* Reads ten states at once. */
#include "dapr.h"

enum { READS = 10 };

DAPR_ON(invoke) {
    dapr_call calls[READS];
    for (int i = 0; i < READS; i++)
        calls[i] = dapr_state_get_start("statestore", dapr_join("item-", dapr_number(i)));
    for (int i = 0; i < READS; i++) {
        dapr_result item = dapr_finish(calls[i]);
        if (item.code) return dapr_outcome(DAPR_FAILED, "item-", dapr_number(i), ": ", item.error);
        if (i) dapr_reply_text("\n");
        dapr_reply(item.data);
    }
    dapr_reply_type("text/plain");
    return DAPR_DONE;
}
