package examples;

import guesthouse.dapr.Call;
import guesthouse.dapr.CallError;
import guesthouse.dapr.Dapr;
import guesthouse.dapr.Failed;
import guesthouse.dapr.Reply;
import guesthouse.dapr.State;
import java.util.ArrayList;
import java.util.List;
import org.teavm.interop.Export;

/** Reads ten states at once. */
public final class TenReads {
    private TenReads() {}

    @Export(name = "dapr_on_invoke")
    public static int onInvoke() {
        return Dapr.answer(TenReads::read);
    }

    private static void read() {
        List<Call<State>> calls = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            calls.add(Dapr.startGetState("statestore", "item-" + i));
        }
        for (int i = 0; i < 10; i++) {
            try {
                State item = calls.get(i).await();
                if (i > 0) {
                    Reply.text("\n");
                }
                Reply.write(item.data);
            } catch (CallError error) {
                throw new Failed("item-" + i + ": " + error.getMessage());
            }
        }
        Reply.contentType("text/plain");
    }

    public static void main(String[] arguments) {}
}
