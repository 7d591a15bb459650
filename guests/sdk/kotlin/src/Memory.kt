/**
 * Arrays of Kotlin's live in the engine's heap, where the host cannot look. What goes to the host, or comes from it, is
 * copied through the linear memory here.
 */
package dapr

import kotlin.wasm.unsafe.Pointer
import kotlin.wasm.unsafe.withScopedMemoryAllocator

/** Lends the host these bytes while [use] runs, which gets where they are and how many. */
internal fun <T> lent(data: ByteArray, use: (Int, Int) -> T): T = withScopedMemoryAllocator { memory ->
    val place = memory.allocate(data.size)
    place.put(data)
    use(place.address.toInt(), data.size)
}

/** What a function of the host that reads gives, whole; null where there is no such thing. */
internal fun read(from: (offset: Int, buffer: Int, capacity: Int) -> Int): ByteArray? {
    val size = from(0, 0, 0)
    return if (size < 0) null else filled(size) { buffer -> from(0, buffer, size) }
}

/** So many bytes as [write] has the host write them. */
internal fun filled(size: Int, write: (Int) -> Unit): ByteArray = withScopedMemoryAllocator { memory ->
    val place = memory.allocate(size)
    write(place.address.toInt())
    place.get(size)
}

/** A number as the host reads it. */
internal fun littleEndian(number: Int) = ByteArray(4) { (number ushr (8 * it)).toByte() }

private fun Pointer.put(data: ByteArray) {
    for (at in data.indices) (this + at).storeByte(data[at])
}

private fun Pointer.get(size: Int): ByteArray {
    val data = ByteArray(size)
    for (at in 0 until size) data[at] = (this + at).loadByte()
    return data
}
