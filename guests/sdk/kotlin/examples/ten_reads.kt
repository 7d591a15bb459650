// Reads ten states at once.
import dapr.*

@WasmExport("dapr_on_invoke")
fun onInvoke() = answer {
    val calls = List(10) { startGetState("statestore", "item-$it") }
    calls.forEachIndexed { number, call ->
        try {
            val state = call.wait()
            if (number > 0) Reply.text("\n")
            Reply.write(state.data)
        } catch (error: CallError) {
            throw Failed("item-$number: ${error.message}")
        }
    }
    Reply.contentType("text/plain")
}
