"""The words of the command line: which commands there are and what each takes. Does nothing with them."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from conformance.rule import Severity

FAILED = 2
"""Exit code where the job could not be done; words that make no sense are such a case."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(FAILED, f"hoplint: error: {message} (see '{self.prog} --help')\n")


def parser() -> argparse.ArgumentParser:
    """The parser; what it gives has the command's name in ``command``, None if there was none."""
    root = _Parser(
        prog="hoplint",
        description="Keeps the HTTP, SSE and WebSocket traffic between LLM agents and gateways well-formed.",
    )
    root.set_defaults(command=None, baseline=None, write_baseline=False)
    root.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = root.add_subparsers(metavar="COMMAND", parser_class=_Parser)

    def command(name: str, summary: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
        added.set_defaults(command=name)
        return added

    check = command("check", "Lint recordings: mitmproxy flow files, HAR files, transcripts.")
    check.add_argument(
        "paths",
        nargs="*",
        default=["."],
        metavar="PATH",
        help="files, folders, globs, URLs, or - for stdin (default: .)",
    )
    check.add_argument(
        "--jobs",
        type=_jobs,
        metavar="N",
        help="lint so many recordings at once; auto: one for each processor (default: 1)",
    )
    check.add_argument(
        "--parsers",
        action="store_true",
        help="ask real parsers, too: h11, httptools (llhttp), aiohttp's; needs pip install 'hoplint[parsers]'",
    )
    check.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="lint the recordings on a Ray cluster; local: on one of this machine, with --jobs workers",
    )
    _lint_options(check)
    _baseline_options(check)

    compare = command("compare", "Pair the recordings of both sides of a gateway and lint what it did.")
    compare.add_argument("client", metavar="CLIENT", help="recorded between the clients and the gateway")
    compare.add_argument("server", metavar="SERVER", help="recorded between the gateway and its upstream")
    how = compare.add_mutually_exclusive_group()
    how.add_argument("--all", action="store_true", help="lint each recording by itself, too")
    how.add_argument(
        "--what-changed",
        action="store_true",
        help="take them for an older and a newer recording of one run: what is found only in one of them, which "
        "headers agents newly send or no longer do; the verdict is on what is new",
    )
    _lint_options(compare)
    _baseline_options(compare)

    fix = command(
        "fix",
        "Lint a recording, run over it the addons that its findings name, and lint it again. Without -o, "
        "--in-place or --diff nothing is written. The verdict is on what is left.",
    )
    fix.add_argument("path", metavar="PATH", help="a mitmproxy flow file or a transcript")
    where = fix.add_mutually_exclusive_group()
    where.add_argument("-o", "--output", metavar="OUT", help="write the mended recording to a file")
    where.add_argument("--in-place", action="store_true", help="replace the recording")
    where.add_argument("--diff", action="store_true", help="show what would change, secrets as digests")
    fix.add_argument(
        "--only", action="append", default=[], metavar="ADDON", help="run no other addon; repeatable"
    )
    _lint_options(fix)

    rule = command("rule", "Explain a rule; without a name, list them by topic.")
    rule.add_argument("name", nargs="?", metavar="NAME")
    rule.add_argument("--all", action="store_true", help="explain all of them")
    rule.add_argument(
        "--format",
        choices=["text", "markdown", "json", "compatibility"],
        default="text",
        help="compatibility: what real programs make of each defect, as measured, whatever the name",
    )

    show = command(
        "show", "Print recordings as transcripts, secrets masked; turns .flow and .har into .http."
    )
    show.add_argument("paths", nargs="+", metavar="PATH[#N]", help="a recording, or its exchange number N")
    show.add_argument("--secrets", action="store_true", help="do not mask credentials")

    redact = command(
        "redact",
        "Write a recording that can be shared: other letters stand for credentials. Lengths stay, and what is "
        "found in it, too.",
    )
    redact.add_argument("path", metavar="PATH", help="a recording")
    where = redact.add_mutually_exclusive_group(required=True)
    where.add_argument("-o", "--output", metavar="OUT", help="write to a file")
    where.add_argument("--in-place", action="store_true", help="replace the recording")
    redact.add_argument("--text", action="store_true", help="prompts and answers, too: all texts in JSON")
    redact.add_argument("--emails", action="store_true", help="e-mail addresses, too")
    redact.add_argument(
        "--key",
        metavar="env:NAME|file:PATH",
        help="a secret of your own: with the same one, a credential becomes the same in every recording",
    )
    redact.add_argument("-q", "--quiet", action="store_true", help="do not say what was done")

    addons = command("addons", "List the mitmproxy addons; with a name print its path, for mitmdump -s.")
    addons.add_argument("name", nargs="?", metavar="NAME")

    proxy = command("proxy", "Run mitmproxy with the addon suite; other arguments are mitmproxy's.")
    proxy.add_argument("--record", metavar="DIR", help="record into a folder, without credentials")
    proxy.add_argument("--lint", action="store_true", help="lint each flow as it ends, with lint-flows")
    proxy.add_argument("--octets", action="store_true", help=_OCTETS)
    proxy.add_argument(
        "--bare", action="store_true", help="mend nothing: of the suite only stream-events runs"
    )
    proxy.add_argument(
        "--until-eof",
        action="store_true",
        help="end when standard input does: with who has started it, however that ends",
    )
    proxy.add_argument(
        "--ui",
        choices=["none", "console", "web"],
        default="none",
        help="mitmdump (default), mitmproxy in this terminal, or mitmweb in a browser",
    )
    place = proxy.add_argument_group("where", "as mitmproxy has them")
    place.add_argument(
        "-m", "--mode", action="append", default=[], help="such as reverse:http://127.0.0.1:4000; repeatable"
    )
    place.add_argument("--listen-host", metavar="HOST", help="address to listen at (default: all)")
    place.add_argument("-p", "--listen-port", metavar="PORT", help="port to listen at (default: 8080)")
    _settings_options(proxy)

    run = command(
        "run",
        "Run an agent behind a proxy of its own, and lint what it and its gateway said. It is told of the proxy by "
        "OPENAI_BASE_URL and ANTHROPIC_BASE_URL. The report goes to stderr; the exit code is the agent's, or else "
        "that of check.",
    )
    run.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="-- COMMAND ...", help="the agent, as you would run it"
    )
    run.add_argument(
        "--upstream",
        metavar="URL",
        help="where everything is passed on to (default: where the variables point, or else the two providers)",
    )
    run.add_argument("--record", metavar="DIR", help="keep the recording, without credentials, in a folder")
    run.add_argument("--octets", action="store_true", help=_OCTETS)
    run.add_argument("--mend", action="store_true", help="run the addon suite, not only stream-events")
    _lint_options(run)
    _baseline_options(run)

    demo = command(
        "demo",
        "See it work: traffic of an agent to a gateway that breaks things, through mitmdump alone and with the "
        "addons, side by side. Everything runs on 127.0.0.1 and ends with the command.",
    )
    demo.add_argument(
        "--keep", metavar="DIR", help="where the two recordings go (default: a new temporary folder)"
    )
    demo.add_argument("--color", choices=["auto", "always", "never"], default="auto")

    config = command("config", "Show the settings in force and where each came from.")
    config.add_argument("--schema", action="store_true", help="print the JSON Schema of hoplint.toml")
    _settings_options(config)
    return root


