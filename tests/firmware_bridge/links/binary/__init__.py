"""Frames of packed numbers."""
