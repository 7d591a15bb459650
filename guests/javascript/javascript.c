/* The guest that runs JavaScript: QuickJS, the functions of the host as a module for scripts, and a handler of dapr_v1.

The script is the file /script.js, a module; what it exports (onInvoke, onTopic ...) is called by `prelude.js`, which also
has the modules `dapr`, `models` and `pictures`. Here is only what needs pointers: the host's functions on values of
JavaScript. Each of them gives a number below 0, or null, where the host says no; none of them throws for that.

What the host's functions mean is in abi/spec/dapr_v1.md. */

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "prelude.h" /* made of prelude.js: PRELUDE, PRELUDE_SIZE */
#include "quickjs.h"

#define IMPORT(module, name) __attribute__((import_module(module), import_name(#name)))
#define DAPR(name) IMPORT("dapr_v1", name)
#define NN(name) IMPORT("wasi_ephemeral_nn", name)
#define IMAGE(name) IMPORT("wasmedge_image", name)

DAPR(event_read) int32_t event_read(uint32_t, uint32_t, void *, uint32_t);
DAPR(event_metadata_all) int32_t event_metadata_all(uint32_t, void *, uint32_t);
DAPR(reply_write) int32_t reply_write(const void *, uint32_t);
DAPR(reply_set) int32_t reply_set(uint32_t, const char *, uint32_t);
DAPR(reply_status) int32_t reply_status(uint32_t);
DAPR(reply_header) int32_t reply_header(const char *, uint32_t, const char *, uint32_t);
DAPR(retry_after) int32_t retry_after(uint32_t);
DAPR(log) int32_t dapr_log(uint32_t, const char *, uint32_t, const void *, uint32_t);
DAPR(time_left) int64_t time_left(void);
DAPR(config_read) int32_t config_read(const char *, uint32_t, uint32_t, void *, uint32_t);
DAPR(call_start)
int32_t call_start(const char *, uint32_t, const void *, uint32_t, const void *, uint32_t, uint32_t);
DAPR(call_wait) int32_t call_wait(const void *, uint32_t, uint32_t, uint32_t);
DAPR(call_status) int32_t call_status(uint32_t);
DAPR(call_read) int32_t call_read(uint32_t, uint32_t, uint32_t, void *, uint32_t);
DAPR(call_close) int32_t call_close(uint32_t);
NN(load_by_name) int32_t load_by_name(const char *, uint32_t, uint32_t *);
NN(init_execution_context) int32_t init_execution_context(uint32_t, uint32_t *);
NN(set_input) int32_t set_input(uint32_t, uint32_t, const void *);
NN(compute) int32_t compute(uint32_t);
NN(get_output) int32_t get_output(uint32_t, uint32_t, void *, uint32_t, uint32_t *);
IMAGE(load_image) int32_t load_image(const void *, uint32_t, uint32_t, uint32_t, uint32_t, void *, uint32_t);

/* STACK is less than there is: the engine's own stack, which QuickJS cannot measure, ends earlier. */
enum { FAILED = 1, STACK = 96 << 10, SCRIPT = 16 << 20, FAILURE_TEXT = 2, MESSAGE = 1000 };

/* Memory of `malloc` as an ArrayBuffer; QuickJS frees it by asking for a size of 0. */
static void *resized(JSRuntime *runtime, void *opaque, void *memory, size_t size) {
  (void)runtime, (void)opaque;
  if (size) return realloc(memory, size);
  return free(memory), NULL;
}

static JSValue buffer_of(JSContext *js, void *memory, size_t size) {
  return JS_NewArrayBuffer(js, memory, size, 0, resized, NULL, false);
}

/* The bytes of an ArrayBuffer, or NULL with an exception. */
static uint8_t *bytes_of(JSContext *js, JSValueConst value, size_t *size) { return JS_GetArrayBuffer(js, size, value); }

static uint32_t number_of(JSContext *js, JSValueConst value) {
  uint32_t number = 0;
  JS_ToUint32(js, &number, value);
  return number;
}

/* Calls a function that reads into a buffer twice: for the size, and for the bytes. */
#define READ(js, call)                                      \
  do {                                                      \
    void *memory = NULL;                                    \
    uint32_t capacity = 0;                                  \
    int32_t size = (call);                                  \
    if (size < 0) return JS_NULL;                           \
    memory = malloc(size ? size : 1);                       \
    if (!memory) return JS_ThrowOutOfMemory(js);            \
    capacity = size;                                        \
    if ((call) != size) return free(memory), JS_NULL;       \
    return buffer_of(js, memory, size);                     \
  } while (0)

