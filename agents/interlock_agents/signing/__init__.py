"""Signatures of models, in the format of OpenSSF model signing: made, read and verified."""
