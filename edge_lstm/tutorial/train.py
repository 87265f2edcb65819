"""From imu.csv to wheels.onnx: a small LSTM that tells how fast the wheels turn by how the IMU shakes.

    pip install torch onnx
    python train.py         # in this folder; half a minute

It writes wheels.onnx (the network), stats.json (what its readings were normalized with) and expected.csv (what PyTorch
itself gives for the log, to compare with). Yours differs in INPUTS, TARGET and the name of the log.
"""

import csv
import json
from pathlib import Path

import numpy as np
import torch

INPUTS, TARGET = ["gyro_z", "accel_x", "accel_y", "accel_z"], "wheel_speed"
CHUNK, WARM_UP = 200, 25  # readings: 2 s each, of which the first 0.25 s, with an empty memory, are not scored
STEPS = 150

# 1. The log: names without their units, and the last fifth put aside, never to be trained on.
with Path("imu.csv").open(encoding="utf-8") as file:
    title, *rows = csv.reader(file)
names = [name.split(" (")[0] for name in title]
table = np.array(rows, np.float32)
train = len(table) * 4 // 5

# 2. Normalization, by what is trained on. The numbers go into a file: the robot needs the same ones.
columns = table[:, [names.index(name) for name in [*INPUTS, TARGET]]]
mean, std = columns[:train].mean(0), columns[:train].std(0)
stats = {n: {"mean": float(m), "std": float(s)} for n, m, s in zip([*INPUTS, TARGET], mean, std, strict=True)}
Path("stats.json").write_text(json.dumps(stats, indent=2))
data = torch.from_numpy((columns - mean) / std)
x, y = data[:, :-1], data[:, -1:]


# 3. The network. One output for every reading: it is to run for ever, one reading at a time.
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(len(INPUTS), 16, batch_first=True)
        self.head = torch.nn.Linear(16, 1)

    def forward(self, readings):  # (batch, time, inputs) -> (batch, time, 1)
        return self.head(self.lstm(readings)[0])


# 4. Training, on chunks from anywhere in the log.
torch.manual_seed(0)
net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
for _ in range(STEPS):
    pick = torch.randint(0, train - CHUNK, (32, 1)) + torch.arange(CHUNK)
    loss = torch.nn.functional.smooth_l1_loss(net(x[pick])[:, WARM_UP:], y[pick][:, WARM_UP:])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# 5. What it is worth: the whole log in one go, as the robot will meet it; judged by the fifth put aside.
net.eval()
with torch.no_grad():
    out = net(x[None])[0].numpy() * std[-1] + mean[-1]
truth = columns[:, -1:]
error = np.abs(out - truth)[train:].mean()
guess = np.abs(truth[train:] - mean[-1]).mean()
print(f"mean error {error:.2f} rad/s where it was not trained; who always says {mean[-1]:.1f} is off by {guess:.2f}")
Path("expected.csv").write_text(f"{TARGET}\n" + "".join(f"{value:.5f}\n" for value in out[:, 0]))

# 6. Export, with the length of time left open: then the memory goes on for ever (a fixed length would be a window).
torch.onnx.export(
    net,
    (x[None, :CHUNK],),
    "wheels.onnx",
    dynamo=False,
    input_names=["readings"],
    output_names=[TARGET],
    dynamic_axes={"readings": {1: "time"}, TARGET: {1: "time"}},
)
