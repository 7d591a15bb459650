/* A component in C, without wit-bindgen: it copies standard input to standard output, in capitals, and logs how many
 * bytes there were. The functions are declared as the Component Model's Canonical ABI has them. */

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

IMPORT("wasi:cli/stdin@0.2.12", "get-stdin") int32_t get_stdin(void);
IMPORT("wasi:cli/stdout@0.2.12", "get-stdout") int32_t get_stdout(void);
IMPORT("wasi:io/streams@0.2.12", "[method]input-stream.blocking-read")
void blocking_read(int32_t stream, int64_t length, uint32_t *result);
IMPORT("wasi:io/streams@0.2.12", "[method]output-stream.blocking-write-and-flush")
void blocking_write_and_flush(int32_t stream, const uint8_t *data, size_t length, uint32_t *result);
IMPORT("wasi:io/streams@0.2.12", "[resource-drop]input-stream") void drop_input(int32_t stream);
IMPORT("wasi:io/streams@0.2.12", "[resource-drop]output-stream") void drop_output(int32_t stream);
IMPORT("wasi:logging/logging@0.1.0-draft", "log")
void log_line(int32_t level, const char *context, size_t context_length, const char *text, size_t length);

enum { INFO = 2, MOST = 4096 };

EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    (void)old_size;
    return size ? realloc(old, size) : (void *)align;
}

EXPORT("wasi:cli/run@0.2.12#run") int32_t run(void) {
    int32_t input = get_stdin(), output = get_stdout(), failed = 0;
    uint32_t result[3]; /* the case, then the bytes and their number, or the error's case */
    size_t total = 0;
    while (!failed) {
        blocking_read(input, MOST, result);
        if (result[0] & 0xff)
            break;
        uint8_t *part = (uint8_t *)(uintptr_t)result[1];
        size_t length = result[2];
        for (size_t i = 0; i < length; i++)
            part[i] = (uint8_t)toupper(part[i]);
        blocking_write_and_flush(output, part, length, result);
        failed = result[0] & 0xff;
        total += length;
        free(part);
    }
    drop_input(input);
    drop_output(output);
    /* Not by stdio, which would import preview 1. */
    char text[24], *begin = text + sizeof text - 6;
    memcpy(begin, " bytes", 6);
    do
        *--begin = (char)('0' + total % 10);
    while (total /= 10);
    log_line(INFO, "copy", 4, begin, (size_t)(text + sizeof text - begin));
    return failed;
}
