/* What a C guest needs to be called and to call a model: the exports and the result record of
 * wasmedge-bindgen (0.4, where a function returns a pointer to a 9-byte record), and the imports that
 * WasmEdge's tensorflow, tensorflowlite and image plug-ins have had since 0.13. Include it from one source file
 * only: it defines `allocate` and `deallocate`. It needs malloc, free and string.h of wasi-libc, nothing else.
 *
 *     #include "guesthouse.h"
 *
 *     GUESTHOUSE_FUNCTION(shout) {
 *         for (uint32_t i = 0; i < body.size; i++)
 *             if (body.data[i] >= 'a' && body.data[i] <= 'z') body.data[i] -= 'a' - 'A';
 *         return guesthouse_text(body.data, body.size);
 *     }
 */
#ifndef GUESTHOUSE_H
#define GUESTHOUSE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define GUESTHOUSE_IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

/* ---- memory that the host and the guest hand to each other ---- */

/* Never returns null: the host writes where this points, and address 0 is valid memory. */
__attribute__((export_name("allocate"))) void *allocate(uint32_t size) {
    void *pointer = malloc(size ? size : 1);
    if (!pointer) __builtin_trap();
    return pointer;
}

__attribute__((export_name("deallocate"))) void deallocate(void *pointer, uint32_t size) {
    (void)size;
    free(pointer);
}

/* ---- being called: wasmedge-bindgen ---- */

enum { GUESTHOUSE_TAG_U8ARRAY = 21, GUESTHOUSE_TAG_STRING = 31 };

/* What the host handed over. It is freed after the call, unless it is the reply. */
struct guesthouse_body {
    uint8_t *data;
    uint32_t size;
};

/* One returned value. `size` counts bytes. */
struct guesthouse_value {
    void *data;
    uint32_t tag;
    uint32_t size;
};

/* What an exported function returns a pointer to. Without the packing it would be 12 bytes. The host frees the
 * record and all that it points to. */
struct __attribute__((packed)) guesthouse_record {
    uint8_t failed;
    void *data;    /* the values, or the error's text */
    uint32_t size; /* how many values, or how many bytes of text */
};
_Static_assert(sizeof(struct guesthouse_value) == 12, "three u32");
_Static_assert(sizeof(struct guesthouse_record) == 9, "u8, u32, u32");

typedef struct guesthouse_record *guesthouse_reply;

static inline guesthouse_reply guesthouse_record_of(uint8_t failed, void *data, uint32_t size) {
    guesthouse_reply reply = allocate(sizeof *reply);
    *reply = (struct guesthouse_record){failed, data, size};
    return reply;
}

static inline guesthouse_reply guesthouse_value_of(uint32_t tag, void *data, uint32_t size) {
    struct guesthouse_value *value = allocate(sizeof *value);
    *value = (struct guesthouse_value){data, tag, size};
    return guesthouse_record_of(0, value, 1);
}

/* The reply is `size` bytes at `data`, which come from `allocate` or are the body's. */
static inline guesthouse_reply guesthouse_bytes(void *data, uint32_t size) {
    return guesthouse_value_of(GUESTHOUSE_TAG_U8ARRAY, data, size);
}

/* The same for UTF-8 text. */
static inline guesthouse_reply guesthouse_text(void *data, uint32_t size) {
    return guesthouse_value_of(GUESTHOUSE_TAG_STRING, data, size);
}

static inline guesthouse_reply guesthouse_error_of(const char *const *parts) {
    uint32_t size = 0;
    for (const char *const *part = parts; *part; part++) size += strlen(*part);
    char *text = allocate(size + 1), *end = text;
    for (const char *const *part = parts; *part; part++) end = stpcpy(end, *part);
    return guesthouse_record_of(1, text, size);
}

/* guesthouse_error("no such colour: ", name): the function fails with these strings, joined. */
#define guesthouse_error(...) guesthouse_error_of((const char *const[]){__VA_ARGS__, NULL})

/* The same where the event itself is at fault: it is not sent again. */
#define guesthouse_malformed(...) guesthouse_error("guesthouse:malformed: ", __VA_ARGS__)

/* The same where the event may succeed later: it is sent again, where its trigger does that. */
#define guesthouse_try_again(...) guesthouse_error("guesthouse:try-again: ", __VA_ARGS__)

/* A number as text, for errors without printf and the 20 KB that it brings. */
struct guesthouse_number {
    char text[11];
};

static inline struct guesthouse_number guesthouse_number(uint32_t value) {
    struct guesthouse_number number;
    char digits[10];
    int count = 0, length = 0;
    do digits[count++] = '0' + value % 10;
    while (value /= 10);
    while (count) number.text[length++] = digits[--count];
    number.text[length] = 0;
    return number;
}

