"""What a guest may reach outside itself: one file for each capability, and the list of them.

A file has the capability's two halves for guests in worker processes, what its questions and answers look like, and its
grant. The protocol that import modules use stands in `guesthouse_abi.services`, or in the file itself where the
capability brings import modules of its own. What the host keeps for a capability (models, a client) comes from outside,
by `plan.Host`.
"""

from __future__ import annotations

from guesthouse.guests.capabilities import inference, log, onward, sidecar
from guesthouse.guests.capabilities.capability import Capabilities, Capability

#: Every capability of this host: a new one is a line here.
CAPABILITIES: Capabilities = (inference.CAPABILITY, log.CAPABILITY, onward.CAPABILITY, sidecar.CAPABILITY)

#: The tables that they add to a guest's in the manifest.
GRANTS = {one.name: one.grant for one in CAPABILITIES if one.grant is not None}

__all__ = ["CAPABILITIES", "GRANTS", "Capabilities", "Capability"]
