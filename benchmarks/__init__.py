"""Figures of the collection, measured on the lab: one command each, see README.md."""
