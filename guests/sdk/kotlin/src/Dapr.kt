/**
 * The module `dapr_v1` for guests in Kotlin: the event, the reply, calls to the sidecar, and the outcome of an event.
 * It has the calls that the five examples make, and [startCall] for all others. Models and pictures are in Models.kt,
 * protobuf in Message.kt.
 */
package dapr

@WasmImport("dapr_v1", "event_read")
private external fun eventRead(field: Int, offset: Int, buffer: Int, capacity: Int): Int

@WasmImport("dapr_v1", "event_metadata")
private external fun eventMetadata(name: Int, nameSize: Int, offset: Int, buffer: Int, capacity: Int): Int

@WasmImport("dapr_v1", "reply_write")
private external fun replyWrite(data: Int, size: Int): Int

@WasmImport("dapr_v1", "reply_set")
private external fun replySet(field: Int, text: Int, size: Int): Int

@WasmImport("dapr_v1", "reply_status")
private external fun replyStatus(status: Int): Int

@WasmImport("dapr_v1", "reply_header")
private external fun replyHeader(name: Int, nameSize: Int, value: Int, valueSize: Int): Int

@WasmImport("dapr_v1", "retry_after")
private external fun retryAfter(milliseconds: Int): Int

@WasmImport("dapr_v1", "call_start")
private external fun callStart(
    method: Int, methodSize: Int, request: Int, size: Int, metadata: Int, metadataSize: Int, milliseconds: Int,
): Int

@WasmImport("dapr_v1", "call_wait")
private external fun callWait(handles: Int, count: Int, mode: Int, milliseconds: Int): Int

@WasmImport("dapr_v1", "call_status")
private external fun callStatus(handle: Int): Int

@WasmImport("dapr_v1", "call_read")
private external fun callRead(handle: Int, part: Int, offset: Int, buffer: Int, capacity: Int): Int

@WasmImport("dapr_v1", "call_close")
private external fun callClose(handle: Int): Int

// ---- outcomes ----

private const val FAILED = 1
private const val RETRY = 2
private const val DROP = 3

/** Thrown in a handler: the event fails, with the message for its caller. */
open class Failed(message: String) : Exception(message)

/** Thrown in a handler: the same event may succeed later, [after] so many milliseconds. */
class Retry(message: String, val after: Int? = null) : Failed(message)

/** Thrown in a handler: the event is at fault, and sending it again cannot help. */
class Drop(message: String) : Failed(message)

/** A call that failed. [code] is gRPC's, or a number of `dapr_v1` below 0 where there was no call. */
class CallError(val code: Int, message: String) : Failed(message) {
    /** Whether the same call may succeed later: nobody answered, or not in time. */
    val temporary get() = code == 14 || code == 4
}

/** What an exported handler returns: the outcome of the event that [handler] answers. */
fun answer(handler: () -> Unit): Int {
    try {
        handler()
        return 0
    } catch (error: Throwable) {
        setText(2, error.message ?: error.toString())
        return when (error) {
            is Drop -> DROP
            is Retry -> RETRY.also { error.after?.let(::retryAfter) }
            is CallError -> if (error.temporary) RETRY else FAILED
            else -> FAILED
        }
    }
}

// ---- the event ----

/** The event that the guest answers. */
object Event {
    val body: ByteArray get() = field(1) ?: ByteArray(0)

    /** What of the event comes as text by the numbers of `event_read`; null where the event has none. */
    fun text(number: Int): String? = field(number)?.decodeToString()

    /** A piece of metadata by its name in lower case; of an invocation: a header. */
    fun metadata(name: String): String? = lent(name.encodeToByteArray()) { at, size ->
        read { offset, buffer, capacity -> eventMetadata(at, size, offset, buffer, capacity) }
    }?.decodeToString()

    /** The first parameter of this name in the query, decoded. What is no escape stays as it is. */
    fun query(name: String): String? = text(6).orEmpty().split('&').filter(String::isNotEmpty)
        .map { it.split('=', limit = 2).map(::unescaped) }.firstOrNull { it[0] == name }?.let { it.getOrElse(1) { "" } }

    private fun field(number: Int) = read { offset, buffer, capacity -> eventRead(number, offset, buffer, capacity) }

    private fun unescaped(part: String): String {
        val bytes = part.replace('+', ' ').encodeToByteArray()
        val made = ByteArray(bytes.size)
        var size = 0
        var at = 0
        while (at < bytes.size) {
            val high = digit(bytes, at + 1)
            val low = digit(bytes, at + 2)
            val escaped = bytes[at] == '%'.code.toByte() && high >= 0 && low >= 0
            made[size++] = if (escaped) (16 * high + low).toByte() else bytes[at]
            at += if (escaped) 3 else 1
        }
        return made.decodeToString(0, size)
    }

