"""``saleops init`` and ``saleops schema``."""

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from saleops.cli.main import main
from saleops.config.profile import default_profile, load_profile
from saleops.config.sale import load_sale, sale_schema
from saleops.errors import ConfigError, Refused
from saleops.operations.init_sale import FILES, NAME_PATTERN, apply_init, plan_init

TODAY = datetime(2026, 11, 20, 13, 5, tzinfo=timezone(timedelta(hours=8)))


def files_in(folder: Path) -> dict[str, str]:
    return {one.name: one.read_text(encoding="utf-8") for one in folder.iterdir()}


@pytest.mark.parametrize("name", ["my-sale", "x", "a" * 42, "2027", "null", "1e3", "true"])
def test_what_init_writes_loads_clean(tmp_path: Path, name: str) -> None:
    apply_init(plan_init(tmp_path / "new" / "folder", name=name, today=TODAY))

    sale = load_sale(tmp_path / "new" / "folder" / "sale.yaml")
    assert sale.name == name
    assert sale.window.opens == datetime(2026, 11, 27, tzinfo=TODAY.tzinfo)
    assert sale.items_source.summary().items_count == 6


def test_the_sale_file_names_the_schema_beside_it_for_editors(tmp_path: Path) -> None:
    apply_init(plan_init(tmp_path, name="x", today=TODAY))

    found = files_in(tmp_path)
    assert found["sale.yaml"].startswith("# yaml-language-server: $schema=sale.schema.json\n")
    assert json.loads(found["sale.schema.json"]) == sale_schema()
    assert "@" not in found["sale.yaml"].replace("orders@pc-", "")


def test_a_profile_is_written_when_asked_for_and_loads_clean(tmp_path: Path) -> None:
    report = apply_init(plan_init(tmp_path, name="x", today=TODAY, profile=True))

    assert report.files == (*FILES, "profile.yaml")
    assert load_profile(tmp_path / "profile.yaml") == default_profile()


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_there_is_never_touched(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text("mine")

    with pytest.raises(Refused, match=f"{file} is there already; nothing was written") as caught:
        plan_init(tmp_path, name="x", today=TODAY)

    assert "--force" in str(caught.value.hint)
    assert files_in(tmp_path) == {file: "mine"}


def test_force_overwrites_and_the_plan_says_what(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("mine")
    (tmp_path / "other.txt").write_text("mine")

    plan = plan_init(tmp_path, name="x", today=TODAY, force=True)
    assert plan.overwrites == ("items.csv",)
    assert files_in(tmp_path)["items.csv"] == "mine"

    apply_init(plan)
    assert files_in(tmp_path)["items.csv"].startswith("sku,")
    assert set(files_in(tmp_path)) == {*FILES, "other.txt"}


def test_a_file_that_appears_after_the_plan_is_not_touched_and_nothing_stays(
    tmp_path: Path,
) -> None:
    plan = plan_init(tmp_path, name="x", today=TODAY)
    (tmp_path / "sale.schema.json").write_text("somebody else's")

    with pytest.raises(Refused, match="is there already"):
        apply_init(plan)

    assert files_in(tmp_path) == {"sale.schema.json": "somebody else's"}


def test_a_link_to_nowhere_counts_as_there(tmp_path: Path) -> None:
    (tmp_path / "sale.yaml").symlink_to("elsewhere.yaml")

    with pytest.raises(Refused):
        plan_init(tmp_path, name="x", today=TODAY)


@pytest.mark.parametrize("name", ["", "My Sale", "-x", "x-", "a" * 43, "x\ny", 'x"', "é"])
def test_a_name_that_would_not_load_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is no name for a sale"):
        plan_init(tmp_path, name=name, today=TODAY)


def test_a_bad_name_hears_a_good_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_init(tmp_path, name="Midnight Drop!", today=TODAY)

    assert str(caught.value.hint).endswith(": --name midnight-drop")


def test_names_are_those_of_the_sale_file() -> None:
    assert sale_schema()["properties"]["name"]["pattern"] == f"^{NAME_PATTERN}$"
    assert re.fullmatch(NAME_PATTERN, "midnight-drop")


def test_a_folder_that_cannot_be_written_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", Path("a\0b"), tmp_path / ("x" * 300)):
        with pytest.raises(ConfigError, match="nothing was written"):
            apply_init(plan_init(folder, name="x", today=TODAY))
    with pytest.raises(ConfigError, match="nothing was written"):
        apply_init(plan_init(tmp_path / "file" / "below", name="x", today=TODAY))


def test_the_command_writes_once_and_then_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "drop")

    assert main(["init", folder, "--dry-run"]) == 0
    assert "Nothing was written." in capsys.readouterr().out
    assert not Path(folder).exists()
    assert main(["init", folder, "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "saleops/init/v1"
    assert document["files"] == list(FILES)
    assert main(["init", folder]) == 5
    assert "is there already; nothing was written" in capsys.readouterr().err
    assert main(["init", folder, "--force"]) == 0


def test_schema_prints_nothing_but_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0

    printed = capsys.readouterr()
    assert json.loads(printed.out) == sale_schema()
    assert printed.err == ""
