// Greets by the query and a header: name=Ada gives "Hello, Ada!".
import dapr.*

@WasmExport("dapr_on_invoke")
fun onInvoke() = answer {
    val name = Event.query("name").orEmpty().ifEmpty { "world" }
    val greeting = Event.metadata("x-greeting") ?: "Hello"
    Reply.status(201)
    Reply.header("x-guest", "hello")
    Reply.contentType("text/plain; charset=utf-8")
    Reply.text("$greeting, $name!")
}
