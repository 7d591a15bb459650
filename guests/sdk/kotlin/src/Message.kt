/** Protobuf messages, written and read by the numbers of their fields. */
package dapr

/** A message: [bytes] is what it was made of, and what was written to it since. */
class Message(start: ByteArray = ByteArray(0)) {
    private var data = start
    private var size = start.size

    val bytes: ByteArray get() = data.copyOf(size)

    /** A number or a boolean. */
    fun number(field: Int, value: Long) = varint(field.toLong() shl 3).varint(value)

    /** Bytes, unless there are none. */
    fun bytes(field: Int, value: ByteArray) = if (value.isEmpty()) this else inner(field, value)

    /** A text, unless it is empty. */
    fun text(field: Int, value: String) = bytes(field, value.encodeToByteArray())

    /** A message inside this one, also an empty one. */
    fun message(field: Int, value: Message) = inner(field, value.bytes)

    private fun inner(field: Int, value: ByteArray): Message {
        varint((field.toLong() shl 3) or 2).varint(value.size.toLong())
        val at = room(value.size)
        value.copyInto(data, at)
        return this
    }

    private fun varint(value: Long): Message {
        var rest = value
        while (rest < 0 || rest > 127) {
            byte(rest or 128)
            rest = rest ushr 7
        }
        byte(rest)
        return this
    }

    private fun byte(value: Long) {
        val at = room(1) // `data` may be another array now
        data[at] = value.toByte()
    }

    /** Room for so many bytes more: where they begin. */
    private fun room(more: Int): Int {
        if (size + more > data.size) data = data.copyOf(maxOf(2 * data.size, size + more))
        size += more
        return size - more
    }

    /** The last field of this number that is bytes, text or a message; empty where there is none. */
    fun find(field: Int): ByteArray {
        var found = ByteArray(0)
        val reader = Reader()
        while (reader.at < size) {
            val tag = reader.varint() ?: break
            val length = when ((tag and 7).toInt()) {
                0 -> if (reader.varint() == null) break else 0
                1 -> 8
                2 -> reader.varint() ?: break
                5 -> 4
                else -> break
            }
            if (length < 0 || length > size - reader.at) break
            val end = reader.at + length.toInt()
            if (tag == (field.toLong() shl 3) or 2) found = data.copyOfRange(reader.at, end)
            reader.at = end
        }
        return found
    }

    private inner class Reader {
        var at = 0

        fun varint(): Long? {
            var value = 0L
            var shift = 0
            while (at < size && shift < 64) {
                val byte = data[at++].toInt()
                value = value or ((byte and 127).toLong() shl shift)
                if (byte >= 0) return value
                shift += 7
            }
            return null
        }
    }
}
