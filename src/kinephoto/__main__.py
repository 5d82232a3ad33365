"""``python -m kinephoto`` is ``kinephoto``."""

from kinephoto.app.cli import main

if __name__ == "__main__":
    main()
