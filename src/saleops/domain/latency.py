"""How long things took: a histogram with constant memory and a known error.

Buckets are log-linear (each power of two of microseconds is cut into 32): a percentile is at most 3.2 % too high and never
too low, whether a request took 50 microseconds or a minute.
"""

import msgspec

_SUB = 5  # 2**5 buckets for each power of two


class Histogram(msgspec.Struct):
    """Counts by bucket. ``merge`` adds another one's counts; it serialises as it is."""

    counts: dict[int, int] = {}
    total: int = 0
    max_us: int = 0

    def record(self, seconds: float) -> None:
        us = max(1, int(seconds * 1e6))
        shift = max(0, us.bit_length() - 1 - _SUB)
        bucket = (shift << (_SUB + 1)) + (us >> shift)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.total += 1
        self.max_us = max(self.max_us, us)

    def merge(self, other: "Histogram") -> None:
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.total += other.total
        self.max_us = max(self.max_us, other.max_us)

    def percentile_ms(self, share: float) -> float:
        """The time in milliseconds within which ``share`` (0 to 1) of all ended; 0.0 when there is none."""
        if not self.total:
            return 0.0
        wanted = max(1, -(-int(share * self.total * 1000) // 1000))
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                shift, high = bucket >> (_SUB + 1), bucket & ((1 << (_SUB + 1)) - 1)
                return min(((high + 1) << shift) - 1, self.max_us) / 1000
        return self.max_us / 1000
