"""Seeds as pure functions of what they are for."""

import hashlib


def seed_of(*purpose: str | int) -> int:
    """A 63-bit seed; different purposes give independent streams."""
    digest = hashlib.sha256("\0".join(map(str, purpose)).encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8]) >> 1
