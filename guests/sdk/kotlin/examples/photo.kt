// Counts the photos that show a person. The count is a state, saved with its etag: where another event was faster, this
// one comes again.
import dapr.*

const val SIDE = 96

@WasmExport("dapr_on_topic")
fun onTopic() = answer {
    try {
        count()
    } catch (error: CallError) {
        throw Retry(error.message!!)
    }
}

fun count() {
    val seen = getState("statestore", "people")
    val pixels = pixels(Event.body, SIDE, SIDE) ?: throw Drop("the body is not a picture")
    val input = FloatArray(pixels.size) { pixels[it].toUByte().toFloat() }
    val person = infer("person", intArrayOf(1, SIDE, SIDE, 3), input, 2)[0] > 0.5f

    val before = seen.data.decodeToString().takeIf { text -> text.all { it in '0'..'9' } }?.toLongOrNull() ?: 0
    val people = if (person) before + 1 else before
    saveState("statestore", "people", "$people".encodeToByteArray(), seen.etag)
    val result = """{"person":$person,"people":$people}"""
    publish("pubsub", "results", result.encodeToByteArray(), "application/json")
}
