"""Guesthouse as a host of Dapr's actors: their turns come over one stream from the sidecar.

`stream` opens that stream and keeps it (a `Transport`), `turns` runs the turns, those of one actor one after the other,
`messages` converts between the stream's messages and events, `state` is what a guest reads and writes of its actor's
state in one turn, and the transaction at the turn's end.

What a guest sees of all this is in abi/spec/dapr_v1.md, section 3.6.
"""
