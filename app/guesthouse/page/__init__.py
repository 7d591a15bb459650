"""What the page (docs/page.md) asks the host for. How it looks is `web`'s matter."""