#define FUNCTION(name) \
  static JSValue name(JSContext *js, __attribute__((unused)) JSValueConst self, __attribute__((unused)) int count, \
                      __attribute__((unused)) JSValueConst *given)

FUNCTION(js_encode) {
  size_t size;
  const char *text = JS_ToCStringLen(js, &size, given[0]);
  if (!text) return JS_EXCEPTION;
  JSValue buffer = JS_NewArrayBufferCopy(js, (const uint8_t *)text, size);
  JS_FreeCString(js, text);
  return buffer;
}

FUNCTION(js_decode) {
  size_t size;
  uint8_t *bytes = bytes_of(js, given[0], &size);
  return bytes ? JS_NewStringLen(js, (const char *)bytes, size) : JS_EXCEPTION;
}

FUNCTION(js_event) { READ(js, event_read(number_of(js, given[0]), 0, memory, capacity)); }

FUNCTION(js_metadata) { READ(js, event_metadata_all(0, memory, capacity)); }

FUNCTION(js_write) {
  size_t size;
  uint8_t *bytes = bytes_of(js, given[0], &size);
  return bytes ? JS_NewInt32(js, reply_write(bytes, size)) : JS_EXCEPTION;
}

FUNCTION(js_set) {
  size_t size;
  const char *text = JS_ToCStringLen(js, &size, given[1]);
  if (!text) return JS_EXCEPTION;
  int32_t result = reply_set(number_of(js, given[0]), text, size);
  JS_FreeCString(js, text);
  return JS_NewInt32(js, result);
}

FUNCTION(js_status) { return JS_NewInt32(js, reply_status(number_of(js, given[0]))); }

FUNCTION(js_header) {
  size_t name_size, value_size;
  const char *name = JS_ToCStringLen(js, &name_size, given[0]);
  const char *value = name ? JS_ToCStringLen(js, &value_size, given[1]) : NULL;
  JSValue result = value ? JS_NewInt32(js, reply_header(name, name_size, value, value_size)) : JS_EXCEPTION;
  JS_FreeCString(js, name);
  JS_FreeCString(js, value);
  return result;
}

FUNCTION(js_after) { return JS_NewInt32(js, retry_after(number_of(js, given[0]))); }

FUNCTION(js_log) {
  size_t size, fields_size;
  const uint8_t *fields = bytes_of(js, given[2], &fields_size);
  const char *text = fields ? JS_ToCStringLen(js, &size, given[1]) : NULL;
  if (!text) return JS_EXCEPTION;
  int32_t result = dapr_log(number_of(js, given[0]), text, size, fields, fields_size);
  JS_FreeCString(js, text);
  return JS_NewInt32(js, result);
}

FUNCTION(js_time_left) { return JS_NewInt64(js, time_left()); }

static JSValue read_config(JSContext *js, const char *name, size_t name_size) {
  READ(js, config_read(name, name_size, 0, memory, capacity));
}

FUNCTION(js_config) {
  size_t size;
  const char *name = JS_ToCStringLen(js, &size, given[0]);
  if (!name) return JS_EXCEPTION;
  JSValue value = read_config(js, name, size);
  JS_FreeCString(js, name);
  return value;
}

FUNCTION(js_start) {
  size_t size, request_size, metadata_size;
  const uint8_t *request = bytes_of(js, given[1], &request_size);
  const uint8_t *metadata = request ? bytes_of(js, given[2], &metadata_size) : NULL;
  const char *method = metadata ? JS_ToCStringLen(js, &size, given[0]) : NULL;
  if (!method) return JS_EXCEPTION;
  uint32_t milliseconds = number_of(js, given[3]);
  int32_t result = call_start(method, size, request, request_size, metadata, metadata_size, milliseconds);
  JS_FreeCString(js, method);
  return JS_NewInt32(js, result);
}

FUNCTION(js_wait) {
  size_t size;
  uint8_t *handles = bytes_of(js, given[0], &size);
  return handles ? JS_NewInt32(js, call_wait(handles, size / 4, 0, number_of(js, given[1]))) : JS_EXCEPTION;
}

