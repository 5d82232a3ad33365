"""What is to be done and what is done: on disk, so that a million photos need no more memory than ten.

``results.jsonl`` in the folder of outputs gets a line for every finished photo, at once; it is what a later
run goes by. For looking up and for finding two outputs of one name, a small database lies in a temporary
file while the batch runs.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kinephoto.errors import InputError
from kinephoto.studio.batch_inputs import Row
from kinephoto.studio.batch_plan import Plan, differences
from kinephoto.studio.batch_storage import Target
from kinephoto.studio.files import whole

RESULTS, FAILURES, TABLE, SETTINGS = "results.jsonl", "failures.jsonl", "results.parquet", "batch.json"

_TEXTS = (
    *("output", "outputs", "path", "input_sha256", "settings_sha256", "verb"),
    *("depth", "painter", "seconds_by_stage", "versions"),
)
_WHOLE_NUMBERS = ("seed", "width", "height", "bytes")
_NUMBERS = ("hole_share", "invented_mean", "invented_most", "seconds")
COLUMNS = (
    dict.fromkeys(_TEXTS, "string")
    | dict.fromkeys(_WHOLE_NUMBERS, "int64")
    | dict.fromkeys(_NUMBERS, "float64")
)
"""Of results.parquet; lists and objects are JSON in it."""

_ROWS_AT_ONCE = 1000
_UPLOAD_EVERY_S = 30.0


class Index:
    """Rows to be done, in order, and results that there are, by output; a file, made and removed by `Ledger`."""

    def __init__(self, file: Path) -> None:
        self._base = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._base.execute("PRAGMA journal_mode = OFF")
        self._base.execute("PRAGMA synchronous = OFF")
        self._base.execute("CREATE TABLE rows (name TEXT UNIQUE, path TEXT, settings TEXT)")
        self._base.execute("CREATE TABLE results (name TEXT PRIMARY KEY, line TEXT)")

    def add(self, rows: Iterator[Row], ending: str) -> int:
        """Take the rows; returns how many.

        Raises:
            InputError: two have one output, in whatever letters, since some disks don't tell them apart.
        """
        self._base.execute("BEGIN")
        for row in rows:
            try:
                self._base.execute(
                    "INSERT INTO rows VALUES (?, ?, ?)",
                    (row.output.casefold(), row.path, json.dumps([row.output, row.settings])),
                )
            except sqlite3.IntegrityError:
                name = (row.output.casefold(),)
                (other,) = self._base.execute("SELECT path FROM rows WHERE name = ?", name).fetchone()
                raise InputError(
                    f"{other} and {row.path} would both become {row.output}.{ending}; give each its own name "
                    "in the column output of a manifest."
                ) from None
        self._base.execute("COMMIT")
        return int(self._base.execute("SELECT count(*) FROM rows").fetchone()[0])

    def rows(self, ending: str) -> Iterator[dict[str, Any]]:
        """The rows as workers take them; ``before`` is the result of an earlier run, or None."""
        cursor = self._base.execute("SELECT path, settings FROM rows ORDER BY rowid")
        for path, text in cursor:
            name, settings = json.loads(text)
            output = f"{name}.{ending}"
            yield {"path": path, "output": output, "settings": settings, "before": self.result(output)}

    def keep(self, result: Mapping[str, Any]) -> None:
        """Take a result in place of an older one of the same output."""
        line = json.dumps(result, ensure_ascii=False)
        self._base.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (result["output"], line))

    def result(self, output: str) -> dict[str, Any] | None:
        """The result of an output, if there is one."""
        found = self._base.execute("SELECT line FROM results WHERE name = ?", (output,)).fetchone()
        return json.loads(found[0]) if found else None

    def results(self) -> Iterator[str]:
        """The lines of all results, by output."""
        yield from (line for (line,) in self._base.execute("SELECT line FROM results ORDER BY name"))

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()


class Ledger:
    """The files that tell of a batch, and the index behind them.

    Args:
        target: where they are; its older results are read.
        plan: what is to be done.
        anew: whether what is there counts as not done.

    Raises:
        InputError: the folder's outputs were made with other settings, and the plan is not to renew them.
    """

    def __init__(self, target: Target, plan: Plan, anew: bool = False) -> None:
        self._target, self._anew = target, anew
        self._settings = json.loads(json.dumps(plan.said()))
        self._kept = self._settings_kept(plan.renew or anew)
        self._folder = tempfile.TemporaryDirectory(prefix="kinephoto-")
        own = Path(self._folder.name)
        self.index = Index(own / "index")
        self._local = target.folder or own
        target.get(RESULTS, self._local / RESULTS)
        _end_cleanly(self._local / RESULTS)
        for result in () if anew else _lines_of(self._local / RESULTS):
            self.index.keep(result)
        self._files: dict[str, Any] = {}
        self._uploaded_at = time.monotonic()
        self._uploading_s = 0.0

    def begin(self) -> None:
        """Claim the folder, once everything that is asked for can be done: its settings and files are there now."""
        if self._kept != self._settings:
            with tempfile.TemporaryDirectory(prefix="kinephoto-") as folder:
                file = Path(folder) / SETTINGS
                file.write_text(json.dumps(self._settings, indent=2) + "\n", encoding="utf-8")
                self._target.put(file, SETTINGS)
        for name, mode in ((RESULTS, "w" if self._anew else "a"), (FAILURES, "w")):
            self._files[name] = (self._local / name).open(mode, encoding="utf-8")

    def done(self, result: Mapping[str, Any]) -> None:
        """Write down a finished photo: on disk before anything else happens."""
        self.index.keep(result)
        self._write(RESULTS, result)

    def failed(self, failure: Mapping[str, Any]) -> None:
        """Write down a photo that could not be done, and why."""
        self._write(FAILURES, failure)

    def close(self, complete: bool) -> None:
        """End it; when complete, results have one line for each output, and a table beside them."""
        for file in self._files.values():
            file.close()
        if complete:
            with whole(self._local / RESULTS) as part, part.open("w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in self.index.results())
            table = self._local / TABLE
            if write_table(self.index.results(), table) and self._target.folder is None:
                self._target.put(table, TABLE)
        if self._files:
            self._upload()
        else:
            self._target.leave()
        self.index.close()
        self._folder.cleanup()

    def _write(self, name: str, values: Mapping[str, Any]) -> None:
        file = self._files[name]
        file.write(json.dumps(values, ensure_ascii=False) + "\n")
        file.flush()
        # Object stores can't append. Writing all of it again takes at most a twentieth of the time.
        wait_s = max(_UPLOAD_EVERY_S, 20 * self._uploading_s)
        if self._target.folder is None and time.monotonic() - self._uploaded_at > wait_s:
            self._upload()

    def _upload(self) -> None:
        if self._target.folder is not None:
            return
        begin = time.monotonic()
        for name in (RESULTS, FAILURES):
            self._target.put(self._local / name, name)
        self._uploaded_at = time.monotonic()
        self._uploading_s = self._uploaded_at - begin

    def _settings_kept(self, renews: bool) -> Any:
        """What the folder's outputs were made by, None if nothing says so; refused if it is something else."""
        kept = self._target.read(SETTINGS)
        try:
            before = json.loads(kept) if kept else None
        except ValueError:
            if renews:
                return None
            raise InputError(f"{self._target.url}/{SETTINGS} is not JSON; --update writes it anew.") from None
        if before is not None and before != self._settings and not renews:
            found = differences(before, self._settings)
            more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
            raise InputError(
                f"{self._target.url} holds outputs made with other settings ({'; '.join(found[:3])}{more}); --update "
                "makes them anew, or name another folder."
            )
        return before


