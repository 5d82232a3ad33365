"""The web app: a page for people, the same functions for programs, and one device that both share."""