FUNCTION(js_call_status) { return JS_NewInt32(js, call_status(number_of(js, given[0]))); }

FUNCTION(js_call_read) {
  READ(js, call_read(number_of(js, given[0]), number_of(js, given[1]), 0, memory, capacity));
}

FUNCTION(js_close) { return JS_NewInt32(js, call_close(number_of(js, given[0]))); }

FUNCTION(js_load_model) {
  size_t size;
  uint32_t graph = 0, context = 0;
  const char *name = JS_ToCStringLen(js, &size, given[0]);
  if (!name) return JS_EXCEPTION;
  int32_t error = load_by_name(name, size, &graph);
  JS_FreeCString(js, name);
  if (!error) error = init_execution_context(graph, &context);
  return error ? JS_NewInt32(js, -error) : JS_NewInt64(js, context);
}

FUNCTION(js_set_input) { /* context, index, dimensions (u32 each), type, data */
  size_t rank, size;
  uint8_t *dimensions = bytes_of(js, given[2], &rank);
  uint8_t *data = dimensions ? bytes_of(js, given[4], &size) : NULL;
  if (!data) return JS_EXCEPTION;
  struct {
    uint32_t dimensions, rank, type, data, size;
  } tensor = {(uint32_t)dimensions, rank / 4, number_of(js, given[3]) & 0xff, (uint32_t)data, size};
  return JS_NewInt32(js, -set_input(number_of(js, given[0]), number_of(js, given[1]), &tensor));
}

FUNCTION(js_compute) { return JS_NewInt32(js, -compute(number_of(js, given[0]))); }

FUNCTION(js_output) { /* the bytes of an output, or an error number below 0 */
  uint32_t context = number_of(js, given[0]), index = number_of(js, given[1]), size = 0;
  int32_t error = get_output(context, index, NULL, 0, &size); /* 7: too large, and `size` is what it needs */
  if (error && error != 7) return JS_NewInt32(js, -error);
  void *memory = malloc(size ? size : 1);
  if (!memory) return JS_ThrowOutOfMemory(js);
  if ((error = get_output(context, index, memory, size, &size))) return free(memory), JS_NewInt32(js, -error);
  return buffer_of(js, memory, size);
}

FUNCTION(js_random) { /* a number from 0 to 1: the state of QuickJS's own would be the same in each event */
  uint64_t bits = 0;
  getentropy(&bits, sizeof bits);
  return JS_NewFloat64(js, (bits >> 11) * 0x1p-53);
}

FUNCTION(js_pixels) { /* data, width, height, layout: the pixels, or null */
  size_t size;
  uint8_t *data = bytes_of(js, given[0], &size);
  if (!data) return JS_EXCEPTION;
  uint32_t width = number_of(js, given[1]), height = number_of(js, given[2]), layout = number_of(js, given[3]);
  uint64_t bytes = (uint64_t)width * height * (layout < 2 ? 3 : 12);
  if (!bytes || bytes > 1 << 30 || width > 1 << 15 || height > 1 << 15) return JS_NULL;
  void *memory = malloc(bytes);
  if (!memory) return JS_ThrowOutOfMemory(js);
  if (load_image(data, size, width, height, layout, memory, bytes)) return free(memory), JS_NULL;
  return buffer_of(js, memory, bytes);
}

static const JSCFunctionListEntry HOST[] = {
    JS_CFUNC_DEF("encode", 1, js_encode),          JS_CFUNC_DEF("decode", 1, js_decode),
    JS_CFUNC_DEF("event", 1, js_event),            JS_CFUNC_DEF("metadata", 0, js_metadata),
    JS_CFUNC_DEF("write", 1, js_write),            JS_CFUNC_DEF("set", 2, js_set),
    JS_CFUNC_DEF("status", 1, js_status),          JS_CFUNC_DEF("header", 2, js_header),
    JS_CFUNC_DEF("after", 1, js_after),            JS_CFUNC_DEF("log", 3, js_log),
    JS_CFUNC_DEF("timeLeft", 0, js_time_left),     JS_CFUNC_DEF("config", 1, js_config),
    JS_CFUNC_DEF("start", 4, js_start),            JS_CFUNC_DEF("wait", 2, js_wait),
    JS_CFUNC_DEF("callStatus", 1, js_call_status), JS_CFUNC_DEF("callRead", 2, js_call_read),
    JS_CFUNC_DEF("close", 1, js_close),            JS_CFUNC_DEF("loadModel", 1, js_load_model),
    JS_CFUNC_DEF("setInput", 5, js_set_input),     JS_CFUNC_DEF("compute", 1, js_compute),
    JS_CFUNC_DEF("output", 2, js_output),          JS_CFUNC_DEF("pixels", 4, js_pixels),
    JS_CFUNC_DEF("random", 0, js_random),
};
enum { HOST_FUNCTIONS = sizeof HOST / sizeof *HOST };

