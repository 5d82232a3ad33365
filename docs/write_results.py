"""Write the parts of results.md that come from the files in data/: ``python docs/write_results.py``."""

from pathlib import Path

from kinephoto.measure.results_page import filled

if __name__ == "__main__":
    docs = Path(__file__).parent
    page = docs / "results.md"
    page.write_text(filled(page.read_text(encoding="utf-8"), docs), encoding="utf-8")
