import ast
from pathlib import Path

import app.simulator


def test_the_simulator_imports_nothing_else_of_the_app() -> None:
    room = Path(app.simulator.__file__).parent

    imported = {
        module
        for path in room.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [n.name for n in node.names])
    }

    of_the_app = {module for module in imported if module.split(".")[0] == "app"}
    assert of_the_app
    assert all(module.startswith("app.simulator") for module in of_the_app)
    assert not imported & {"pywebpush", "py_vapid"}
