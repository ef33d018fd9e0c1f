"""Systemd Debian machines under podman."""
