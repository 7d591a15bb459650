package examples;

import guesthouse.dapr.Dapr;
import guesthouse.dapr.Event;
import guesthouse.dapr.Reply;
import org.teavm.interop.Export;

/** Greets by the query and a header: name=Ada gives "Hello, Ada!". */
public final class Hello {
    private Hello() {}

    @Export(name = "dapr_on_invoke")
    public static int onInvoke() {
        return Dapr.answer(Hello::greet);
    }

    private static void greet() {
        String name = Event.query("name");
        String greeting = Event.metadata("x-greeting", "Hello");
        Reply.status(201);
        Reply.header("x-guest", "hello");
        Reply.contentType("text/plain; charset=utf-8");
        Reply.text(greeting + ", " + (name == null || name.isEmpty() ? "world" : name) + "!");
    }

    public static void main(String[] arguments) {}
}
