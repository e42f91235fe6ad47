"""The Tair classes that the local cloud sells: what one shard of each can do.

Memory in GB, bandwidth in MB/s, connections and requests per second are those of the vendor's product pages for
memory-optimised, persistent-memory and disk-based instances (read 2026-11).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TairClass:
    """One class; the figures are one shard's."""

    name: str
    instance_type: str  # tair_rdb, tair_scm, tair_essd
    memory_gb: int
    bandwidth_mb_s: int
    connections: int
    qps: int

    @property
    def by_proxy(self) -> bool:
        return ".with.proxy." in self.name


def _rdb(memory_gb: int, connections: int) -> list[TairClass]:
    return [
        TairClass(f"tair.rdb.{memory_gb}g", "tair_rdb", memory_gb, 96, connections, 300_000),
        TairClass(
            f"tair.rdb.with.proxy.{memory_gb}g", "tair_rdb", memory_gb, 96, connections, 300_000
        ),
    ]


def _scm(size_m: int, memory_gb: int) -> list[TairClass]:
    sizes = f"{size_m}m.{memory_gb}d"
    return [
        TairClass(f"tair.scm.standard.{sizes}", "tair_scm", memory_gb, 96, 30_000, 130_000),
        TairClass(f"tair.scm.with.proxy.{sizes}", "tair_scm", memory_gb, 96, 30_000, 130_000),
    ]


CLASSES = {
    tair_class.name: tair_class
    for tair_class in (
        *(each for gb in (1, 2) for each in _rdb(gb, 30_000)),
        *(each for gb in (4, 8, 16) for each in _rdb(gb, 40_000)),
        *(each for gb in (24, 32, 64) for each in _rdb(gb, 50_000)),
        *(each for m, gb in ((1, 4), (2, 8), (4, 16), (8, 32), (16, 64)) for each in _scm(m, gb)),
        TairClass("tair.essd.standard.xlarge", "tair_essd", 16, 48, 10_000, 25_000),
        TairClass("tair.essd.standard.2xlarge", "tair_essd", 32, 96, 15_000, 50_000),
        TairClass("tair.essd.standard.4xlarge", "tair_essd", 64, 192, 30_000, 100_000),
        TairClass("tair.essd.standard.8xlarge", "tair_essd", 128, 384, 50_000, 200_000),
    )
}
