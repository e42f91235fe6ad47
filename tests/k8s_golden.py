"""The golden files of `saleops render k8s`: ``python tests/k8s_golden.py`` writes them anew (make golden), a test compares."""

import shutil
import sys
from pathlib import Path

from saleops.config.profile import load_profile
from saleops.config.sale import load_sale
from saleops.operations import render_k8s
from saleops.operations.k8s_texts import texts_of

ROOT = Path(__file__).parents[1]
SALE = ROOT / "examples" / "midnight-drop" / "sale.yaml"
PROFILE = Path(__file__).parent / "golden" / "k8s-profile.yaml"
GOLDEN = Path(__file__).parent / "golden" / "k8s"
VERSION = "1.0.0"
"""Instead of this release's: golden files change with what we render, not with its number."""


def golden_texts() -> dict[str, str]:
    """Every file of the example sale, by its name."""
    sale, profile = load_sale(SALE), load_profile(PROFILE)
    before, render_k8s.__version__ = render_k8s.__version__, VERSION
    try:
        return texts_of(render_k8s.manifests_of(sale, profile), sale)
    finally:
        render_k8s.__version__ = before


def main() -> int:
    shutil.rmtree(GOLDEN, ignore_errors=True)
    for name, text in golden_texts().items():
        file = GOLDEN / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    sys.stderr.write(f"{GOLDEN} was written; read its diff before it is committed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
