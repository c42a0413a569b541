"""The direction of imports: what design rule 1 says, read from the source and enforced.

A new module finds its place by the table below; one without a place fails, and the message says what to do.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

PROJECT_ROOT = Path(__file__).parents[2]
MAX_LINES = 300

ROOMS = (
    *("subscriptions", "notifications", "users", "receipts", "analytics", "health", "demo"),
    *("dashboard", "experiments", "importers"),
)
# The floors of the house, from the cellar up. A module imports from its own floor or below, never from above.
# The first pattern that matches a module's name decides.
FLOORS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("router", ("app.*.router", "app.*.*_router")),
    ("push", ("app.push", "app.push.*")),
    ("simulator", ("app.simulator", "app.simulator.*")),
    ("ground", ("app", "app.errors", "app.ids", "app.development_secrets", "app.redis_connection", "app.web.text")),
    ("settings", ("app.settings", "app.setting_types")),
    ("observability", ("app.observability", "app.observability.*")),
    ("db", ("app.db", "app.db.*")),
    ("models", ("app.models", "app.models.*")),
    ("shelf", ("app.keyring*", "app.tenants*", "app.templates*")),
    ("delivery", ("app.delivery", "app.delivery.*")),
    ("repository", ("app.*.repository", "app.*.queries")),
    ("web", ("app.web", "app.web.*")),
    ("top", ("app.main", "app.runtime", "app.cli*", "app.workers*", "app.demo.showcase")),
    ("service", ("app.*.service",)),
    # Whatever else a room is made of: schemas, rules, checks. Its own room may use it on any floor; seen from
    # another room it stands beside the service.
    ("interior", tuple(f"app.{room}{rest}" for room in ROOMS for rest in ("", ".*"))),
)
HEIGHTS = {
    **{"push": 0, "simulator": 0, "ground": 0},
    **{"settings": 1, "observability": 2, "db": 3, "models": 4, "shelf": 5},
    **{"delivery": 6, "repository": 6, "service": 7, "interior": 7, "web": 8, "router": 9, "top": 10},
}
SELF_CONTAINED = ("push", "simulator")
MAY_IMPORT_THE_SIMULATOR = ("app.cli*", "app.demo.showcase")
# "It knows no database, no settings, no FastAPI."
NOT_IN_PUSH = {"fastapi", "starlette", "sqlalchemy", "pydantic_settings", "redis", "psycopg2"}
HTTP = {"fastapi", "starlette"}
BELOW_HTTP = ("app.*.service", "app.*.repository", "app.*.queries", "app.delivery*", "app.models*", "app.db*")
DIRECTION = (
    "Imports point down: main, cli, workers -> router -> web -> service -> (delivery | repository) -> models -> "
    "db. Move the code to where both may reach it."
)


@dataclass(frozen=True)
class Import:
    importer: str
    imported: str  # one of our modules, or the first part of another's name
    path: Path
    line: int
    is_inside_a_function: bool

    @property
    def place(self) -> str:
        return f"{self.path.relative_to(PROJECT_ROOT)}:{self.line}"


def floor_of(module: str) -> str | None:
    return next((floor for floor, patterns in FLOORS if any(fnmatch(module, each) for each in patterns)), None)


@lru_cache(maxsize=1)
def modules() -> dict[str, Path]:
    """Return the file of every module of ours but the SDK's, which run elsewhere."""
    return {
        ".".join(path.relative_to(PROJECT_ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((PROJECT_ROOT / "app").rglob("*.py"))
        if "sdk" not in path.parts
    }


@lru_cache(maxsize=1)
def imports() -> tuple[Import, ...]:
    return tuple(each for module, path in modules().items() for each in _imports_of(module, path))


def _imports_of(module: str, path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: import by the full name, not relatively"
            source = node.module or ""
            names = [
                f"{source}.{alias.name}" if f"{source}.{alias.name}" in modules() else source
                for alias in node.names
            ]
        for name in dict.fromkeys(names):
            yield Import(module, name, path, getattr(node, "lineno", 0), id(node) in inside)


def _ours() -> Iterator[Import]:
    return (each for each in imports() if each.imported == "app" or each.imported.startswith("app."))


def _room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _report(faults: list[str], rule: str) -> str:
    return "\n".join(["", *faults, "", rule])


def test_every_module_has_a_floor() -> None:
    faults = [f"{path.relative_to(PROJECT_ROOT)}" for module, path in modules().items() if floor_of(module) is None]

    assert not faults, _report(faults, "Say in FLOORS (tests/unit/test_imports.py) where this module stands.")


def test_imports_point_down() -> None:
    faults = [
        f"{each.place}: {importer} imports {imported}: {each.importer} -> {each.imported}"
        for each in _ours()
        if (importer := floor_of(each.importer)) and (imported := floor_of(each.imported))
        if HEIGHTS[imported] > HEIGHTS[importer]
        if not (imported == "interior" and _room(each.importer) == _room(each.imported))
    ]

    assert not faults, _report(faults, DIRECTION)


def test_services_never_import_web() -> None:
    faults = [
        f"{each.place}: {each.importer} -> {each.imported}"
        for each in _ours()
        if floor_of(each.importer) in {"service", "interior", "delivery", "repository", "models", "shelf"}
        and floor_of(each.imported) in {"web", "router"}
    ]

    assert not faults, _report(faults, "What a service needs of the request, its router hands in as an argument.")


def test_delivery_and_the_repositories_know_nothing_of_each_other() -> None:
    faults = [
        f"{each.place}: {each.importer} -> {each.imported}"
        for each in _ours()
        if {floor_of(each.importer), floor_of(each.imported)} == {"delivery", "repository"}
    ]

    assert not faults, _report(faults, "Both stand on the models; a service puts them together.")


def test_push_and_the_simulator_import_only_themselves() -> None:
    faults = [
        f"{each.place}: {each.importer} -> {each.imported}"
        for each in _ours()
        if (floor := floor_of(each.importer)) in SELF_CONTAINED and floor_of(each.imported) != floor
    ]

    assert not faults, _report(
        faults, "app/push and app/simulator stand alone: hand in what they need as arguments."
    )


def test_push_knows_no_database_no_settings_and_no_framework() -> None:
    faults = [
        f"{each.place}: {each.importer} -> {each.imported}"
        for each in imports()
        if floor_of(each.importer) == "push" and each.imported.partition(".")[0] in NOT_IN_PUSH
    ]

    assert not faults, _report(faults, "app/push could be another project's library. Keep it so.")


def test_what_lies_below_web_knows_no_http_framework() -> None:
    faults = [
        f"{each.place}: {each.importer} -> {each.imported}"
        for each in imports()
        if any(fnmatch(each.importer, pattern) for pattern in BELOW_HTTP)
        and each.imported.partition(".")[0] in HTTP
    ]

    assert not faults, _report(faults, "Requests and answers are the router's; errors are those of app/errors.py.")


def test_only_the_command_line_imports_the_simulator() -> None:
    faults = [
        f"{each.place}: {each.importer} -> {each.imported}"
        for each in _ours()
        if floor_of(each.imported) == "simulator" and floor_of(each.importer) != "simulator"
        if not any(fnmatch(each.importer, pattern) for pattern in MAY_IMPORT_THE_SIMULATOR)
    ]

    assert not faults, _report(faults, "The service must not need its own test double.")


def test_the_app_never_imports_the_sdk() -> None:
    faults = [f"{each.place}: {each.importer} -> {each.imported}" for each in _ours() if ".sdk" in each.imported]

    assert not faults, _report(faults, "app/sdk runs in other programs: in Django, in browsers.")


def test_the_sdk_never_imports_the_app() -> None:
    faults = [
        f"{each.place} -> {each.imported}"
        for path in sorted((PROJECT_ROOT / "app" / "sdk").rglob("*.py"))
        for each in _imports_of("app.sdk", path)
        if each.imported.partition(".")[0] == "app"
    ]

    assert not faults, _report(faults, "app/sdk is installed without the service.")


def test_no_import_hides_inside_a_function() -> None:
    faults = [f"{each.place}: {each.imported}" for each in imports() if each.is_inside_a_function]

    assert not faults, _report(faults, "Import at the top. If that makes a circle, the code is in the wrong place.")


def test_no_module_is_imported_by_a_string() -> None:
    faults = [
        f"{path.relative_to(PROJECT_ROOT)}:{node.lineno}"
        for path in modules().values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name | ast.Attribute)
        if (node.id if isinstance(node, ast.Name) else node.attr) in {"import_module", "__import__"}
    ]

    assert not faults, _report(faults, "This test cannot see such an import. Use an import statement.")


def test_there_is_no_circle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in modules()}
    for each in _ours():
        if each.imported in graph and each.imported != each.importer:
            graph[each.importer].add(each.imported)

    circle = _find_circle(graph)

    assert circle is None, _report([" -> ".join(circle or [])], "Move what both need to a module below them.")


def _find_circle(graph: dict[str, set[str]]) -> list[str] | None:
    """Return the modules of one circle, its first repeated at the end; None if there is none."""
    finished: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str] | None:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in finished:
            return None
        for imported in sorted(graph[module]):
            circle = visit(imported, [*path, module])
            if circle:
                return circle
        finished.add(module)
        return None

    return next((circle for module in sorted(graph) if (circle := visit(module, []))), None)


def test_a_circle_is_found_where_there_is_one() -> None:
    assert _find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert _find_circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


def test_no_file_is_too_long_to_read_at_a_sitting() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules().values()}

    faults = [f"{path.relative_to(PROJECT_ROOT)}: {lines}" for path, lines in lengths.items() if lines > MAX_LINES]

    assert not faults, _report(faults, f"At most {MAX_LINES} lines. Split it by what its parts are about.")


def test_the_walk_sees_the_whole_app() -> None:
    loaded = {name for name in sys.modules if name.startswith("app.")} - {"app.sdk"}

    assert loaded <= set(modules())
    assert len(imports()) > 100
