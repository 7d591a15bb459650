// Models of the host, by wasi-nn, and pictures, by WasmEdge's wasmedge_image.

import { utf8 } from "./bytes";

@external("wasi_ephemeral_nn", "load_by_name")
declare function load_by_name(name: usize, size: u32, graph: usize): u32;
@external("wasi_ephemeral_nn", "init_execution_context")
declare function init_execution_context(graph: u32, context: usize): u32;
@external("wasi_ephemeral_nn", "set_input")
declare function set_input(context: u32, index: u32, tensor: usize): u32;
@external("wasi_ephemeral_nn", "compute")
declare function compute(context: u32): u32;
@external("wasi_ephemeral_nn", "get_output")
declare function get_output(context: u32, index: u32, buffer: usize, size: u32, written: usize): u32;
@external("wasmedge_image", "load_image")
declare function load_image(
  picture: usize, size: u32, width: u32, height: u32, type: u32, buffer: usize, room: u32,
): u32;

const FLOAT32: u8 = 1;
const RGB8: u32 = 0;
const INVALID_ARGUMENT: u32 = 1;

@unmanaged
class Tensor {
  dimensions: usize = 0;
  rank: u32 = 0;
  type: u8 = 0;
  data: usize = 0;
  size: u32 = 0;
}

const number = new StaticArray<u32>(1);

/** Runs the host's model of this name on one input of floats, and fills `output`, which must have the size of the
 * model's first output. The result is 0, or an error number of wasi-nn. */
export function infer(model: string, shape: StaticArray<u32>, input: Float32Array, output: Float32Array): u32 {
  const name = utf8(model), at = changetype<usize>(number);
  let error = load_by_name(name.dataStart, name.length, at);
  if (error) return error;
  error = init_execution_context(number[0], at);
  if (error) return error;
  const context = number[0], tensor = new Tensor();
  tensor.dimensions = changetype<usize>(shape);
  tensor.rank = shape.length;
  tensor.type = FLOAT32;
  tensor.data = input.dataStart;
  tensor.size = input.byteLength;
  error = set_input(context, 0, changetype<usize>(tensor));
  heap.free(changetype<usize>(tensor));
  if (error) return error;
  error = compute(context);
  if (error) return error;
  error = get_output(context, 0, output.dataStart, output.byteLength, at);
  if (error) return error;
  return number[0] == output.byteLength ? 0 : INVALID_ARGUMENT;
}

/** Has the host decode a JPEG or PNG picture and resize it: red, green and blue of each pixel. Null where it is no
 * picture. */
export function loadImage(picture: Uint8Array, width: u32, height: u32): Uint8Array | null {
  const pixels = new Uint8Array(width * height * 3);
  if (load_image(picture.dataStart, picture.length, width, height, RGB8, pixels.dataStart, pixels.length)) return null;
  return pixels;
}
