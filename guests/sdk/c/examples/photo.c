/* Counts the photos that show a person. The count is a state, saved with its etag: where another event was faster, this
 * one comes again. */
#define DAPR_MEMORY (8 << 20) /* a photo as it comes */
#include "dapr.h"
#include "wasi_nn.h"

enum { SIDE = 96, RGB8 = 0 };

__attribute__((import_module("wasmedge_image"), import_name("load_image")))
uint32_t load_image(const void *picture, uint32_t picture_size, uint32_t width, uint32_t height, uint32_t type,
                    void *buffer, uint32_t buffer_size);

DAPR_ON(topic) {
    static const uint32_t shape[] = {1, SIDE, SIDE, 3};
    static uint8_t pixels[SIDE * SIDE * 3];
    static float input[SIDE * SIDE * 3];
    float person[2];

    dapr_result people = dapr_state_get("statestore", "people");
    if (people.code) return dapr_outcome(DAPR_RETRY, people.error);

    dapr_bytes photo = dapr_body();
    if (load_image(photo.data, photo.size, SIDE, SIDE, RGB8, pixels, sizeof pixels))
        return dapr_outcome(DAPR_DROP, "the body is not a picture");
    for (uint32_t i = 0; i < sizeof pixels; i++) input[i] = pixels[i];
    struct wasi_nn_tensor tensor = {shape, 4, WASI_NN_F32, input, sizeof input};
    uint32_t error = wasi_nn_infer("person", &tensor, person, sizeof person);
    if (error) return dapr_outcome(DAPR_FAILED, "the model person does not run: wasi-nn's error ", dapr_number(error));

    int is_person = person[0] > 0.5f;
    const char *count = dapr_number(dapr_number_of(people.data, 0) + is_person);
    dapr_result saved = dapr_state_save("statestore", "people", dapr_bytes_of(count), .etag = people.etag);
    if (saved.code) return dapr_outcome(DAPR_RETRY, saved.error);

    const char *result = dapr_join("{\"person\":", is_person ? "true" : "false", ",\"people\":", count, "}");
    dapr_result sent = dapr_publish("pubsub", "results", dapr_bytes_of(result), .content_type = "application/json");
    if (sent.code) return dapr_outcome(DAPR_RETRY, sent.error);
    return DAPR_DONE;
}
