"""What developers run: `demo`, `test` and `check` are commands, `environment` what they share; measuring (`bench`), Arm
without Arm (`arm`), an emulated board (`board`), what made the models (`train`), and the picture of the rooms.

Its rule: tests may use what tools offer; no tool imports a test.
"""