static JSRuntime *runtime;
static JSContext *js;
static JSValue run, modules;
static JSModuleDef *script; /* where it is loaded already */
static JSValue loaded;      /* a promise: of the script's end */

static int fail(const char *text) {
  size_t size = strlen(text);
  reply_set(FAILURE_TEXT, text, size < MESSAGE ? size : MESSAGE);
  return FAILED;
}

/* The exception that is being thrown, with the first lines of its stack, as at most MESSAGE bytes of text. */
static void describe_exception(char *message) {
  JSValue error = JS_GetException(js);
  const char *text = JS_ToCString(js, error);
  JSValue stack = JS_IsError(error) ? JS_GetPropertyStr(js, error, "stack") : JS_UNDEFINED;
  const char *lines = JS_IsString(stack) ? JS_ToCString(js, stack) : NULL;
  int size = snprintf(message, MESSAGE, "%s%s%s", text ? text : "an exception", lines ? " " : "", lines ? lines : "");
  if (size >= MESSAGE) { /* it was cut, maybe within a character */
    size = MESSAGE - 1;
    while (size > 0 && (message[size - 1] & 0xC0) == 0x80) size--;
    message[size > 0 && (message[size - 1] & 0x80) ? --size : size] = 0;
  }
  while (size > 0 && (message[size - 1] == '\n' || message[size - 1] == ' ')) message[--size] = 0;
}

static int fail_with_exception(void) {
  char message[MESSAGE];
  describe_exception(message);
  return fail(message);
}

/* A file of the guest's; ends it with a zero, as QuickJS wants. */
static char *file_of(const char *path, size_t *size) {
  struct stat about;
  int file = open(path, O_RDONLY);
  if (file < 0) return NULL;
  char *text = fstat(file, &about) == 0 && about.st_size <= SCRIPT ? malloc(about.st_size + 1) : NULL;
  ssize_t got = 0, part = 1;
  while (text && part > 0 && got < about.st_size)
    if ((part = read(file, text + got, about.st_size - got)) > 0) got += part;
  close(file);
  if (text) text[*size = got] = 0;
  return text;
}

