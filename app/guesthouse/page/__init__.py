"""What the host answers to the page (docs/page.md), and what it keeps of events for that. The page itself is `web`."""