def write_table(lines: Iterator[str], file: Path) -> bool:
    """Results as a Parquet table, a thousand rows at a time; False where pyarrow isn't installed."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return False
    schema = pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in COLUMNS.items()])
    with whole(file) as part, parquet.ParquetWriter(part, schema) as writer:
        kept: list[dict[str, Any]] = []
        for line in lines:
            kept.append(_flat(json.loads(line)))
            if len(kept) == _ROWS_AT_ONCE:
                writer.write_table(pyarrow.Table.from_pylist(kept, schema=schema))
                kept = []
        writer.write_table(pyarrow.Table.from_pylist(kept, schema=schema))
    return True


def _flat(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the table's columns take: lists and objects as JSON."""
    return {
        name: json.dumps(value) if isinstance(value, (dict, list)) else value
        for name, value in result.items()
        if name in COLUMNS
    }


def _end_cleanly(file: Path) -> None:
    """Cut off a last line that was not written to its end."""
    if not file.exists():
        return
    with file.open("rb+") as lines:
        whole_bytes = 0
        for line in lines:
            if not line.endswith(b"\n"):
                break
            whole_bytes += len(line)
        lines.truncate(whole_bytes)


def _lines_of(file: Path) -> Iterator[dict[str, Any]]:
    if not file.exists():
        return
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except ValueError:
                raise InputError(f"{file}, line {number} is not JSON; --no-resume begins anew.") from None
