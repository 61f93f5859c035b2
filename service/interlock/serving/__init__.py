"""What is being served: the one object that both planes share."""
