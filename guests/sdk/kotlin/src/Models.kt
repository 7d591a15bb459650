/** Models of the host, by wasi-nn, and pictures, by WasmEdge's `wasmedge_image`. */
package dapr

@WasmImport("wasi_ephemeral_nn", "load_by_name")
private external fun loadByName(name: Int, size: Int, graph: Int): Int

@WasmImport("wasi_ephemeral_nn", "init_execution_context")
private external fun initExecutionContext(graph: Int, context: Int): Int

@WasmImport("wasi_ephemeral_nn", "set_input")
private external fun setInput(context: Int, index: Int, tensor: Int): Int

@WasmImport("wasi_ephemeral_nn", "compute")
private external fun compute(context: Int): Int

@WasmImport("wasi_ephemeral_nn", "get_output")
private external fun getOutput(context: Int, index: Int, buffer: Int, size: Int, written: Int): Int

@WasmImport("wasmedge_image", "load_image")
private external fun loadImage(
    picture: Int, size: Int, width: Int, height: Int, type: Int, buffer: Int, capacity: Int,
): Int

private const val FLOAT32 = 1
private const val RGB8 = 0

/** Has the host decode and resize a JPEG or PNG: red, green and blue of each pixel. Null where it is no picture. */
fun pixels(picture: ByteArray, width: Int, height: Int): ByteArray? = lent(picture) { at, size ->
    var error = 0
    val room = 3 * width * height
    val found = filled(room) { error = loadImage(at, size, width, height, RGB8, it, room) }
    if (error == 0) found else null
}

/** Runs the host's model of this name on one input of floats. The result are [outputs] floats. Throws [Failed]. */
fun infer(model: String, shape: IntArray, input: FloatArray, outputs: Int): FloatArray {
    val graph = number(model) { lent(model.encodeToByteArray()) { at, size -> loadByName(at, size, it) } }
    val context = number(model) { initExecutionContext(graph, it) }
    val data = words(input.size) { input[it].toRawBits() }
    lent(words(shape.size) { shape[it] }) { dimensions, _ ->
        lent(data) { at, size ->
            val tensor = intArrayOf(dimensions, shape.size, FLOAT32, at, size)
            lent(words(tensor.size) { tensor[it] }) { place, _ -> succeeded(model, setInput(context, 0, place)) }
        }
    }
    succeeded(model, compute(context))
    val found = filled(4 * outputs) { buffer ->
        if (number(model) { getOutput(context, 0, buffer, 4 * outputs, it) } != 4 * outputs)
            throw Failed("the model $model has another output than $outputs floats")
    }
    return FloatArray(outputs) { Float.fromBits(word(found, it)) }
}

/** A number that the host writes. */
private fun number(model: String, write: (Int) -> Int) = word(filled(4) { succeeded(model, write(it)) }, 0)

private fun succeeded(model: String, error: Int) {
    if (error != 0) throw Failed("the model $model does not run: wasi-nn's error $error")
}

private fun words(count: Int, word: (Int) -> Int): ByteArray {
    val data = ByteArray(4 * count)
    for (at in 0 until count) littleEndian(word(at)).copyInto(data, 4 * at)
    return data
}

private fun word(data: ByteArray, at: Int) =
    (3 downTo 0).fold(0) { number, byte -> (number shl 8) or (data[4 * at + byte].toInt() and 255) }
