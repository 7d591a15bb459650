// A greeting: the query, headers of the event and of the reply, a status.

const parameter = (query, name) => {
  const found = query.split("&").find((part) => part.split("=")[0] === name);
  const value = (found ?? "").slice(name.length + 1).replaceAll("+", " ");
  return value.replace(/(%[0-9A-Fa-f]{2})+/g, (bytes) => decodeURIComponent(bytes));
};

export function onInvoke(event) {
  const greeting = event.metadata["x-greeting"] ?? "Hello";
  const name = parameter(event.query, "name") || "world";
  return { status: 201, headers: { "x-guest": "hello" }, body: `${greeting}, ${name}!` };
}
