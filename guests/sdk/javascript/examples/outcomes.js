// An error, a retry, a drop.

import { Drop, Retry } from "dapr";

export function onEvent(event) {
  switch (event.text()) {
    case "error":
      throw new Error("the body asks for an error");
    case "retry":
      throw new Retry("the body asks for a retry", { after: 1500 });
    case "drop":
      throw new Drop("the body asks to be dropped");
  }
  return "done";
}
