"""What can be wrong with an encrypted file or a key. No text holds anything secret."""


class EncryptionError(Exception):
    """The file is not what it must be, or the key is not: says which and how."""


class WrongKeyError(EncryptionError):
    """A key of the right name does not open what was closed with one of that name."""


class KeyUnavailableError(EncryptionError):
    """A key is not where keys come from, or may not be used as it lies there."""
