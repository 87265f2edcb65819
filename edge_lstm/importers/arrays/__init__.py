"""From bare weights, a PyTorch state_dict or Keras weights saved with NumPy, to a model."""
