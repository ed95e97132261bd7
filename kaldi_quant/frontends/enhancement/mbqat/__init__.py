"""MBQAT's folders and programs: settings by its keys, training, tests and their tables, enhanced files."""
