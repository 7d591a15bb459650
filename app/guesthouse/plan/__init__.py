"""All that one manifest loads, how it is built, which one events begin with, and how another takes its place."""
