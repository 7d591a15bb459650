// Builds the examples, and the guests of the tests: build/NAME.wasm.
import { mkdirSync, readdirSync } from "node:fs";
import asc from "assemblyscript/asc";

mkdirSync("build", { recursive: true });
for (const folder of ["examples", "tests"]) {
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".ts"))) {
    const made = `build/${file.replace(".ts", ".wasm")}`;
    const { error, stderr } = await asc.main([`${folder}/${file}`, "--config", "asconfig.json", "-o", made]);
    if (error) {
      console.error(String(stderr));
      process.exit(1);
    }
  }
}
