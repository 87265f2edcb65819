"""The tutorial and the pages beside it, with their files, which `edge-lstm example copy` brings to a folder.

    imu.csv         a minute of the simulated robot's IMU, and how fast its wheels turned (tools/train/tutorial.py)
    train.py        the training script, in PyTorch
    wheels.onnx     what it exported; stats.json and expected.csv are beside it, so that nobody needs PyTorch to go on

Its rule: nothing is imported from here.
"""
