package guesthouse.dapr;

import org.teavm.interop.Address;
import org.teavm.interop.Import;

/** Models of the host, by wasi-nn, and pictures, by WasmEdge's {@code wasmedge_image}. */
public final class Models {
    private static final int FLOAT32 = 1;
    private static final int RGB8 = 0;

    private Models() {}

    @Import(module = "wasi_ephemeral_nn", name = "load_by_name")
    private static native int loadByName(Address name, int size, Address graph);

    @Import(module = "wasi_ephemeral_nn", name = "init_execution_context")
    private static native int initExecutionContext(int graph, Address context);

    @Import(module = "wasi_ephemeral_nn", name = "set_input")
    private static native int setInput(int context, int index, Address tensor);

    @Import(module = "wasi_ephemeral_nn", name = "compute")
    private static native int compute(int context);

    @Import(module = "wasi_ephemeral_nn", name = "get_output")
    private static native int getOutput(int context, int index, Address buffer, int size, Address written);

    @Import(module = "wasmedge_image", name = "load_image")
    private static native int loadImage(
            Address picture, int size, int width, int height, int type, Address buffer, int capacity);

    /** Has the host decode and resize a JPEG or PNG: red, green and blue of each pixel. Null where it is no picture. */
    public static byte[] pixels(byte[] picture, int width, int height) {
        byte[] made = new byte[3 * width * height];
        Address from = Address.ofData(picture);
        int error = loadImage(from, picture.length, width, height, RGB8, Address.ofData(made), made.length);
        return error == 0 ? made : null;
    }

    /** Runs the host's model of this name on one input of floats. The result has so many floats. */
    public static float[] infer(String model, int[] shape, float[] input, int outputs) {
        byte[] name = Abi.utf8(model);
        int[] number = new int[1];
        float[] output = new float[outputs];
        int[] tensor = {0, shape.length, FLOAT32, 0, 4 * input.length};
        succeeded(model, loadByName(Address.ofData(name), name.length, Address.ofData(number)));
        succeeded(model, initExecutionContext(number[0], Address.ofData(number)));
        int context = number[0];
        tensor[0] = Address.ofData(shape).toInt();
        tensor[3] = Address.ofData(input).toInt();
        succeeded(model, setInput(context, 0, Address.ofData(tensor)));
        succeeded(model, compute(context));
        succeeded(model, getOutput(context, 0, Address.ofData(output), 4 * outputs, Address.ofData(number)));
        if (number[0] != 4 * outputs) {
            throw new Failed("the model " + model + " has another output than " + outputs + " floats");
        }
        return output;
    }

    private static void succeeded(String model, int error) {
        if (error != 0) {
            throw new Failed("the model " + model + " does not run: wasi-nn's error " + error);
        }
    }
}
