"""The page: a small web server and the files that it serves.

The page knows the guest host only as a Dapr application, and reaches it through the page's own sidecar, by service
invocation over HTTP. Counts, arrivals and pictures come from the host's own methods (`guesthouse.page.methods`).
"""
