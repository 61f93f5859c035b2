"""What the control plane costs: the measurements behind `tools/bench control`."""
