"""The command line: the only module that prints or exits.

Exit codes: 0 nothing at or above ``--fail-on``; 1 findings; 2 the job could not be done. stdout carries only
what was asked for; everything else goes to stderr.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from conformance.finding import Look, Run
from conformance.message import Stream
from conformance.rule import OWN_RULES, RULES, Rule, Severity, UnknownName, load, select

if TYPE_CHECKING:
    from conformance import lint
    from conformance.recording import Recording
    from conformance.settings import Loaded

FOUND, FAILED = 1, 2


class Failure(Exception):
    """The job cannot be done; the text is one line that names the thing and the way out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown and options.command != "proxy":  # what proxy does not know is mitmdump's
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    options.rest = unknown
    if "run" not in options:
        parser.print_help()
        return 0
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # `hoplint ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except (Failure, UnknownName) as problem:
        return _fail(str(problem))
    return code


def _fail(problem: str) -> int:
    print(f"hoplint: error: {problem}", file=sys.stderr)  # noqa: T201
    return FAILED


def _note(text: str) -> None:
    print(f"hoplint: {text}", file=sys.stderr)  # noqa: T201


def _write(text: str) -> None:
    # Recordings hold what terminals and locales cannot show; a report never fails for that.
    sys.stdout.buffer.write(text.encode(sys.stdout.encoding or "utf-8", "backslashreplace"))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(FAILED, f"hoplint: error: {message} (see '{self.prog} --help')\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="hoplint",
        description="Keeps the HTTP, SSE and WebSocket traffic between LLM agents and gateways well-formed.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)

    def command(name: str, run: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
        added.set_defaults(run=run, command=name)
        return added

    check = command("check", _check, "Lint recordings: mitmproxy flow files, HAR files, transcripts.")
    check.add_argument(
        "paths",
        nargs="*",
        default=["."],
        metavar="PATH",
        help="files, folders, globs, or - for stdin (default: .)",
    )
    _lint_options(check)

    compare = command(
        "compare", _compare, "Pair the recordings of both sides of a gateway and lint what it did."
    )
    compare.add_argument("client", metavar="CLIENT", help="recorded between the clients and the gateway")
    compare.add_argument("server", metavar="SERVER", help="recorded between the gateway and its upstream")
    compare.add_argument("--all", action="store_true", help="lint each recording by itself, too")
    _lint_options(compare)

    fix = command(
        "fix",
        _fix,
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

    rule = command("rule", _rule, "Explain a rule; without a name, list them by topic.")
    rule.add_argument("name", nargs="?", metavar="NAME")
    rule.add_argument("--all", action="store_true", help="explain all of them")
    rule.add_argument("--format", choices=["text", "markdown", "json"], default="text")

    show = command(
        "show", _show, "Print recordings as transcripts, secrets masked; turns .flow and .har into .http."
    )
    show.add_argument("paths", nargs="+", metavar="PATH[#N]", help="a recording, or its exchange number N")
    show.add_argument("--secrets", action="store_true", help="do not mask credentials")

    addons = command(
        "addons", _addons, "List the mitmproxy addons; with a name print its path, for mitmdump -s."
    )
    addons.add_argument("name", nargs="?", metavar="NAME")

    proxy = command("proxy", _proxy, "Run mitmdump with the addon suite; other arguments are mitmdump's.")
    _settings_options(proxy)

    demo = command(
        "demo",
        _demo,
        "See it work: traffic of an agent to a gateway that breaks things, through mitmdump alone and with the "
        "addons, side by side. Everything runs on 127.0.0.1 and ends with the command.",
    )
    demo.add_argument(
        "--keep", metavar="DIR", help="where the two recordings go (default: a new temporary folder)"
    )
    demo.add_argument("--color", choices=["auto", "always", "never"], default="auto")

    config = command("config", _config, "Show the settings in force and where each came from.")
    config.add_argument("--schema", action="store_true", help="print the JSON Schema of hoplint.toml")
    _settings_options(config)
    return parser


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
    report.add_argument("--format", default="full", metavar="FORMAT", help="full (default), concise or json")
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


class _Version(argparse.Action):
    def __call__(self, *_: object) -> None:
        from importlib.metadata import version  # 20 ms that no other command needs

        _write(f"hoplint {version('hoplint')}\n")
        sys.exit(0)


def _settings_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("settings")
    group.add_argument("--profile", metavar="NAME", help="the policy of a known gateway or provider")
    group.add_argument(
        "--config", metavar="FILE", help="settings file (default: the nearest hoplint.toml or pyproject.toml)"
    )
    group.add_argument("--isolated", action="store_true", help="read no settings file")


def _settings(options: argparse.Namespace) -> Loaded:
    from conformance.policy import PolicyError
    from conformance.settings import load as load_settings

    try:
        return load_settings(
            start=Path.cwd(),
            config=Path(options.config) if options.config else None,
            isolated=options.isolated,
            profile=options.profile,
        )
    except PolicyError as problem:
        raise Failure(str(problem)) from None


def _names(values: Iterable[str]) -> list[str]:
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


def _check(options: argparse.Namespace) -> int:
    from conformance import lint, recording

    prepared = _prepared(options)
    failures: list[str] = []
    recordings: list[recording.Recording] = []
    exclude = prepared.loaded.settings.lint.exclude
    for path in options.paths:
        try:
            found = recording.find([path])
            recordings += [recording.read(one) for one in found if not _excluded(one, exclude)]
        except recording.RecordingError as problem:
            failures.append(str(problem))
    with _progress(options) as progress:
        run = lint.check(
            recordings,
            prepared.rules,
            policy=prepared.loaded.settings.policy,
            settings=prepared.settings,
            progress=progress,
        )
    return _reported(options, prepared, run, failures)


def _compare(options: argparse.Namespace) -> int:
    from conformance import lint, recording

    prepared = _prepared(options)
    with _progress(options) as progress:
        run = lint.compare(
            recording.read(options.client),
            recording.read(options.server),
            prepared.rules,
            policy=prepared.loaded.settings.policy,
            settings=prepared.settings,
            progress=progress,
            each=options.all,
        )
    return _reported(options, prepared, run, [])


def _fix(options: argparse.Namespace) -> int:
    from conformance import addon, fix, lint

    prepared = _prepared(options)
    settings = prepared.loaded.settings
    known = addon.addons()
    for name in options.only:
        if name not in known:
            raise UnknownName("addon", name, known)
    with _progress(options) as progress:

        def judge(found: Recording) -> Run:
            return lint.check(
                [found],
                prepared.rules,
                policy=settings.policy,
                settings=prepared.settings,
                progress=progress,
            )

        try:
            fixed = fix.fix(
                options.path,
                judge,
                set(options.only or known) - set(settings.policy.suite.without),
                into=Path(options.output) if options.output else None,
                in_place=options.in_place,
                diff=options.diff,
                profiled=prepared.settings.profiled,
                profile=options.profile,
                config=options.config,
                isolated=options.isolated,
            )
        except fix.CannotFix as problem:
            raise Failure(str(problem)) from None
    told = f"{options.path}: {fix.told(fixed)}"
    if options.diff:
        _write(fixed.diff)
    if options.format == "full" and not options.diff:
        _write(told + "\n")
    elif not options.quiet:
        sys.stderr.write(told)
    writes = options.output or options.in_place or options.diff
    if fixed.changes and not writes and not options.quiet:
        _note("nothing is written: -o OUT or --in-place does it, --diff shows it")
    failures = list(fixed.errors)
    if fixed.after is not fixed.before:
        failures += [failure for failure in fixed.before.failures if failure not in fixed.after.failures]
    return _reported(options, prepared, fixed.after, failures, show=not options.diff)


class _Prepared(NamedTuple):
    """What the options of a command that lints ask for."""

    loaded: Loaded
    rules: dict[str, Rule]
    settings: lint.Settings
    reports: list[tuple[str, Path]]


def _prepared(options: argparse.Namespace) -> _Prepared:
    from conformance import lint
    from conformance.reports import FORMATS

    reports = [_report_option(value, FORMATS) for value in options.report]
    if options.format not in FORMATS:
        raise UnknownName("format", options.format, FORMATS)
    loaded = _settings(options)
    wanted = loaded.settings.lint
    rules = select(
        load(),
        [
            (wanted.select, wanted.extend_select, wanted.ignore),
            (
                _names(options.select) if options.select is not None else None,
                _names(options.extend_select),
                _names(options.ignore),
            ),
        ],
    )
    for name in wanted.severity:
        if name not in RULES:
            raise UnknownName("rule", name, RULES)
    settings = lint.Settings(
        severities={name: Severity(level) for name, level in wanted.severity.items()},
        per_recording=tuple(
            (glob, frozenset(select(RULES, [(names, (), ())])))
            for glob, names in wanted.per_recording.items()
        ),
        inline_ignores=not options.no_ignores,
        profiled=loaded.settings.profile is None,
    )
    return _Prepared(loaded, rules, settings, reports)


def _reported(
    options: argparse.Namespace, prepared: _Prepared, run: Run, failures: list[str], *, show: bool = True
) -> int:
    """Write the reports (with ``show``, one to stdout, too) and return the exit code."""
    from conformance import addon
    from conformance.reports import FORMATS

    run.addons = frozenset(addon.addons())
    look = _look(options)
    # Where nothing could be read there is nothing to report; a program that reads JSON gets its object.
    if show and (
        any(summary.kind != "unknown" for summary in run.recordings)
        or options.format not in ("full", "concise")
    ):
        _write(FORMATS[options.format](run, look))
    for name, path in prepared.reports:
        try:
            path.write_text(FORMATS[name](run, Look()), encoding="utf-8")
        except OSError as problem:
            failures.append(f"cannot write the {name} report to {path}: {problem.strerror}")
    if options.verbose:
        for summary in run.recordings:
            _note(f"{summary.path}: {summary.kind}, {summary.exchanges} exchanges, {summary.streams} streams")
    for failure in (*failures, *run.failures):
        _fail(failure)
    if failures or run.failures:
        return FAILED
    fail_on = options.fail_on or prepared.loaded.settings.lint.fail_on
    return _verdict(run, fail_on, exit_zero=options.exit_zero)


def _verdict(run: Run, fail_on: str, *, exit_zero: bool) -> int:
    if exit_zero or fail_on == "never":
        return 0
    return FOUND if any(f.severity.rank <= Severity(fail_on).rank for f in run.findings) else 0


def _report_option(value: str, formats: Iterable[str]) -> tuple[str, Path]:
    name, equals, path = value.partition("=")
    if not equals or not path:
        raise Failure(f"--report takes FORMAT=FILE, such as json=findings.json; not {value!r}")
    if name not in formats:
        raise UnknownName("format", name, formats)
    return name, Path(path)


def _excluded(path: str, globs: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(path, glob) or Path(path).match(glob) for glob in globs)


@contextmanager
def _progress(options: argparse.Namespace) -> Iterator[Callable[[int], None] | None]:
    """A counter on stderr, if that is a terminal and the work takes longer than a second."""
    if options.quiet or not sys.stderr.isatty():
        yield None
        return
    began, shown = time.monotonic(), 0.0

    def tell(exchanges: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - began > 1 and now - shown > 0.2:
            shown = now
            sys.stderr.write(f"\r{exchanges} exchanges")
            sys.stderr.flush()

    yield tell
    if shown:
        sys.stderr.write("\r\x1b[K")


def _look(options: argparse.Namespace) -> Look:
    """Colour as the options, NO_COLOR, FORCE_COLOR and the terminal say."""
    terminal = sys.stdout.isatty()
    color = options.color == "always" or (
        options.color == "auto"
        and not os.environ.get("NO_COLOR")
        and (terminal or bool(os.environ.get("FORCE_COLOR")))
        and os.environ.get("TERM") != "dumb"
    )
    width = shutil.get_terminal_size().columns if terminal else None
    told = vars(options)
    return Look(
        color=color,
        width=width,
        verbose=told.get("verbose", False),
        statistics=told.get("statistics", False),
    )


def _rule(options: argparse.Namespace) -> int:
    from conformance import manual

    rules = {name: load()[name] for name in sorted(load())}
    known = {**rules, **OWN_RULES}
    if options.name is not None and options.name not in known:
        raise UnknownName("rule", options.name, known)
    chosen = [known[options.name]] if options.name is not None else list(rules.values())
    if options.format == "json":
        _write(manual.as_json(chosen))
    elif options.format == "markdown":
        _write(manual.page(chosen[0]) if options.name else manual.markdown(rules))
    elif options.name is None and not options.all:
        _write(manual.table(rules))
    else:
        _write("\n".join(manual.text(rule) for rule in chosen))
    return 0


def _show(options: argparse.Namespace) -> int:
    from conformance import recording, secret, transcript

    masks = () if options.secrets else (secret.mask_value, secret.mask_text)
    failures: list[str] = []
    first = True
    for argument in options.paths:
        path, number = _numbered(argument)
        shown = False
        source = recording.read(path)
        for item in source:
            numbers = (
                [exchange.number for exchange in item.exchanges]
                if isinstance(item, Stream)
                else [item.number]
            )
            if number is None or number in numbers:
                _write(("" if first else "\n") + transcript.write(item, *masks))
                first, shown = False, True
        if source.error:
            failures.append(f"{path}: {source.error}")
        elif number is not None and not shown:
            failures.append(f"{path} has no exchange {number}: it holds {source.exchanges}")
    for failure in failures:
        _fail(failure)
    return FAILED if failures else 0


def _numbered(argument: str) -> tuple[str, int | None]:
    """``recording.flow#3`` -> path and number; a ``#`` in the name of an existing file is part of its name."""
    path, mark, number = argument.rpartition("#")
    if mark and number.isdigit() and not Path(argument).exists():
        return path, int(number)
    return argument, None


def _addons(options: argparse.Namespace) -> int:
    from conformance import addon

    known = addon.addons()
    if options.name is None:
        width = max(map(len, known))
        _write("".join(f"{name:<{width}}  {found.summary}\n" for name, found in known.items()))
        return 0
    if options.name not in known:
        raise UnknownName("addon", options.name, known)
    _write(f"{known[options.name].path}\n")
    return 0


def _proxy(options: argparse.Namespace) -> int:
    _settings(options)  # a bad settings file is said here, in one line, not by mitmdump
    from conformance import mitm

    return mitm.run(options.rest, profile=options.profile, config=options.config, isolated=options.isolated)


_DEMO = """\
The same traffic twice, as measured in this run. The agent refuses repeated
headers as aiohttp 3.13.4 does, the gateway reads the Connection lines of a
handshake as uvicorn does, and mitmdump alone holds an event stream back until
it is complete. The two recordings:

"""


def _demo(options: argparse.Namespace) -> int:
    import tempfile

    from conformance import demo
    from conformance.reports.demo import side_by_side

    folder = Path(options.keep or tempfile.mkdtemp(prefix="hoplint-demo-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ways = demo.hold(folder)
    except OSError as problem:
        raise Failure(f"{problem.filename or folder}: {problem.strerror}") from None
    except demo.DemoFailed as problem:
        raise Failure(str(problem)) from None
    shown = {name: (way.outcomes, way.run) for name, way in ways.items()}
    _write(side_by_side([name for name, _ in demo.STEPS], shown, _look(options)))
    _write("\n" + _DEMO)
    for way in ways.values():
        _write(f"  hoplint check {way.recording}\n")
    return 0


def _config(options: argparse.Namespace) -> int:
    from conformance import settings

    if options.schema:
        _write(json.dumps(settings.json_schema(), indent=2) + "\n")
        return 0
    loaded = _settings(options)
    rows = settings.rows(loaded)
    width = max(len(f"{key} = {value}") for key, value, _ in rows)
    _write("".join(f"{f'{key} = {value}':<{width}}  # {source}\n" for key, value, source in rows))
    return 0
