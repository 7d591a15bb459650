"""A plan is all that one manifest loads: how it is built, which plan an event begins with, how a reload switches."""
