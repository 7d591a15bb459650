// Asks another application for a price, and hands the answer to an output binding.
import dapr.*

@WasmExport("dapr_on_binding")
fun onBinding() = answer {
    val price = invoke("other", "price", Event.body, "text/plain")
    binding("store", "create", price, mapOf("fileName" to "price"))
}
