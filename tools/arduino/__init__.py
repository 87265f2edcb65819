"""A real Arduino: sketches built with the AVR core and run on an emulated board."""
