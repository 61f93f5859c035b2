"""The gRPC boundary: what comes in is decoded and checked here, what goes out is encoded."""
