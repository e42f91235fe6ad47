"""``saleops render terraform``: a sale's network and engines as a Terraform module of its own.

The module is a folder: our templates as they are, terraform.tfvars.json with this sale's values, .gitignore, and a manifest
with the hash of each file as it was written. The manifest is how a second run tells a file that somebody edited, which stays as
it is unless told otherwise, from one that only became old. Files are replaced one by one, each whole or not at all; the
manifest is written first with the hashes of both, so that a run that was killed half-way leaves nothing that looks edited.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from saleops.errors import ConfigError, Refused
from saleops.operations.provision.blueprint import blueprint
from saleops.operations.terraform_values import PARTS, terraform_values
from saleops.resources import read_template

if TYPE_CHECKING:
    from saleops.config.profile import Profile
    from saleops.config.sale import Sale

MODULE = ("versions", "variables", "network", "database", "cache", "queue", "outputs")
VALUES = "terraform.tfvars.json"
MANIFEST = ".saleops-render.json"
_MANIFEST_SCHEMA = "saleops/rendered-files/v1"
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

State = Literal["new", "changed", "same", "edited", "gone"]


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """``state`` is how the file was before: not there, an older one of ours, the same, edited by somebody, or no longer part."""

    name: str
    state: State
    sha256: str


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
    """``texts`` are the files as they shall be."""

    module: TerraformModule
    texts: Mapping[str, str] = field(repr=False)
    known: Mapping[str, tuple[str, ...]] = field(repr=False)


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
    known = _manifest(folder)
    files = []
    for name, text in texts.items():
        there = _hash_of(folder / name)
        wanted = _hash(text)
        if there is None:
            state: State = "new"
        elif there == wanted:
            state = "same"
        else:
            state = "changed" if there in known.get(name, ()) else "edited"
        files.append(RenderedFile(name, state, wanted))
    for name in sorted(known.keys() - texts.keys()):
        there = _hash_of(folder / name)
        if there is not None:
            ours = there in known[name]
            files.append(RenderedFile(name, "gone" if ours else "edited", ""))
    values = json.loads(texts[VALUES])
    module = TerraformModule(
        sale.name,
        values["region"],
        tuple(values["node_vswitches"]),
        tuple(parts),
        str(folder),
        False,
        tuple(files),
    )
    edited = [one.name for one in files if one.state == "edited"]
    if edited and not force:
        raise Refused(
            f"{', '.join(edited)} in {folder} {'were' if len(edited) > 1 else 'was'} edited, or written by somebody else; "
            "nothing was written",
            hint="Add --force to overwrite, or name another folder with --to.",
        )
    return RenderPlan(module, texts, known)


def apply_render(plan: RenderPlan) -> TerraformModule:
    """Write what ``plan`` says. Raises ConfigError where the folder cannot be written."""
    module, folder = plan.module, Path(plan.module.folder)
    if not module.changes and _manifest(folder) == _hashes(plan.texts):
        return module
    try:
        folder.mkdir(parents=True, exist_ok=True)
        both = {
            name: tuple(dict.fromkeys((*plan.known.get(name, ()), _hash(text))))
            for name, text in plan.texts.items()
        }
        _replace(folder / MANIFEST, _manifest_text({**plan.known, **both}))
        for one in module.changes:
            path = folder / one.name
            if one.name in plan.texts:
                _replace(path, plan.texts[one.name])
            elif one.state == "gone":
                path.unlink(missing_ok=True)
        _replace(folder / MANIFEST, _manifest_text(_hashes(plan.texts)))
    except OSError as error:
        raise ConfigError(
            f"cannot write {error.filename or folder}: {error.strerror or error}",
            hint="Name a folder you may write with --to. Files that were written are whole; run it again.",
        ) from error
    return TerraformModule(
        module.sale,
        module.region,
        module.zones,
        module.parts,
        module.folder,
        True,
        module.files,
    )


# -- the manifest ------------------------------------------------------------------------------------------------------


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _hashes(texts: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {name: (_hash(text),) for name, text in texts.items()}


def _hash_of(path: Path) -> str | None:
    """The hash of the file ``path``, None where there is none. Raises ConfigError."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror or error}; nothing was written",
            hint="Name another folder with --to.",
        ) from error


def _manifest(folder: Path) -> dict[str, tuple[str, ...]]:
    """The hashes of what we wrote into ``folder``; nothing where we wrote nothing, or where that cannot be told."""
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if document["schema"] != _MANIFEST_SCHEMA:
            return {}
        # Names go into paths that may be unlinked: only plain ones count.
        return {
            name: tuple(map(str, hashes))
            for name, hashes in document["files"].items()
            if name == Path(name).name
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # then every file that differs counts as edited, which is the safe side


def _manifest_text(hashes: Mapping[str, Sequence[str]]) -> str:
    files = {name: list(hashes[name]) for name in sorted(hashes)}
    return json.dumps({"schema": _MANIFEST_SCHEMA, "files": files}, indent=2) + "\n"


def _replace(path: Path, text: str) -> None:
    """Write ``path`` whole or not at all. Its permissions stay."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