struct guesthouse_parameter {
    uint8_t *data;
    uint32_t length;
};

static inline guesthouse_reply guesthouse_call(guesthouse_reply (*function)(struct guesthouse_body),
                                                const struct guesthouse_parameter *parameters, uint32_t count) {
    if (count != 1) return guesthouse_error("Invalid params count, expect 1, got ", guesthouse_number(count).text);
    struct guesthouse_body body = {parameters[0].data, parameters[0].length};
    guesthouse_reply reply = function(body);
    int kept = !reply->failed && ((struct guesthouse_value *)reply->data)->data == body.data;
    if (!kept) free(body.data);
    return reply;
}

/* Defines a function that the host can call by this name, with one parameter, `struct guesthouse_body body`. The
 * table of parameters stays the host's, as it does with wasmedge-bindgen. */
#define GUESTHOUSE_FUNCTION(name)                                                                              \
    static guesthouse_reply name##_of_body(struct guesthouse_body body);                                       \
    __attribute__((export_name(#name))) guesthouse_reply name(const struct guesthouse_parameter *parameters,   \
                                                              uint32_t count) {                                \
        return guesthouse_call(name##_of_body, parameters, count);                                             \
    }                                                                                                          \
    static guesthouse_reply name##_of_body(struct guesthouse_body body)

/* ---- calling the host: every import returns an error number, 0 is success ---- */

/* The data types of TensorFlow's C interface. */
enum {
    TENSOR_FLOAT32 = 1,
    TENSOR_FLOAT64 = 2,
    TENSOR_INT32 = 3,
    TENSOR_UINT8 = 4,
    TENSOR_INT16 = 5,
    TENSOR_INT8 = 6,
    TENSOR_INT64 = 9,
    TENSOR_BOOL = 10,
    TENSOR_UINT16 = 17,
    TENSOR_UINT32 = 22,
    TENSOR_UINT64 = 23,
};

GUESTHOUSE_IMPORT("wasmedge_tensorflow", "create_session")
uint32_t tensorflow_create_session(const void *model, uint32_t model_size, uint32_t *session);
GUESTHOUSE_IMPORT("wasmedge_tensorflow", "delete_session")
uint32_t tensorflow_delete_session(uint32_t session);
GUESTHOUSE_IMPORT("wasmedge_tensorflow", "run_session")
uint32_t tensorflow_run_session(uint32_t session);
GUESTHOUSE_IMPORT("wasmedge_tensorflow", "append_input")
uint32_t tensorflow_append_input(uint32_t session, const char *name, uint32_t name_length, const int64_t *shape,
                                 uint32_t rank, uint32_t type, const void *data, uint32_t size);
GUESTHOUSE_IMPORT("wasmedge_tensorflow", "append_output")
uint32_t tensorflow_append_output(uint32_t session, const char *name, uint32_t name_length);
GUESTHOUSE_IMPORT("wasmedge_tensorflow", "clear_input")
uint32_t tensorflow_clear_input(uint32_t session);
GUESTHOUSE_IMPORT("wasmedge_tensorflow", "clear_output")
uint32_t tensorflow_clear_output(uint32_t session);
GUESTHOUSE_IMPORT("wasmedge_tensorflow", "get_output_tensor")
uint32_t tensorflow_get_output_tensor(uint32_t session, const char *name, uint32_t name_length, uint32_t *tensor);
GUESTHOUSE_IMPORT("wasmedge_tensorflow", "get_tensor_len")
uint32_t tensorflow_get_tensor_len(uint32_t session, uint32_t tensor, uint32_t *size);
GUESTHOUSE_IMPORT("wasmedge_tensorflow", "get_tensor_data")
uint32_t tensorflow_get_tensor_data(uint32_t session, uint32_t tensor, void *buffer, uint32_t buffer_size,
                                    uint32_t *written);

GUESTHOUSE_IMPORT("wasmedge_tensorflowlite", "create_session")
uint32_t tensorflowlite_create_session(const void *model, uint32_t model_size, uint32_t *session);
GUESTHOUSE_IMPORT("wasmedge_tensorflowlite", "delete_session")
uint32_t tensorflowlite_delete_session(uint32_t session);
GUESTHOUSE_IMPORT("wasmedge_tensorflowlite", "run_session")
uint32_t tensorflowlite_run_session(uint32_t session);
GUESTHOUSE_IMPORT("wasmedge_tensorflowlite", "append_input")
uint32_t tensorflowlite_append_input(uint32_t session, const char *name, uint32_t name_length, const void *data,
                                     uint32_t size);
GUESTHOUSE_IMPORT("wasmedge_tensorflowlite", "get_output_tensor")
uint32_t tensorflowlite_get_output_tensor(uint32_t session, const char *name, uint32_t name_length,
                                          uint32_t *tensor);
GUESTHOUSE_IMPORT("wasmedge_tensorflowlite", "get_tensor_len")
uint32_t tensorflowlite_get_tensor_len(uint32_t session, uint32_t tensor, uint32_t *size);
/* `buffer_size` must be the tensor's size exactly. */
GUESTHOUSE_IMPORT("wasmedge_tensorflowlite", "get_tensor_data")
uint32_t tensorflowlite_get_tensor_data(uint32_t session, uint32_t tensor, void *buffer, uint32_t buffer_size,
                                        uint32_t *written);

enum { IMAGE_RGB8 = 0, IMAGE_BGR8 = 1, IMAGE_RGB32F = 2, IMAGE_BGR32F = 3 };

/* Decodes a picture and resizes it to width x height; the buffer's size is in bytes. The plug-ins before 0.15 have
 * load_jpg and load_png only. */
GUESTHOUSE_IMPORT("wasmedge_image", "load_image")
uint32_t image_load(const void *picture, uint32_t picture_size, uint32_t width, uint32_t height, uint32_t type,
                    void *buffer, uint32_t buffer_size);
GUESTHOUSE_IMPORT("wasmedge_image", "load_jpg")
uint32_t image_load_jpg(const void *picture, uint32_t picture_size, uint32_t width, uint32_t height, uint32_t type,
                        void *buffer, uint32_t buffer_size);
GUESTHOUSE_IMPORT("wasmedge_image", "load_png")
uint32_t image_load_png(const void *picture, uint32_t picture_size, uint32_t width, uint32_t height, uint32_t type,
                        void *buffer, uint32_t buffer_size);

/* ---- one model, one input, one output ---- */

/* In place of a model's bytes: "the host's model of this name". */
#define GUESTHOUSE_MODEL(name) "guesthouse:model/" name

struct guesthouse_tensor {
    const char *name;
    uint32_t type;
    const int64_t *shape;
    uint32_t rank;
    void *data;
    uint32_t size; /* bytes */
};

static inline guesthouse_reply guesthouse_errno(const char *import, const char *what, uint32_t number) {
    static const char *const meanings[] = {"success",        "invalid argument", "invalid encoding",
                                           "missing memory", "busy",             "runtime error"};
    return guesthouse_error(import, " failed for ", what, ": error ", guesthouse_number(number).text, " (",
                            number < 6 ? meanings[number] : "unknown", ")");
}

static inline guesthouse_reply guesthouse_run_session(uint32_t session, const char *model,
                                                       const struct guesthouse_tensor *input,
                                                       const struct guesthouse_tensor *output) {
    uint32_t error, tensor, size, written;
    error = tensorflow_append_input(session, input->name, strlen(input->name), input->shape, input->rank,
                                    input->type, input->data, input->size);
    if (error) return guesthouse_errno("wasmedge_tensorflow.append_input", input->name, error);
    error = tensorflow_append_output(session, output->name, strlen(output->name));
    if (error) return guesthouse_errno("wasmedge_tensorflow.append_output", output->name, error);
    error = tensorflow_run_session(session);
    if (error) return guesthouse_errno("wasmedge_tensorflow.run_session", model, error);
    error = tensorflow_get_output_tensor(session, output->name, strlen(output->name), &tensor);
    if (error) return guesthouse_errno("wasmedge_tensorflow.get_output_tensor", output->name, error);
    error = tensorflow_get_tensor_len(session, tensor, &size);
    if (error) return guesthouse_errno("wasmedge_tensorflow.get_tensor_len", output->name, error);
    if (size != output->size)
        return guesthouse_error("the output ", output->name, " has ", guesthouse_number(size).text,
                                " bytes where ", guesthouse_number(output->size).text, " were expected");
    error = tensorflow_get_tensor_data(session, tensor, output->data, size, &written);
    if (error) return guesthouse_errno("wasmedge_tensorflow.get_tensor_data", output->name, error);
    if (written != size)
        return guesthouse_error("only ", guesthouse_number(written).text, " of the ",
                                guesthouse_number(size).text, " bytes of ", output->name, " were given");
    return NULL;
}

/* Runs a model of the host (`GUESTHOUSE_MODEL("name")`) on one input and fills `output->data`, whose size must be
 * the tensor's. Returns null, or the reply that tells what failed. */
static inline guesthouse_reply guesthouse_run(const char *model, const struct guesthouse_tensor *input,
                                               const struct guesthouse_tensor *output) {
    uint32_t session;
    uint32_t error = tensorflow_create_session(model, strlen(model), &session);
    if (error) return guesthouse_errno("wasmedge_tensorflow.create_session", model, error);
    guesthouse_reply failure = guesthouse_run_session(session, model, input, output);
    tensorflow_delete_session(session);
    return failure;
}

#endif
