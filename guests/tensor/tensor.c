/* The classifier without any picture around it: the body is one ready tensor (224x224 RGB bytes), the reply is the
 * 1000 probabilities as little-endian float32. The benchmark uses it to tell the model's time from the decoder's. */
#include "guesthouse.h"

static const int64_t shape[] = {1, 224, 224, 3};

GUESTHOUSE_FUNCTION(infer) {
    if (body.size != 224 * 224 * 3)
        return guesthouse_malformed("the body has ", guesthouse_number(body.size).text,
                                    " bytes where 150528 (224x224 RGB) were expected");
    struct guesthouse_tensor input = {"input", TENSOR_UINT8, shape, 4, body.data, body.size};
    struct guesthouse_tensor output = {.name = "probabilities", .size = 1000 * sizeof(float)};
    output.data = allocate(output.size);
    guesthouse_reply failure = guesthouse_run(GUESTHOUSE_MODEL("classifier"), &input, &output);
    if (!failure) return guesthouse_bytes(output.data, output.size);
    free(output.data);
    return failure;
}
