/* Greets by the query and a header: name=Ada gives "Hello, Ada!". */
#include "dapr.h"

DAPR_ON(invoke) {
    const char *name = dapr_query("name"), *greeting = dapr_metadata("x-greeting");
    dapr_reply_text(dapr_join(greeting ? greeting : "Hello", ", ", name && *name ? name : "world", "!"));
    dapr_reply_type("text/plain; charset=utf-8");
    dapr_reply_header("x-guest", "hello");
    dapr_reply_status(201);
    return DAPR_DONE;
}
