/* Asks another application for a price, and hands the answer to an output binding. */
#include "dapr.h"

DAPR_ON(binding) {
    dapr_result price = dapr_invoke("other", "price", dapr_body(), .content_type = "text/plain");
    if (price.code) return dapr_failed(price);
    dapr_result stored = dapr_binding("store", "create", price.data, .metadata = dapr_texts("fileName", "price"));
    if (stored.code) return dapr_failed(stored);
    return DAPR_DONE;
}