/* Loads what a script imports: a name is a path of the guest's files, below its root. */
static JSModuleDef *load(JSContext *context, const char *name, void *opaque) {
  (void)context, (void)opaque;
  char path[1024];
  size_t size;
  snprintf(path, sizeof path, "%s%s", *name == '/' ? "" : "/", name);
  char *text = file_of(path, &size);
  if (!text) {
    JS_ThrowReferenceError(js, "there is no module %s: it is none of dapr, models and pictures, nor a file of the guest's", name);
    return NULL;
  }
  JSValue module = JS_Eval(js, text, size, path, JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
  free(text);
  if (JS_IsException(module)) return NULL;
  JSModuleDef *found = JS_VALUE_GET_PTR(module);
  JS_FreeValue(js, module);
  return found;
}

/* The exports of the prelude under the names of the modules that scripts import. */
static int fill(JSContext *context, JSModuleDef *module) {
  (void)context;
  const char *text = JS_AtomToCString(js, JS_GetModuleName(js, module));
  JSValue values = JS_GetPropertyStr(js, modules, text);
  JSPropertyEnum *names = NULL;
  uint32_t count = 0;
  JS_GetOwnPropertyNames(js, &names, &count, values, JS_GPN_STRING_MASK);
  for (uint32_t i = 0; i < count; i++) {
    const char *own = JS_AtomToCString(js, names[i].atom);
    JS_SetModuleExport(js, module, own, JS_GetProperty(js, values, names[i].atom));
    JS_FreeCString(js, own);
  }
  return 0;
}

static void offer(const char *name) {
  JSValue values = JS_GetPropertyStr(js, modules, name);
  JSModuleDef *module = JS_NewCModule(js, name, fill);
  JSPropertyEnum *names = NULL;
  uint32_t count = 0;
  JS_GetOwnPropertyNames(js, &names, &count, values, JS_GPN_STRING_MASK);
  for (uint32_t i = 0; i < count; i++) JS_AddModuleExport(js, module, JS_AtomToCString(js, names[i].atom));
  JS_FreeValue(js, values);
}

/* Runs what promises wait for, until nothing is left. Gives false after an exception. */
static bool settle(void) {
  JSContext *where;
  int ran;
  while ((ran = JS_ExecutePendingJob(runtime, &where)) > 0) {
  }
  return ran == 0;
}

/* All that does not depend on the script. It is done when the guest is built (`snapshot.py`), which keeps the memory as it
   is then. */
__attribute__((export_name("prepare"))) void prepare(void) {
  runtime = JS_NewRuntime();
  js = runtime ? JS_NewContext(runtime) : NULL;
  if (!js) abort();
  JS_SetModuleLoaderFunc(runtime, NULL, load, NULL);
  JSValue global = JS_GetGlobalObject(js), host = JS_NewObject(js);
  JS_SetPropertyFunctionList(js, host, HOST, HOST_FUNCTIONS);
  JS_SetPropertyStr(js, global, "__host", host);
  run = JS_Eval(js, PRELUDE, PRELUDE_SIZE, "guesthouse", JS_EVAL_TYPE_GLOBAL | JS_EVAL_FLAG_STRICT);
  if (JS_IsException(run)) abort();
  modules = JS_GetPropertyStr(js, global, "__modules");
  offer("dapr");
  offer("models");
  offer("pictures");
}

/* Loads the script and runs its beginning. Gives false after an exception. */
static bool load_script(void) {
  JS_UpdateStackTop(runtime);
  JS_SetMaxStackSize(runtime, STACK);
  size_t size;
  char *text = file_of("/script.js", &size);
  if (!text) return JS_ThrowReferenceError(js, "there is no /script.js"), false;
  JSValue module = JS_Eval(js, text, size, "/script.js", JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
  free(text);
  if (JS_IsException(module)) return false;
  script = JS_VALUE_GET_PTR(module);
  loaded = JS_EvalFunction(js, module);
  return !JS_IsException(loaded) && settle();
}

/* For a snapshot: the script's beginning runs once, when the guest is loaded, and not with each event. */
__attribute__((export_name("wizer.initialize"))) void initialize(void) {
  bool well = load_script();
  JSPromiseStateEnum state = well ? JS_PromiseState(js, loaded) : JS_PROMISE_FULFILLED;
  if (state == JS_PROMISE_REJECTED) JS_Throw(js, JS_PromiseResult(js, loaded));
  if (state == JS_PROMISE_PENDING) JS_ThrowTypeError(js, "the script waits for something before it has begun");
  if (state != JS_PROMISE_FULFILLED) well = false;
  if (well) return;
  char message[MESSAGE];
  describe_exception(message);
  fprintf(stderr, "%s\n", message);
  exit(1);
}

__attribute__((export_name("dapr_on_event"))) int32_t dapr_on_event(void) {
  JS_UpdateStackTop(runtime);
  if (!script && !load_script()) return fail_with_exception();
  JSValue arguments[] = {JS_GetModuleNamespace(js, script), loaded};
  JSValue outcome = JS_Call(js, run, JS_UNDEFINED, 2, arguments); /* a promise of a number */
  if (JS_IsException(outcome)) return fail_with_exception();
  JSValue wait = JS_GetPropertyStr(js, modules, "wait");
  for (;;) {
    if (!settle()) return fail_with_exception();
    JSPromiseStateEnum state = JS_PromiseState(js, outcome);
    if (state != JS_PROMISE_PENDING) break;
    JSValue more = JS_Call(js, wait, JS_UNDEFINED, 0, NULL);
    if (JS_IsException(more)) return fail_with_exception();
    if (!JS_ToBool(js, more)) return fail("the script waits for a promise that nothing will resolve");
  }
  int32_t number = FAILED;
  JSValue result = JS_PromiseResult(js, outcome);
  if (JS_PromiseState(js, outcome) == JS_PROMISE_REJECTED) return JS_Throw(js, result), fail_with_exception();
  JS_ToInt32(js, &number, result);
  return number;
}
