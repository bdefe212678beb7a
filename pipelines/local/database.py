"""The tables of the local MLflow store, made whole or not at all.

Two training tasks that start at the same time would both create them, and a run killed in between would leave half a
schema; so they are made once, aside, before the first task.
"""

from __future__ import annotations

from pathlib import Path

PREFIX = "sqlite:///"


def file_of(tracking_uri: str) -> Path | None:
    """Return the file of a local store, None for a tracking server or another database."""
    return Path(tracking_uri.removeprefix(PREFIX)) if tracking_uri.startswith(PREFIX) else None


def create(path: Path, artifacts: str) -> None:
    """Create the tables unless the file is there.

    Args:
        artifacts: Address below which the default experiment keeps its artifacts.
    """
    if path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    store = SqlAlchemyStore(f"{PREFIX}{partial}", artifacts)
    store.engine.dispose()
    partial.replace(path)


SOURCE = """
def create(path: str, artifacts: str):
    from pathlib import Path
    from pipelines.local.database import create as run

    run(Path(path), artifacts)
"""
"""`create` in the form in which the fork server runs steps, so that MLflow is loaded once per run."""
