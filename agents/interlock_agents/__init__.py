"""Repository agents: plug-ins that see a model before it loads, and may refuse or change it."""
