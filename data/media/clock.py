"""The clock of a file: time stamps that jump, at joints of recordings or by damage, go on where they were."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av

LONGEST_GAP = 600.0
"""Seconds without anything; what is farther away is no gap but a jump of the clock."""
STEP_BACK = 0.5
"""Seconds by which a packet may lie before the end of the one before it without a jump."""
SKEW = 1.5
"""Seconds by which the packets of one stream may come later in the file than those of another one of the same time."""
REORDERED = 16
"""Images that may be reordered, where only the times at which they are shown are known."""
FEWEST_PACKETS = 5


class Clock:
    """Moves the time stamps of packets, in the order of the file, so that every stream goes on without a jump.

    zero: the second of the file's clock that is time 0. Streams jump together, but the last packets of one may come after the
    first ones of another; so each has its own way from the file's clock to ours, of those that any of them went.
    """

    def __init__(self, zero: float) -> None:
        self._zero = zero
        self._used: dict[float, int] = {0.0: 0}
        self._offset: dict[int, float] = {}
        self._base: dict[int, float] = {}
        self._next: dict[int, float] = {}
        self._last = 0.0

    @property
    def jumps(self) -> int:
        """How often the clock was set anew for more than some damaged packets."""
        return sum(packets >= FEWEST_PACKETS for offset, packets in self._used.items() if offset)

    def set_right(self, packet: "av.Packet") -> None:
        """Move the stamps of the next packet of the file."""
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is None:
            return
        stream = packet.stream
        index, kind = stream.index, stream.type
        base = self._base.get(index) or self._base.setdefault(index, float(packet.time_base))
        if kind != "subtitle":  # which may tell of any time, and is moved as what came before it
            length = (packet.duration or 0) * base
            length = length if length <= LONGEST_GAP else 0.0
            back = STEP_BACK if packet.dts is not None or kind == "audio" else STEP_BACK + REORDERED * length
            self._last = self._offset_of(index, stamp * base, length, back)
        if self._last:
            ticks = round(self._last / base)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks

    def _offset_of(self, stream: int, at: float, length: float, back: float) -> float:
        """Seconds by which a packet of this time and length (s) is moved; it may lie `back` s before the end of the last one."""
        latest = max(self._next.values(), default=self._zero)
        earliest = self._next.get(stream, self._zero - LONGEST_GAP + back) - back
        offset = self._offset.get(stream, 0.0)
        if not earliest <= at + offset <= latest + LONGEST_GAP:
            earliest = max(earliest, latest - SKEW)  # else a stream that was silent in one recording falls behind the others
            ways = (way for way in reversed(self._used) if earliest <= at + way <= latest + LONGEST_GAP)
            offset = next(ways, latest - at)
        self._used[offset] = self._used.get(offset, 0) + 1
        self._offset[stream], self._next[stream] = offset, at + offset + length
        return offset
