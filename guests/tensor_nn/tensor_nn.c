/* The classifier by wasi-nn: the body is one ready tensor (224x224 RGB bytes), the reply is the 1000 probabilities as
 * little-endian float32. `infer` uses the module wasi_ephemeral_nn, `infer_wamr` WAMR's older wasi_nn. */
#include "guesthouse.h"
#include "wasi_nn.h"

#define MODEL "guesthouse:model/classifier"
enum { CLASSES = 1000, BYTES = 224 * 224 * 3 };

static const uint32_t dimensions[] = {1, 224, 224, 3};
static float probabilities[CLASSES];

static guesthouse_reply wrong_size(uint32_t size) {
    return guesthouse_malformed("the body has ", guesthouse_number(size).text,
                                " bytes where 150528 (224x224 RGB) were expected");
}

static guesthouse_reply failed(const char *function, uint32_t error) {
    return guesthouse_error(function, " answered ", guesthouse_number(error).text);
}

#define CHECK(call, name)                              \
    do {                                               \
        uint32_t error = call;                         \
        if (error) return failed(name, error);         \
    } while (0)

static guesthouse_reply reply(void) {
    uint8_t *copy = allocate(sizeof probabilities);
    memcpy(copy, probabilities, sizeof probabilities);
    return guesthouse_bytes(copy, sizeof probabilities);
}

GUESTHOUSE_FUNCTION(infer) {
    if (body.size != BYTES) return wrong_size(body.size);
    uint32_t graph, context, written;
    struct wasi_nn_tensor tensor = {dimensions, 4, WASI_NN_U8, body.data, body.size};
    CHECK(wasi_nn_load_by_name("classifier", 10, &graph), "load_by_name");
    CHECK(wasi_nn_init_execution_context(graph, &context), "init_execution_context");
    CHECK(wasi_nn_set_input(context, 0, &tensor), "set_input");
    CHECK(wasi_nn_compute(context), "compute");
    /* Too small a buffer is told what it needs. */
    if (wasi_nn_get_output(context, 0, probabilities, 4, &written) != WASI_NN_TOO_LARGE || written != sizeof probabilities)
        return guesthouse_error("get_output did not say how much it needs");
    CHECK(wasi_nn_get_output(context, 0, probabilities, sizeof probabilities, &written), "get_output");
    return reply();
}

GUESTHOUSE_FUNCTION(infer_wamr) {
    uint32_t graph, context, units = CLASSES;
    struct wasi_nn_builder builder = {MODEL, sizeof MODEL - 1};
    struct wamr_builders builders = {&builder, 1};
    struct wamr_dimensions shape = {dimensions, 4};
    struct wamr_tensor tensor = {&shape, WAMR_U8, body.data};
    if (body.size != BYTES) return wrong_size(body.size);
    CHECK(wamr_load(&builders, WASI_NN_TENSORFLOWLITE, WASI_NN_CPU, &graph), "load");
    CHECK(wamr_init_execution_context(graph, &context), "init_execution_context");
    CHECK(wamr_set_input(context, 0, &tensor), "set_input");
    CHECK(wamr_compute(context), "compute");
    CHECK(wamr_get_output(context, 0, probabilities, &units), "get_output");
    if (units != CLASSES) return guesthouse_error("the output has another size");
    return reply();
}
