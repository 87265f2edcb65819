"""Deployment files of policies (unitree_rl_gym, unitree_rl_lab, Isaac Lab) → [inputs] and [outputs] of robot.toml."""
