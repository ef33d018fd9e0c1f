"""rag-admin: the reference application that the collection deploys."""

# Written by build_release.py into each release; a checkout has no version.
__version__ = "0.0.0"
