/* The smallest guest: what came in goes out, whatever the bytes are. The reply is the body's own memory, so nothing
 * is copied; what remains is what a call itself costs. */
#include "guesthouse.h"

GUESTHOUSE_FUNCTION(echo) {
    return guesthouse_bytes(body.data, body.size);
}
