/* wasi-nn for C guests: the module `wasi_ephemeral_nn` as its witx file has it (2023-08-23), and WAMR's older module
 * `wasi_nn`, whose functions begin with `wamr_` here. Every function returns a `wasi_nn_errno`. The host copies a
 * tensor when it is set; outputs go into the guest's own buffers. */
#ifndef WASI_NN_H
#define WASI_NN_H

#include <stdint.h>

#define WASI_NN_IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

enum wasi_nn_errno {
    WASI_NN_SUCCESS,
    WASI_NN_INVALID_ARGUMENT,
    WASI_NN_INVALID_ENCODING,
    WASI_NN_MISSING_MEMORY,
    WASI_NN_BUSY,
    WASI_NN_RUNTIME_ERROR,
    WASI_NN_UNSUPPORTED_OPERATION,
    WASI_NN_TOO_LARGE,
    WASI_NN_NOT_FOUND,
};
enum wasi_nn_type { WASI_NN_F16, WASI_NN_F32, WASI_NN_F64, WASI_NN_U8, WASI_NN_I32, WASI_NN_I64 };
enum wasi_nn_encoding { WASI_NN_OPENVINO, WASI_NN_ONNX, WASI_NN_TENSORFLOW, WASI_NN_PYTORCH, WASI_NN_TENSORFLOWLITE };
enum wasi_nn_target { WASI_NN_CPU, WASI_NN_GPU, WASI_NN_TPU };

struct wasi_nn_builder {
    const void *data;
    uint32_t size; /* bytes */
};

struct wasi_nn_tensor {
    const uint32_t *dimensions;
    uint32_t rank;
    uint8_t type;
    const void *data;
    uint32_t size; /* bytes */
};

WASI_NN_IMPORT("wasi_ephemeral_nn", "load")
uint32_t wasi_nn_load(const struct wasi_nn_builder *, uint32_t count, uint32_t encoding, uint32_t target, uint32_t *graph);
WASI_NN_IMPORT("wasi_ephemeral_nn", "load_by_name")
uint32_t wasi_nn_load_by_name(const char *name, uint32_t size, uint32_t *graph);
WASI_NN_IMPORT("wasi_ephemeral_nn", "init_execution_context")
uint32_t wasi_nn_init_execution_context(uint32_t graph, uint32_t *context);
WASI_NN_IMPORT("wasi_ephemeral_nn", "set_input")
uint32_t wasi_nn_set_input(uint32_t context, uint32_t index, const struct wasi_nn_tensor *);
WASI_NN_IMPORT("wasi_ephemeral_nn", "compute")
uint32_t wasi_nn_compute(uint32_t context);
/* `written` is bytes; with WASI_NN_TOO_LARGE it is what the output needs. */
WASI_NN_IMPORT("wasi_ephemeral_nn", "get_output")
uint32_t wasi_nn_get_output(uint32_t context, uint32_t index, void *buffer, uint32_t size, uint32_t *written);

/* Runs a model of the host on one input, and fills `output`, which must have the size of the model's first output. */
static inline uint32_t wasi_nn_infer(const char *model, const struct wasi_nn_tensor *input, void *output, uint32_t size) {
    uint32_t length = 0, graph, context, written, error;
    while (model[length]) length++;
    if ((error = wasi_nn_load_by_name(model, length, &graph))) return error;
    if ((error = wasi_nn_init_execution_context(graph, &context))) return error;
    if ((error = wasi_nn_set_input(context, 0, input))) return error;
    if ((error = wasi_nn_compute(context))) return error;
    if ((error = wasi_nn_get_output(context, 0, output, size, &written))) return error;
    return written == size ? WASI_NN_SUCCESS : WASI_NN_INVALID_ARGUMENT;
}

/* ---- WAMR's module `wasi_nn` ---- */

enum wamr_type { WAMR_F16, WAMR_F32, WAMR_U8, WAMR_I32 };

struct wamr_builders {
    const struct wasi_nn_builder *builders;
    uint32_t count;
};

struct wamr_dimensions {
    const uint32_t *dimensions;
    uint32_t rank;
};

struct wamr_tensor {
    const struct wamr_dimensions *dimensions;
    uint32_t type;
    const void *data; /* as many bytes as type and dimensions say */
};

WASI_NN_IMPORT("wasi_nn", "load")
uint32_t wamr_load(const struct wamr_builders *, uint32_t encoding, uint32_t target, uint32_t *graph);
WASI_NN_IMPORT("wasi_nn", "load_by_name")
uint32_t wamr_load_by_name(const char *name, uint32_t size, uint32_t *graph);
WASI_NN_IMPORT("wasi_nn", "init_execution_context")
uint32_t wamr_init_execution_context(uint32_t graph, uint32_t *context);
WASI_NN_IMPORT("wasi_nn", "set_input")
uint32_t wamr_set_input(uint32_t context, uint32_t index, const struct wamr_tensor *);
WASI_NN_IMPORT("wasi_nn", "compute")
uint32_t wamr_compute(uint32_t context);
/* `size` counts units of 4 bytes: in, what the buffer has room for; out, what the output has. */
WASI_NN_IMPORT("wasi_nn", "get_output")
uint32_t wamr_get_output(uint32_t context, uint32_t index, void *buffer, uint32_t *size);

#endif
