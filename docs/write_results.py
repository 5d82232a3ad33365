"""Write the parts of results.md that come from the files in data/.

python docs/write_results.py                          # after results.md or the tables' form has changed
python docs/write_results.py views-re10k.json=RUN     # RUN/results.json becomes data/views-re10k.json first
"""

import json
import sys
from pathlib import Path

from kinephoto.measure.results_page import filled

DOCS = Path(__file__).parent


def keep(name: str, run: Path) -> None:
    """A run's results as they are committed: without the settings, which hold one machine's paths."""
    found = json.loads((run / "results.json").read_text(encoding="utf-8"))
    found.pop("settings", None)
    (DOCS / "data").mkdir(exist_ok=True)
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    (DOCS / "data" / name).write_text(text.replace('{"pair"', '\n{"pair"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        name, _, run = argument.partition("=")
        keep(name, Path(run))
    page = DOCS / "results.md"
    page.write_text(filled(page.read_text(encoding="utf-8"), DOCS), encoding="utf-8")
