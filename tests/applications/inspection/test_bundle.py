"""The built page: it is what its sources make, it is shipped, and it needs no address but its own."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from provnet.applications.inspection.html import PAGE, policy

SOURCES = Path(__file__).resolve().parents[3] / "studio"


def test_the_bundle_is_made_of_these_sources():
    """The first line of the bundle names the hash of its sources, so a stale one is seen without node."""
    if not SOURCES.is_dir():
        pytest.skip("the page's sources are not here: this is no checkout")
    files = ["build.mjs", "package-lock.json", *(f"src/{path.name}" for path in (SOURCES / "src").iterdir())]
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + (SOURCES / name).read_bytes() + b"\0")
    first = (PAGE / "studio.js").read_text("utf-8").splitlines()[0]
    assert digest.hexdigest() in first, "build it anew: cd studio && npm ci && node build.mjs"


def test_building_again_gives_the_same_bytes(tmp_path: Path):
    if shutil.which("node") is None or not (SOURCES / "node_modules").is_dir():
        pytest.skip("node, or what npm installs, is not here: cd studio && npm ci")
    subprocess.run(["node", "build.mjs", str(tmp_path)], cwd=SOURCES, check=True, capture_output=True)
    for name in ("studio.js", "studio.css", "NOTICE"):
        assert (tmp_path / name).read_bytes() == (PAGE / name).read_bytes(), name


def test_the_sources_pass_the_type_checker():
    if shutil.which("node") is None or not (SOURCES / "node_modules").is_dir():
        pytest.skip("node, or what npm installs, is not here: cd studio && npm ci")
    run = subprocess.run(["npm", "run", "check"], cwd=SOURCES, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_packages_are_pinned_and_named_with_their_licences():
    if not SOURCES.is_dir():
        pytest.skip("the page's sources are not here: this is no checkout")
    text = (SOURCES / "package-lock.json").read_text("utf-8")
    assert '"resolved"' not in text, "the lock file names where packages were fetched: see studio/.npmrc"
    notice = (PAGE / "NOTICE").read_text("utf-8")
    for path, package in json.loads(text)["packages"].items():
        if path and not package.get("dev"):
            assert f"{path.split('node_modules/')[-1]} {package['version']} ({package['license']})" in notice
    wanted = json.loads((SOURCES / "package.json").read_text("utf-8"))
    for versions in (wanted["dependencies"], wanted["devDependencies"]):
        assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions.values())


def test_the_page_names_no_address_elsewhere():
    """Namespaces of SVG and XHTML are names, which nothing fetches."""
    text = (PAGE / "studio.js").read_text("utf-8") + (PAGE / "studio.css").read_text("utf-8")
    names = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml", "http://www.w3.org/1999/xlink"}
    names |= {
        "http://www.w3.org/XML/1998/namespace",
        "http://www.w3.org/2000/xmlns/",
        "http://www.w3.org/1998/Math/MathML",
    }
    assert set(re.findall(r"https?://[\w./-]+", text)) <= names
    assert "default-src 'none'" in policy("'none'")
    assert "unsafe-eval" not in policy("'self'")
    assert not re.search(r"</script|<!--", text)
