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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from kinephoto.errors import InputError
from kinephoto.studio.batch_inputs import Row
from kinephoto.studio.batch_plan import Plan, differences
from kinephoto.studio.batch_storage import Target
from kinephoto.studio.files import can_say_whose, whole

RESULTS, FAILURES, TABLE, SETTINGS = "results.jsonl", "failures.jsonl", "results.parquet", "batch.json"
OWN = (RESULTS, FAILURES, TABLE, SETTINGS)
"""What lies in a folder of outputs beside them; no output may be called so."""

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
        self._base.execute("CREATE TABLE rows (row TEXT)")
        self._base.execute("CREATE TABLE names (name TEXT PRIMARY KEY, path TEXT)")
        self._base.execute("CREATE TABLE results (name TEXT PRIMARY KEY, line TEXT)")
        self._base.execute("CREATE TABLE made (name TEXT PRIMARY KEY, owner TEXT)")

    def add(self, rows: Iterator[Row], ending: str, names: Callable[[Row], list[str]]) -> int:
        """Take the rows; returns how many.

        Args:
            rows: in the order in which they are to be done.
            ending: of their outputs, without a dot.
            names: all that is written for a row.

        Raises:
            InputError: two would write one file, in whatever letters, since some disks don't tell them apart; or one
                would write over a file of the batch itself or of an earlier photo.
        """
        self._base.execute("BEGIN")
        for row in rows:
            path, output = _printable(row.path), _printable(f"{row.output}.{ending}")
            written = [_printable(name) for name in names(row)]
            # Outputs are told apart by this name even where others are written, as for two eyes.
            mine = {name.casefold(): name for name in (str(PurePosixPath(output)), *written)}
            for key, name in mine.items():
                self._claim(key, name, path, output)
            taken = {"path": path, "output": output, "settings": row.settings, "names": written}
            if (path, output) != (row.path, f"{row.output}.{ending}"):
                taken["error"] = f"The name {path} is not UTF-8; give the file another one."
            self._base.execute("INSERT INTO rows VALUES (?)", (json.dumps(taken),))
        self._base.execute("COMMIT")
        return int(self._base.execute("SELECT count(*) FROM rows").fetchone()[0])

    def _claim(self, key: str, name: str, path: str, output: str) -> None:
        """Keep a file's name for one photo; refused if it has been given away."""
        advice = "in the column output of a manifest."
        if key in OWN:
            raise InputError(
                f"{path} would become {name}, which tells of the batch; give it another name {advice}"
            )
        owner = self.owner(name)
        if owner not in (None, "", _owner_of(output)):
            raise InputError(
                f"{path} would become {name}, which an earlier run made of another photo, {owner}; give it another "
                f"name {advice}"
            )
        other = self._base.execute("SELECT path FROM names WHERE name = ?", (key,)).fetchone()
        if other:
            raise InputError(
                f"{other[0]} and {path} would both become {name}; give each its own name {advice}"
            )
        self._base.execute("INSERT INTO names VALUES (?, ?)", (key, path))

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows; ``before`` is the result of an earlier run, or None, ``names`` is what is to be written."""
        for (text,) in self._base.execute("SELECT row FROM rows ORDER BY rowid"):
            row = json.loads(text)
            yield row | {"before": self.result(row["output"])}

    def keep(self, result: Mapping[str, Any]) -> None:
        """Take a result in place of an older one of the same output."""
        line = _printable(json.dumps(result, ensure_ascii=False))
        self._base.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (result["output"], line))
        self.own(result, _owner_of(result["output"]))

    def own(self, result: Mapping[str, Any], owner: str = "") -> None:
        """Remember that a batch made a result's files; only rows of that output, without its ending, may have them.

        "" lets any row.
        """
        names = ((name, owner) for name in result.get("outputs", ()))
        self._base.executemany("INSERT OR REPLACE INTO made VALUES (?, ?)", names)

    def owner(self, name: str) -> str | None:
        """Whose file it is, as ``own`` was told; None if no batch is known to have made it."""
        found = self._base.execute("SELECT owner FROM made WHERE name = ?", (name,)).fetchone()
        return found[0] if found else None

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
        for result in _lines_of(self._local / RESULTS, lenient=anew):
            self.index.own(result) if anew else self.index.keep(result)
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
            # In JSON a backslash is how to write what UTF-8 can't, such as some name in a sentence.
            self._files[name] = (self._local / name).open(mode, encoding="utf-8", errors="backslashreplace")

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows as workers take them; ``known`` are those of a row's files that are the batch's to replace."""
        for row in self.index.rows():
            yield row | {"known": [name for name in row.pop("names") if self._is_known(name)]}

    def _is_known(self, name: str) -> bool:
        """Whether an earlier run made it.

        A file that can't say so itself may have appeared just before a kill; in a folder that no batch had before,
        it is somebody else's.
        """
        if self.index.owner(name) is not None:
            return True
        could_be = self._kept is not None or self._target.folder is None
        return not can_say_whose(name) and (could_be or not self._target.exists(name))

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


def _owner_of(output: str) -> str:
    return output.rpartition(".")[0]


def _printable(name: str) -> str:
    """The name, with what is not UTF-8 in it written out."""
    return name.encode("utf-8", "backslashreplace").decode()


def _lines_of(file: Path, lenient: bool = False) -> Iterator[dict[str, Any]]:
    """The results in a file; ``lenient`` leaves out what is none."""
    if not file.exists():
        return
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                result = json.loads(line)
            except (ValueError, RecursionError):
                if lenient:
                    continue
                raise InputError(f"{file}, line {number} is not JSON; --no-resume begins anew.") from None
            if isinstance(result, dict) or not lenient:
                yield result
