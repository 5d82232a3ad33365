"""The folder list is the architecture: imports point one way, rooms are named for what is in them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

MAY_IMPORT = {
    "scene": set(),
    "painter": set(),
    "learn": {"scene", "painter"},
    "studio": {"scene", "painter"},
    "measure": {"scene", "painter", "studio", "learn"},
    "app": {"scene", "painter", "learn", "studio", "measure"},
}
GROUND_FLOOR = {
    "errors",
    "compiled",
    "interrupts",
    "machine",
    "setting",
    "tar_members",
    "whole_file",
    "wording",
}
"""Modules beside the rooms, which every room may use and which import no room."""
USES_PUBLIC_NAMES = {"measure", "app"}
OPTIONAL = {"gradio", "accelerate", "tensorboard", "webdataset", "torchmetrics", "skimage"}
OPTIONAL |= {"matplotlib", "pandas", "trimesh", "c2pa", "ray"}
NEVER = {"torchvision", "xformers", "lpips"}
SAYS_NOTHING = re.compile(r"(^|_)(utils?|common|misc|base|helpers?|stuff|v2|new|old|tmp)($|_)")
THE_TEN = {
    "read_photo",
    "estimate_depth",
    "path",
    "build_world",
    "film",
    "write_video",
    "outpaint",
    "out_animate",
    "save_scene",
    "InputError",
}
NOT_YET: set[str] = set()
ONE_MACHINE = re.compile(r"(?<![\w.:/-])/(?:work|root|tmp|home|Users)/[\w.]")


def modules(repository: Path) -> list[Path]:
    return sorted((repository / "src" / "kinephoto").rglob("*.py"))


def imports_of(module: Path, top_level_only: bool = False) -> set[str]:
    """The dotted names that a module imports, ``kinephoto.scene.values`` for example."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} line {node.lineno}: write the import out, from kinephoto on"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_imports_point_one_way(repository: Path) -> None:
    against = []
    for module in modules(repository):
        room, *rest = module.relative_to(repository / "src" / "kinephoto").parts
        if room in ("__init__.py", "__main__.py"):  # the public names, and the command line's name
            continue
        for name in imports_of(module):
            package, first, *_ = f"{name}.".split(".")
            allowed = MAY_IMPORT[room] | {room, *GROUND_FLOOR} if rest else GROUND_FLOOR
            if (
                package == "kinephoto"
                and first not in allowed
                and not (first == "" and room in USES_PUBLIC_NAMES)
            ):
                against.append(f"{module.name} in {room} imports {name}")
    assert not against


def test_every_room_is_in_the_plan(repository: Path) -> None:
    rooms = {
        folder.name for folder in (repository / "src" / "kinephoto").iterdir() if list(folder.glob("*.py"))
    }
    assert rooms == set(MAY_IMPORT)


def test_optional_packages_are_imported_where_they_are_used(repository: Path) -> None:
    for module in modules(repository):
        tops = {name.split(".")[0] for name in imports_of(module, top_level_only=True)}
        assert not tops & OPTIONAL, f"{module} imports {tops & OPTIONAL} before anybody asked for it"
        assert not {name.split(".")[0] for name in imports_of(module)} & NEVER


def test_modules_are_named_for_what_is_in_them(repository: Path) -> None:
    assert not [module for module in modules(repository) if SAYS_NOTHING.search(module.stem.strip("_"))]


def test_the_public_names_are_the_ten(repository: Path) -> None:
    import kinephoto

    named = set(kinephoto.__all__) - {"__version__"}
    assert named <= THE_TEN
    assert named >= THE_TEN - NOT_YET
    for name in named:
        assert callable(getattr(kinephoto, name))


def test_importing_kinephoto_loads_nothing_heavy() -> None:
    """Help must come at once, so the big packages wait until somebody uses them."""
    heavy = ("torch", "numba", "cv2", "av", "scipy", "transformers", "diffusers", "gradio")
    code = f"import sys, kinephoto; print([name for name in {heavy!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"


def test_the_package_is_typed(repository: Path) -> None:
    assert (repository / "src" / "kinephoto" / "py.typed").is_file()


def test_no_text_names_a_place_on_one_machine(repository: Path) -> None:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout, so nothing says which files belong to the project")
    found = []
    for name in filter(None, listed.split("\0")):
        try:
            text = (repository / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        found += [
            f"{name}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(text.splitlines(), 1)
            if ONE_MACHINE.search(line)
        ]
    assert not found, "\n".join(found)
