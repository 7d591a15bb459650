"""An error, a retry, a drop."""

from guesthouse import Drop, Retry


def on_event(event):
    match event.text():
        case "error":
            raise Exception("the body asks for an error")
        case "retry":
            raise Retry("the body asks for a retry", after=1.5)
        case "drop":
            raise Drop("the body asks to be dropped")
    return "done"
