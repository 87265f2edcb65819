"""What a model is: operations, program, timing, channels, outputs, model, and the model file. Data only."""
