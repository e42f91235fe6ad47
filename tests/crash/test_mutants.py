"""Every known bug, planted, is caught: by the sale that docs/crash-matrix.md names for it, which the real code passes."""

import pytest
from mutants import MUTANTS, Mutant, written_table

TABLE = written_table()


def test_the_page_names_every_mutant_and_no_other() -> None:
    assert list(TABLE) == [mutant.name for mutant in MUTANTS]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_caught_by_its_sale_and_the_real_code_passes_it(mutant: Mutant) -> None:
    case = TABLE[mutant.name]

    assert mutant.caught(case)
    assert case.play().violations == []
