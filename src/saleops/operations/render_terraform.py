"""``saleops render terraform``: a sale's network and engines as a Terraform module of its own.

The module is a folder: our templates as they are, terraform.tfvars.json with this sale's values, and .gitignore.
rendered_files.py writes it and keeps its hands off what somebody edited.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from saleops.operations.provision.blueprint import blueprint
from saleops.operations.rendered_files import FolderPlan, RenderedFile, plan_folder, write_folder
from saleops.operations.terraform_values import PARTS, terraform_values
from saleops.resources import read_template

if TYPE_CHECKING:
    from saleops.config.profile import Profile
    from saleops.config.sale import Sale

MODULE = ("versions", "variables", "network", "database", "cache", "queue", "outputs")
VALUES = "terraform.tfvars.json"
_GITIGNORE = """# Terraform's state holds the database's password in clear text: it belongs into a locked remote store.
*.tfstate
*.tfstate.*
*.tfplan
.terraform/
crash.log
crash.*.log
override.tf
*_override.tf
*.auto.tfvars
*.auto.tfvars.json
"""


@dataclass(frozen=True, slots=True)
class TerraformModule:
    """The module of a sale in a folder: what was written, or would be."""

    schema: ClassVar[str] = "saleops/render-terraform/v1"

    sale: str
    region: str
    zones: tuple[str, ...]
    parts: tuple[str, ...]
    folder: str
    written: bool
    files: tuple[RenderedFile, ...]

    @property
    def changes(self) -> list[RenderedFile]:
        return [one for one in self.files if one.state != "same"]


@dataclass(frozen=True)
class RenderPlan:
    """``module`` is the result as it would be."""

    module: TerraformModule
    folder: FolderPlan


def module_texts(
    sale: "Sale", profile: "Profile", *, parts: Sequence[str] = PARTS
) -> dict[str, str]:
    """Every file of the module by its name. Raises ConfigError for what the sale and its profile do not agree on."""
    plan = blueprint(sale, profile, password=_no_password)
    values = terraform_values(plan, sale=sale.name, parts=tuple(parts))
    texts = {f"{name}.tf": read_template(f"terraform/sale/{name}.tf") for name in MODULE}
    texts[VALUES] = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    texts[".gitignore"] = _GITIGNORE
    return texts


def _no_password() -> str:
    raise AssertionError("rendering makes no call, so nothing asks for the password")


def plan_render(
    sale: "Sale",
    profile: "Profile",
    folder: Path,
    *,
    parts: Sequence[str] = PARTS,
    force: bool = False,
) -> RenderPlan:
    """What writing the module into ``folder`` would do. Only reads.

    Raises ConfigError for wrong files; Refused, without ``force``, where files that we would write were edited or are others'.
    """
    texts = module_texts(sale, profile, parts=parts)
    files = plan_folder(folder, texts, force=force)
    values = json.loads(texts[VALUES])
    module = TerraformModule(
        sale.name,
        values["region"],
        tuple(values["node_vswitches"]),
        tuple(parts),
        str(folder),
        False,
        files.files,
    )
    return RenderPlan(module, files)


def apply_render(plan: RenderPlan) -> TerraformModule:
    """Write what ``plan`` says. Raises ConfigError where the folder cannot be written."""
    return replace(plan.module, written=write_folder(plan.folder))
