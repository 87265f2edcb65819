"""Measuring: speed beside other runtimes, jitter of the live loop, accuracy of the activations."""