    private fun digit(bytes: ByteArray, at: Int) =
        if (at < bytes.size) bytes[at].toInt().toChar().digitToIntOrNull(16) ?: -1 else -1
}

// ---- the reply ----

/** What the guest answers; of events that are no invocation the body alone. */
object Reply {
    /** Appends to the body. */
    fun write(data: ByteArray) = checked("reply_write", lent(data, ::replyWrite))

    /** Appends to the body. */
    fun text(value: String) = write(value.encodeToByteArray())

    fun contentType(value: String) = checked("reply_set", setText(1, value))

    /** HTTP's, from 200 to 599. */
    fun status(value: Int) = checked("reply_status", replyStatus(value))

    /** A header; its name has lower-case letters. */
    fun header(name: String, value: String) = checked("reply_header", lent(name.encodeToByteArray()) { key, size ->
        lent(value.encodeToByteArray()) { at, valueSize -> replyHeader(key, size, at, valueSize) }
    })

    private fun checked(function: String, result: Int) {
        if (result < 0) throw Failed("$function gave $result")
    }
}

private fun setText(field: Int, text: String) =
    lent(text.encodeToByteArray()) { at, size -> replySet(field, at, size) }

// ---- calls ----

/** A call that was begun. Calls that were begun before the first is waited for are under way at once. */
class Call<T>(private val handle: Int, private val decode: (Message) -> T) {
    /** Waits for the end, and gives what came back. Once; throws [CallError]. */
    fun wait(): T {
        if (handle < 0) throw CallError(handle, "dapr_v1 gave $handle")
        lent(littleEndian(handle)) { at, _ -> callWait(at, 1, 1, -1) }
        val status = callStatus(handle)
        val part = if (status == 0) 0 else 1
        val found = read { offset, buffer, capacity -> callRead(handle, part, offset, buffer, capacity) }
        callClose(handle)
        if (status < 0) throw CallError(status, "dapr_v1 gave $status")
        if (status > 0) throw CallError(status, found?.decodeToString().orEmpty())
        return decode(Message(found ?: ByteArray(0)))
    }
}

/** Begins any method of Dapr's API, with its own protobuf message. */
fun <T> startCall(method: String, request: Message, decode: (Message) -> T): Call<T> {
    val handle = lent(method.encodeToByteArray()) { name, nameSize ->
        lent(request.bytes) { at, size -> callStart(name, nameSize, at, size, 0, 0, 0) }
    }
    return Call(handle, decode)
}

/** A state. An absent one has no data, and an empty etag. */
class State(val data: ByteArray, val etag: String)

fun startGetState(store: String, key: String) =
    startCall("GetState", Message().text(1, store).text(2, key)) { State(it.find(1), it.find(2).decodeToString()) }

fun getState(store: String, key: String): State = startGetState(store, key).wait()

/** Saves a state only if it still has this etag, as [getState] gave it; an empty one: if it is still absent. */
fun saveState(store: String, key: String, data: ByteArray, etag: String) {
    val item = Message().text(1, key).bytes(2, data)
    if (etag.isNotEmpty()) item.message(3, Message().text(1, etag))
    item.message(5, Message().number(1, 1)) // the first write wins
    startCall("SaveState", Message().text(1, store).message(2, item)) {}.wait()
}

fun publish(pubsub: String, topic: String, data: ByteArray, contentType: String) {
    val request = Message().text(1, pubsub).text(2, topic).bytes(3, data).text(4, contentType)
    startCall("PublishEvent", request) {}.wait()
}

/** Calls a method of another application by POST, and gives its answer. */
fun invoke(app: String, method: String, data: ByteArray, contentType: String): ByteArray {
    val message = Message().text(1, method).message(2, Message().bytes(2, data)).text(3, contentType)
    message.message(4, Message().number(1, 3)) // POST
    val request = Message().text(1, app).message(3, message)
    return startCall("InvokeService", request) { Message(it.find(1)).find(2) }.wait()
}

/** Uses an output binding, and gives what it answers. */
fun binding(name: String, operation: String, data: ByteArray, metadata: Map<String, String> = mapOf()): ByteArray {
    val request = Message().text(1, name).bytes(2, data)
    for ((key, value) in metadata) request.message(3, Message().text(1, key).text(2, value))
    return startCall("InvokeBinding", request.text(4, operation)) { it.find(1) }.wait()
}
