"""The page: a small web server and the files that it serves.

It knows the guest host only as a Dapr application, and speaks to it through its own sidecar: service invocation over
HTTP. What it asks for beyond guests is answered by the host's own methods (`guesthouse.page.methods`).
"""
