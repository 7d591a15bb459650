// Writes its standard input to its standard output.
const parts = [];
for await (const part of process.stdin) parts.push(part);
process.stdout.write(Buffer.concat(parts));
