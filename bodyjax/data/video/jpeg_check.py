"""Whether the pictures of a Motion JPEG have their ends; decoders make up those that are missing.

Damage inside a picture is not looked for: its codes would have to be decoded one by one.
"""

from __future__ import annotations

_BEGIN, _END = b"\xff\xd8", b"\xff\xd9"
_CHUNKS = (b"00dc", b"00db", b"01dc", b"01db")
"""Names of pictures in an AVI."""


class JpegCheck:
    """Checks the packets of a Motion JPEG, in their order."""

    def __init__(self) -> None:
        self._marks_ends: bool | None = None

    def __call__(self, packet: bytes) -> str:
        """What is wrong with a packet; "" if nothing.

        A recorder that marks the end of the first picture marks that of each. Behind it there may
        be anything that fills the packet up, also what was in the memory before, but not the
        beginning of another picture: then bytes are missing, and a piece of the file is read as
        this picture.
        """
        # Inside a picture 0xff is followed by 0: its end can't be anywhere else.
        end = packet.rfind(_END)
        if self._marks_ends is None:
            self._marks_ends = end >= 0
        if end < 0:
            return "the end of its picture is missing" if self._marks_ends else ""
        behind = packet[end + 2 :]
        if any(name in behind for name in (_BEGIN, *_CHUNKS)):
            return "another picture begins inside it"
        return ""
