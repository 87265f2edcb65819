"""What remembers between readings: streams, their gates, closed loops, missing readings, encoder and decoder."""
