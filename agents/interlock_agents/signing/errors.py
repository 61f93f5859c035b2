"""What can be wrong with a signature, or with what it is verified by."""


class SignatureError(Exception):
    """The signature is not one of this model by a trusted signer: says why."""


class UnsupportedSignatureError(SignatureError):
    """It may be a good signature, of a kind that is not verified here."""


class SignersUnavailableError(Exception):
    """Who is trusted cannot be read, or may have been written by anybody."""
