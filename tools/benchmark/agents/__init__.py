"""What repository agents cost: the measurements behind `tools/bench agents`."""
