"""The Dockerfile: two stages, nobody's root, no secret; and what it runs works here, as far as no Docker is needed."""

import os
import re
import subprocess
import sys

import pytest

from k8s_golden import ROOT, golden_texts

FILE = "image/Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) in order; continued lines joined, comments dropped."""
    text = re.sub(r"\\\n\s*", " ", golden_texts()[FILE])
    found = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            found.append((word, rest))
    return found


def test_it_has_two_stages_and_ends_as_nobody() -> None:
    steps = instructions()
    stages = [rest for word, rest in steps if word == "FROM"]
    last = [word for word, _ in steps].index("USER")

    assert stages == ["${PYTHON} AS build", "${PYTHON} AS service"]
    assert steps[last] == ("USER", "10001:10001")
    assert all(word not in ("RUN", "COPY", "ADD", "USER") for word, _ in steps[last + 1 :])
    assert {word for word, _ in steps} <= {
        *("ARG", "FROM", "WORKDIR", "ENV", "RUN", "COPY", "LABEL", "USER", "EXPOSE"),
        *("STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
    }


def test_the_final_stage_holds_no_sources_and_no_secrets() -> None:
    steps = instructions()
    final = steps[[rest for _, rest in steps].index("${PYTHON} AS service") :]
    text = golden_texts()[FILE].lower()

    assert [rest for word, rest in final if word == "COPY"] == [
        "--from=build /opt/saleops /opt/saleops"
    ]
    assert all(word not in text for word in ("password", "secret=", "token", "access_key"))
    assert ("STOPSIGNAL", "SIGTERM") in final
    assert any(word == "HEALTHCHECK" and "/livez" in rest for word, rest in final)


def test_everything_it_copies_is_there_and_not_ignored() -> None:
    ignored = golden_texts()["image/Dockerfile.dockerignore"].splitlines()
    copied = [
        name
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for name in rest.split()[:-1]
    ]

    assert {"src", "services", "lua", "templates", "pyproject.toml"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored
    assert "*" in ignored
    assert not any(line.startswith("!.") for line in ignored)


def test_it_builds_from_what_the_wheel_is_tested_with() -> None:
    """test_wheel.py builds, installs and runs a wheel from these alone."""
    text = (ROOT / "tests" / "integration" / "test_wheel.py").read_text(encoding="utf-8")
    listed = re.search(r"^BUILT_FROM = (\(.*?\))", text, flags=re.M | re.S)
    copied = {
        name
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for name in rest.split()[:-1]
    }

    assert listed is not None
    assert set(eval(listed[1])) == copied


def test_what_the_package_needs_to_be_built_is_copied() -> None:
    """The top-level folders are reached through symlinks in src/saleops."""
    links = {one.name for one in (ROOT / "src" / "saleops").iterdir() if one.is_symlink()}
    text = golden_texts()[FILE]

    assert links == {"services", "lua", "templates"}
    assert all(f"COPY {name} {name}" in text for name in links)


def test_the_entrypoint_is_the_worker_and_takes_what_pods_give_it() -> None:
    steps = dict(instructions())
    entry = eval(steps["ENTRYPOINT"])
    done = subprocess.run(
        [sys.executable, *entry[1:], "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert entry == ["python", "-m", "saleops.services.worker"]
    assert done.returncode == 0
    for flag in ("--name", "--host", "--port", "--admin-host", "--admin-port", "--drain-delay"):
        assert flag in done.stdout
        assert f"- {flag}=" in golden_texts()["services/order.yaml"]


@pytest.mark.timeout(60)
def test_the_command_starts_and_without_settings_says_what_is_missing() -> None:
    steps = dict(instructions())
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("SALEOPS_")
    }
    done = subprocess.run(
        [sys.executable, "-m", "saleops.services.worker", *eval(steps["CMD"])],
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert done.returncode == 2
    assert "SALEOPS_SERVICE_SETTINGS is not set" in done.stderr
