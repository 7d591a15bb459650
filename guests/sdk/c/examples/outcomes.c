/* Fails, asks for a retry, or drops the event, as its body says. */
#include "dapr.h"

DAPR_ON(event) {
    dapr_bytes wish = dapr_body();
    if (dapr_is(wish, "error")) return dapr_outcome(DAPR_FAILED, "the body asks for an error");
    if (dapr_is(wish, "drop")) return dapr_outcome(DAPR_DROP, "the body asks to be dropped");
    if (dapr_is(wish, "retry")) {
        dapr_retry_after(1500);
        return dapr_outcome(DAPR_RETRY, "the body asks for a retry");
    }
    dapr_reply_text("done");
    return DAPR_DONE;
}
