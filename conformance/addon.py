"""Which addons there are, where their scripts lie, and the manual made from them.

Reads the scripts without running them: nothing here imports mitmproxy, so listing the addons takes no second.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.policy import slice_model

# Beside the package in a checkout, inside it in a wheel.
_PLACES = (Path(__file__).parent.parent / "addons", Path(__file__).parent / "addons")


# Tables that an addon shares with rules, or with another addon; of all others the name is the addon's own.
_TABLES = {
    "allow-response-headers": ("response_headers", "routing"),
    "inject-auth": ("auth", "inject_auth"),
    "inject-session": ("inject_session", "session", "shared"),
    "lint-flows": ("lint",),
    "normalize-betas": ("betas",),
    "pin-affinity": ("pin_affinity", "session", "shared"),
    "record-octets": ("record_octets", "record_flows"),
    "strip-hop-headers": ("strip_hop_headers", "routing"),
}


@dataclass(frozen=True, slots=True)
class Addon:
    """One script in ``addons/``."""

    name: str
    """Its file's name in kebab case: what ``fix=`` of a rule and ``hoplint addons`` call it."""
    path: Path
    doc: str
    """The script's docstring: its manual."""

    @property
    def summary(self) -> str:
        """What it does, in one sentence."""
        return self.doc.partition("\n")[0]

    @property
    def slices(self) -> tuple[str, ...]:
        """The attributes of ``Policy`` with its settings; what its options of mitmproxy begin with."""
        return _TABLES.get(self.name, (self.name.replace("-", "_"),))


def addons() -> dict[str, Addon]:
    """Every script by name, sorted. Raises FileNotFoundError where the installation has no scripts."""
    folder = next((place for place in _PLACES if (place / "suite.py").is_file()), None)
    if folder is None:
        raise FileNotFoundError(
            f"there is no folder with the addons: neither {' nor '.join(map(str, _PLACES))}"
        )
    found = {}
    for path in sorted(folder.glob("*.py")):
        name = path.stem.replace("_", "-")
        found[name] = Addon(name, path, ast.get_docstring(ast.parse(path.read_bytes())) or "")
    return found


def option_text(value: Any) -> list[str]:
    """A setting as ``--set`` takes it: a string per member of a list, ``key=value`` per member of a table."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        pairs = ((key, item if isinstance(item, (tuple, list)) else (item,)) for key, item in value.items())
        return [f"{key}={item}" for key, items in pairs for item in items]
    if isinstance(value, (tuple, list, frozenset)):
        return [str(item) for item in value]
    return [str(value).lower() if isinstance(value, bool) else str(value)]


_README = """\
# Addons

Generated from the scripts' docstrings and `conformance/policy.py`; do not edit.

Each file is a mitmproxy script that runs by itself: `mitmdump -s "$(hoplint addons NAME)"`. `hoplint proxy`
and `suite.py` run them all, in their order. Settings come from `[policy.NAME]` in `hoplint.toml` and its
profile; `--set OPTION=VALUE` overrides them, given once for each member of a list. Every script also takes
`--set hoplint_profile=NAME` and `--set hoplint_config=FILE`. Settings that cannot be used stop the start.

Every change is written into the flow's metadata: `hoplint` lists the edits, `hoplint_received` holds the
field lines as they came in. Flows loaded from a file are not touched.
"""


def readme() -> str:
    """``addons/README.md``: a section per script, from its docstring and the descriptions of its settings."""
    known = addons().values()
    lines = [_README, "| addon | |", "|---|---|"]
    lines += [f"| [{found.name}](#{found.name}) | {found.summary} |" for found in known]
    for found in known:
        rest = found.doc.partition("\n")[2].strip()
        lines += ["", f"## {found.name}", "", found.summary, *(["", rest] if rest else []), *_options(found)]
    return "\n".join(lines) + "\n"


def _options(found: Addon) -> list[str]:
    lines = []
    for part in found.slices:
        table = slice_model(part)
        if table is None:
            continue
        lines += ["", f"| `[policy.{part.replace('_', '-')}]` | `--set` | default | |", "|---|---|---|---|"]
        for name, setting in table.model_fields.items():
            default = ", ".join(f"`{text}`" for text in option_text(setting.default)) or "none"
            cells = (f"`{setting.alias or name}`", f"`{part}_{name}`", default, setting.description or "")
            lines.append(f"| {' | '.join(cells)} |")
    return lines
