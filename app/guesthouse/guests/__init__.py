"""Guests: a compiled module with its grants and limits, its slots, and the sandbox that answers one event."""
