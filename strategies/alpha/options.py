"""Command line options that the programs of this package share."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path

from qmtl_worlds.sdk.client import WorldsClient


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that knows where the server is, as whom to come, and which world and sessions are meant."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--server", required=True, help="address, such as http://127.0.0.1:8000")
    parser.add_argument("--token-file", required=True, type=Path, help="file that holds the token")
    parser.add_argument("--world", required=True, help="world id")
    parser.add_argument("--after", type=date.fromisoformat, help="leave out sessions up to this date")
    parser.add_argument("--until", type=date.fromisoformat, help="last session")
    return parser


def new_client(options: argparse.Namespace, *, timeout_seconds: float) -> WorldsClient:
    """Return the client that the options ask for."""
    token = options.token_file.read_text(encoding="utf-8").strip()
    return WorldsClient(options.server, token, timeout_seconds=timeout_seconds)
