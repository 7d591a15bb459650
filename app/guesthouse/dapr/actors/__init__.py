"""Guesthouse as a host of Dapr's actors: their turns come over one stream from the sidecar.

`stream` opens that stream and keeps it (a `Transport`), `turns` runs the turns, those of one actor one after the other,
`messages` converts between the stream's messages and events, `state` is an actor's state during one turn.
"""
