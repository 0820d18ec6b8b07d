"""`cycle` trains a speech recogniser and a synthesiser on each other's outputs."""

__version__ = "0.1.0"
