"""Whether the rows of a batch stay apart in a model's graph, as far as the graph alone tells it.

The graph is followed from the inputs, whose first dimension is the batch. For each value it is noted in which dimension
its rows are, or that it has no rows, or that a node has mixed them, or that this cannot be told. A node that mixes rows
on their way to an output is named. What cannot be told here is left to runs of the model (`trials`).

`walk` goes through the graph. `operators` lists the rule of each operator. The rules are in one file for each kind of
operator: `pointwise`, `reductions`, `layers`, `shapes`, `selections`. `values` has what all of them share.
"""

from __future__ import annotations

from guesthouse.inference.graph import ModelGraph
from guesthouse.inference.rows.walk import Walk


def mixing(model: ModelGraph) -> dict[str, str]:
    """For each output whose rows are mixed for certain: which node mixes them, and why. Raises `TooLarge`."""
    found = Walk(model).outputs()
    return {name: value.why for name, value in found.items() if value.state == "mixed"}
