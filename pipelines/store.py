"""Store: what ran, from what and to what, in one SQLite file."""

import dataclasses
import json
import pathlib
import sqlite3
import time
from collections.abc import Mapping
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, pipeline TEXT NOT NULL, state TEXT NOT NULL,
    started REAL NOT NULL, finished REAL, reason TEXT
);
CREATE TABLE IF NOT EXISTS executions (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs,
    component TEXT NOT NULL, key TEXT NOT NULL, parameters TEXT NOT NULL,
    state TEXT NOT NULL, started REAL NOT NULL, finished REAL, reason TEXT
);
CREATE INDEX IF NOT EXISTS executions_by_key ON executions (component, key);
CREATE TABLE IF NOT EXISTS artifacts (
    id INTEGER PRIMARY KEY, execution INTEGER NOT NULL REFERENCES executions,
    output TEXT NOT NULL, type TEXT NOT NULL, path TEXT NOT NULL,
    fingerprint TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS inputs (
    execution INTEGER NOT NULL REFERENCES executions, name TEXT NOT NULL,
    artifact INTEGER NOT NULL REFERENCES artifacts
);
CREATE TABLE IF NOT EXISTS steps (
    run INTEGER NOT NULL REFERENCES runs,
    execution INTEGER NOT NULL REFERENCES executions, cached INTEGER NOT NULL
);
"""


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A folder that an execution filled.

    Attributes:
        id: number of the artifact.
        output: name of the output.
        type: type of the artifact.
        path: its folder.
        fingerprint: fingerprint of its content.
    """

    id: int
    output: str
    type: str
    path: pathlib.Path
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Execution:
    """A component that ran.

    Attributes:
        id: number of the execution.
        run: number of the run that it was part of.
        component: name of the component.
        state: `"running"`, `"complete"`, `"failed"` or `"interrupted"`.
        started: seconds since 1970.
        finished: seconds since 1970; None if it did not finish.
        reason: why the pipeline must stop after it; None if it may go on.
        outputs: dict of artifacts by output.
    """

    id: int
    run: int
    component: str
    state: str
    started: float
    finished: float | None
    reason: str | None
    outputs: Mapping[str, Artifact]


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of a pipeline.

    Attributes:
        id: number of the run.
        pipeline: name of the pipeline.
        state: `"running"`, `"complete"`, `"stopped"`, `"failed"` or `"interrupted"`.
        started: seconds since 1970.
        finished: seconds since 1970; None if it did not finish.
        reason: why it did not complete.
    """

    id: int
    pipeline: str
    state: str
    started: float
    finished: float | None
    reason: str | None


class Store:
    """The records of all runs below one folder.

    Paths are stored relative to the folder, which may be moved. Each change is one
    transaction, so a process that is killed leaves nothing half-written.

    Args:
        root: folder of the runs, made if need be. The file is `root/store.sqlite`.
    """

    def __init__(self, root: pathlib.Path):
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._db = sqlite3.connect(root / "store.sqlite")
        self._db.row_factory = sqlite3.Row
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    # -- writing -----------------------------------------------------------------

    def begin_run(self, pipeline: str) -> int:
        """Records a run, and gives its number."""
        return self._insert("runs", pipeline=pipeline, state="running")

    def finish_run(self, run: int, state: str, reason: str | None = None) -> None:
        """Records how a run ended."""
        with self._db:
            self._finish("runs", run, state, reason)

    def begin_execution(
        self,
        run: int,
        component: str,
        key: str,
        parameters: Mapping[str, Any],
        inputs: Mapping[str, Artifact],
    ) -> int:
        """Records that a component begins, and gives the number of its execution."""
        execution = self._insert(
            "executions",
            run=run,
            component=component,
            key=key,
            parameters=json.dumps(parameters),
            state="running",
        )
        with self._db:
            self._db.executemany(
                "INSERT INTO inputs VALUES (?, ?, ?)",
                [(execution, name, artifact.id) for name, artifact in inputs.items()],
            )
        return execution

    def complete_execution(
        self,
        execution: int,
        outputs: Mapping[str, tuple[str, pathlib.Path, str]],
        reason: str | None,
    ) -> Execution:
        """Records that a component is done, with all that it wrote.

        Args:
            execution: its number.
            outputs: dict by output of artifact type, folder and fingerprint.
            reason: why the pipeline must stop, or None.
        """
        with self._db:
            self._db.executemany(
                "INSERT INTO artifacts (execution, output, type, path, fingerprint) "
                "VALUES (?, ?, ?, ?, ?)",
                [
                    (execution, name, kind, str(path.relative_to(self._root)), content)
                    for name, (kind, path, content) in outputs.items()
                ],
            )
            self._finish("executions", execution, "complete", reason)
        return self._execution(self._one("executions", execution))

    def fail_execution(self, execution: int, state: str, reason: str) -> None:
        """Records that a component did not get done."""
        with self._db:
            self._finish("executions", execution, state, reason)

    def add_step(self, run: int, execution: int, cached: bool) -> None:
        """Records that a run used an execution, its own or an earlier one."""
        with self._db:
            self._db.execute(
                "INSERT INTO steps VALUES (?, ?, ?)", (run, execution, cached)
            )

    def interrupt_unfinished(self) -> list[int]:
        """Closes what a killed process left open.

        Returns:
            Numbers of the executions that were running.
        """
        query = "SELECT id FROM executions WHERE state = 'running'"
        executions = [row["id"] for row in self._db.execute(query)]
        with self._db:
            for table in ("runs", "executions"):
                self._db.execute(
                    f"UPDATE {table} SET state = 'interrupted' WHERE state = 'running'"
                )
        return executions

    # -- reading -----------------------------------------------------------------

    def find_complete(self, component: str, key: str) -> Execution | None:
        """The newest complete execution of a component with this cache key."""
        row = self._db.execute(
            "SELECT * FROM executions WHERE component = ? AND key = ? "
            "AND state = 'complete' ORDER BY id DESC LIMIT 1",
            (component, key),
        ).fetchone()
        return None if row is None else self._execution(row)

    def find_previous(
        self,
        component: str,
        output: str,
        other_than: str,
        approved_by: str,
        read_as: str,
    ) -> list[Artifact]:
        """Artifacts of an output that passed a component, from the newest run on.

        A run counts where it took the verdict from an earlier one too.

        Args:
            component: name of the component that wrote it.
            output: name of the output.
            other_than: fingerprint that it must not have.
            approved_by: name of a component that read it and did not stop.
            read_as: name of the input as which it did.
        """
        rows = self._db.execute(
            "SELECT a.* FROM artifacts a JOIN executions producer "
            "ON a.execution = producer.id JOIN inputs i ON i.artifact = a.id "
            "JOIN executions judge ON i.execution = judge.id "
            "JOIN steps s ON s.execution = judge.id "
            "WHERE producer.component = ? AND a.output = ? AND a.fingerprint != ? "
            "AND judge.component = ? AND i.name = ? AND judge.state = 'complete' "
            "AND judge.reason IS NULL GROUP BY a.id ORDER BY MAX(s.rowid) DESC",
            (component, output, other_than, approved_by, read_as),
        )
        return [self._artifact(row) for row in rows]

    def runs(self) -> list[Run]:
        """All runs, oldest first."""
        return [Run(**row) for row in self._db.execute("SELECT * FROM runs")]

    def steps(self, run: int) -> list[tuple[Execution, bool]]:
        """The executions that a run used, in order, and whether from the cache."""
        query = (
            "SELECT e.*, cached FROM steps JOIN executions e ON execution = e.id "
            "WHERE steps.run = ? ORDER BY steps.rowid"
        )
        rows = self._db.execute(query, (run,))
        return [(self._execution(row), bool(row["cached"])) for row in rows]

    def maker(self, artifact: Artifact) -> Execution:
        """The execution that wrote an artifact."""
        query = "SELECT execution FROM artifacts WHERE id = ?"
        number = self._db.execute(query, (artifact.id,)).fetchone()["execution"]
        return self._execution(self._one("executions", number))

    def inputs(self, execution: int) -> dict[str, Artifact]:
        """The artifacts that an execution read, by input."""
        query = (
            "SELECT a.*, name FROM inputs JOIN artifacts a ON artifact = a.id "
            "WHERE inputs.execution = ?"
        )
        rows = self._db.execute(query, (execution,))
        return {row["name"]: self._artifact(row) for row in rows}

    # -- parts -------------------------------------------------------------------

    def _insert(self, table: str, **values: Any) -> int:
        values["started"] = time.time()
        marks = ", ".join("?" * len(values))
        with self._db:
            cursor = self._db.execute(
                f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})",
                tuple(values.values()),
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _finish(self, table: str, number: int, state: str, reason: str | None) -> None:
        self._db.execute(
            f"UPDATE {table} SET state = ?, reason = ?, finished = ? WHERE id = ?",
            (state, reason, time.time(), number),
        )

    def _one(self, table: str, number: int) -> sqlite3.Row:
        return self._db.execute(
            f"SELECT * FROM {table} WHERE id = ?", (number,)
        ).fetchone()

    def _execution(self, row: sqlite3.Row) -> Execution:
        query = "SELECT * FROM artifacts WHERE execution = ? ORDER BY id"
        artifacts = map(self._artifact, self._db.execute(query, (row["id"],)))
        names = [f.name for f in dataclasses.fields(Execution) if f.name != "outputs"]
        return Execution(
            **{name: row[name] for name in names},
            outputs={artifact.output: artifact for artifact in artifacts},
        )

    def _artifact(self, row: sqlite3.Row) -> Artifact:
        return Artifact(
            row["id"],
            row["output"],
            row["type"],
            self._root / row["path"],
            row["fingerprint"],
        )