def _jobs(word: str) -> int:
    """A number of processes; 0: as many as there are processors."""
    if word == "auto":
        return 0
    if not word.isdecimal() or not int(word):
        raise argparse.ArgumentTypeError(f"a number from 1 on, or auto; not {word!r}")
    return int(word)


_OCTETS = "record the octets of HTTP/1 connections, too, so that framing can be judged"


def _lint_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that lints."""
    rules = parser.add_argument_group(
        "which rules", "a rule, a topic, rfcNNNN or ALL; the most specific wins"
    )
    rules.add_argument("--select", action="append", metavar="NAMES", help="run only these")
    rules.add_argument("--extend-select", action="append", default=[], metavar="NAMES", help="run these too")
    rules.add_argument("--ignore", action="append", default=[], metavar="NAMES", help="do not run these")
    rules.add_argument("--no-ignores", action="store_true", help="take no notice of inline ignores")
    _settings_options(parser)
    verdict = parser.add_argument_group("verdict")
    verdict.add_argument(
        "--fail-on",
        choices=[*map(str, Severity), "never"],
        help="least severity that makes the exit code 1 (default: error)",
    )
    verdict.add_argument("--exit-zero", action="store_true", help="exit 0 whatever is found")
    report = parser.add_argument_group("report")
    report.add_argument(
        "--format",
        default="full",
        metavar="FORMAT",
        help="full (default), concise, json, sarif, junit, github, gitlab, markdown or html",
    )
    report.add_argument(
        "--report",
        action="append",
        default=[],
        metavar="FORMAT=FILE",
        help="write another report to a file; repeatable",
    )
    report.add_argument("--statistics", action="store_true", help="count findings by rule")
    report.add_argument("--color", choices=["auto", "always", "never"], default="auto")
    report.add_argument(
        "-q", "--quiet", action="store_true", help="print only the report: no notes, no progress"
    )
    report.add_argument(
        "-v", "--verbose", action="store_true", help="every repeated finding in full; say what was read"
    )


def _baseline_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("baseline", "known findings are counted, only new ones fail")
    group.add_argument("--baseline", metavar="FILE", help="the findings that are known")
    group.add_argument(
        "--write-baseline", action="store_true", help="write what is found now to the baseline, and prune it"
    )


class _Version(argparse.Action):
    def __call__(self, *_: object) -> None:
        from importlib.metadata import version  # 20 ms that no other command needs

        sys.stdout.write(f"hoplint {version('hoplint')}\n")
        sys.exit(0)


def _settings_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("settings")
    group.add_argument("--profile", metavar="NAME", help="the policy of a known gateway or provider")
    group.add_argument(
        "--config", metavar="FILE", help="settings file (default: the nearest hoplint.toml or pyproject.toml)"
    )
    group.add_argument("--isolated", action="store_true", help="read no settings file")
