"""Frames of packed numbers: dialect "struct". README.md has its keys."""
