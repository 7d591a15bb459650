// Fails, asks for a retry, or drops the event, as its body says.
import dapr.*

@WasmExport("dapr_on_event")
fun onEvent() = answer {
    when (Event.body.decodeToString()) {
        "error" -> throw Failed("the body asks for an error")
        "retry" -> throw Retry("the body asks for a retry", after = 1500)
        "drop" -> throw Drop("the body asks to be dropped")
        else -> Reply.text("done")
    }
}
