// Node's side of the measurements. `node node.mjs KERNELS CLASSIFY FOLDER` answers each line of its standard input, a
// JSON object {what, how, input, times}, with {cpu, clock, output}: microseconds for one of so many calls.
// FOLDER has photo, pixels, probabilities and labels.json, as the host of the classifier gives them.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { answer, describe } from "./kernels.mjs";

const [kernels, classify, folder] = process.argv.slice(2);
const compiled = (path) => new WebAssembly.Module(readFileSync(path));
const programs = { kernels: compiled(kernels), classify: compiled(classify) };
const photo = readFileSync(`${folder}/photo`);
const pixels = new Uint8Array(readFileSync(`${folder}/pixels`));
const probabilities = new Float32Array(new Uint8Array(readFileSync(`${folder}/probabilities`)).buffer);
const labels = readFileSync(`${folder}/labels.json`, "utf8");

// What the two guests need of WASI: standard input and output.
function wasi(input) {
  const written = [];
  let memory, read = 0;
  const view = () => new DataView(memory.buffer);
  const parts = (at, count) =>
    Array.from({ length: count }, (_, i) => {
      const [start, size] = [view().getUint32(at + 8 * i, true), view().getUint32(at + 8 * i + 4, true)];
      return new Uint8Array(memory.buffer, start, size);
    });
  return {
    use: (own) => (memory = own),
    output: () => Buffer.concat(written).toString(),
    imports: {
      environ_get: () => 0,
      environ_sizes_get: (count, size) => (view().setUint32(count, 0, true), view().setUint32(size, 0, true), 0),
      fd_read: (fd, at, count, given) => {
        const before = read;
        for (const part of parts(at, count)) {
          const piece = input.subarray(read, read + part.length);
          part.set(piece);
          read += piece.length;
        }
        view().setUint32(given, read - before, true);
        return 0;
      },
      fd_write: (fd, at, count, given) => {
        let size = 0;
        for (const part of parts(at, count)) {
          written.push(Buffer.from(part));
          size += part.length;
        }
        view().setUint32(given, size, true);
        return 0;
      },
      proc_exit: (code) => {
        throw new Error(`exit ${code}`);
      },
    },
  };
}

function runKernels(input) {
  const system = wasi(Buffer.from(input));
  const { exports } = new WebAssembly.Instance(programs.kernels, { wasi_snapshot_preview1: system.imports });
  system.use(exports.memory);
  exports._start();
  return system.output();
}

// The guest as wasmedge-bindgen calls it; its host has the pixels and the probabilities already.
function runClassify() {
  const system = wasi(Buffer.alloc(0));
  let memory;
  const put = (at, bytes) => (new Uint8Array(memory.buffer).set(bytes, at), 0);
  const probabilityBytes = new Uint8Array(probabilities.buffer);
  const picture = (data, size, width, height, at) => put(at, pixels);
  const { exports } = new WebAssembly.Instance(programs.classify, {
    wasi_snapshot_preview1: system.imports,
    wasmedge_image: { wasmedge_image_load_jpg_to_rgb8: picture, wasmedge_image_load_png_to_rgb8: picture },
    wasmedge_tensorflow: {
      wasmedge_tensorflow_create_session: () => 1n,
      wasmedge_tensorflow_append_input: () => undefined,
      wasmedge_tensorflow_append_output: () => undefined,
      wasmedge_tensorflow_run_session: () => 0,
      wasmedge_tensorflow_get_output_tensor: () => 1n,
      wasmedge_tensorflow_get_tensor_len: () => probabilityBytes.length,
      wasmedge_tensorflow_get_tensor_data: (tensor, at) => void put(at, probabilityBytes),
      wasmedge_tensorflow_delete_session: () => undefined,
    },
  });
  memory = exports.memory;
  system.use(memory);
  exports._initialize();
  const body = exports.allocate(photo.length), table = exports.allocate(8);
  put(body, photo);
  const view = () => new DataView(memory.buffer);
  view().setUint32(table, body, true);
  view().setUint32(table + 4, photo.length, true);
  const record = exports.infer(table, 1);
  const result = view().getUint32(record + 1, true);
  return Buffer.from(memory.buffer, view().getUint32(result, true), view().getUint32(result + 8, true)).toString();
}

const RUN = {
  "kernels javascript": answer,
  "kernels wasm": runKernels,
  "classify javascript": () => describe(pixels, probabilities, labels),
  "classify wasm": runClassify,
};

for await (const line of createInterface({ input: process.stdin })) {
  const { what, how, input, times } = JSON.parse(line);
  const run = RUN[`${what} ${how}`];
  let output;
  const cpu = process.cpuUsage(), began = performance.now();
  for (let i = 0; i < times; i++) output = run(input);
  const clock = ((performance.now() - began) * 1000) / times;
  const { user, system } = process.cpuUsage(cpu);
  console.log(JSON.stringify({ cpu: (user + system) / times, clock, output }));
}
