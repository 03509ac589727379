"""The command line: the only module that prints or exits.

Exit codes: 0 nothing at or above ``--fail-on``; 1 findings; 2 the job could not be done. stdout carries only
what was asked for; everything else goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TextIO

from conformance.arguments import FAILED, parser
from conformance.finding import Look, Run
from conformance.message import Stream
from conformance.rule import OWN_RULES, RULES, Rule, Severity, UnknownName, load
from conformance.secret import printable

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from conformance import lint
    from conformance.baseline import Known
    from conformance.recording import Recording
    from conformance.settings import Loaded

FOUND = 1


class Failure(Exception):
    """The job cannot be done; the text is one line that names the thing and the way out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    words = parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what may follow
        _complete(words)
    options, unknown = words.parse_known_args(arguments)
    if unknown and options.command != "proxy":  # what proxy does not know is mitmdump's
        words.error(f"unrecognized arguments: {' '.join(unknown)}")
    options.rest = unknown
    if options.command is None:
        words.print_help()
        return 0
    try:
        code = COMMANDS[options.command](options)
        sys.stdout.flush()
    except BrokenPipeError:  # `hoplint ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except (Failure, UnknownName) as problem:
        return _fail(str(problem))
    except Exception as error:  # Python would end with 1, as if something had been found
        if os.environ.get("HOPLINT_TRACEBACK"):
            raise
        return _fail(_fault(error))
    return code


def _fault(error: Exception) -> str:
    """Where hoplint itself has failed. Not with what words: they may quote what was recorded."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"a fault of hoplint's own: {type(error).__name__} in {Path(at.filename).name}:{at.lineno}. Please report it; "
        "HOPLINT_TRACEBACK=1 shows the whole of it, and may show secrets"
    )


def _complete(words: argparse.ArgumentParser) -> None:
    with suppress(ImportError):
        import argcomplete

        argcomplete.autocomplete(words)  # ends the process


def _fail(problem: str) -> int:
    print(f"hoplint: error: {printable(problem)}", file=sys.stderr)  # noqa: T201
    return FAILED


def _note(text: str) -> None:
    print(f"hoplint: {printable(text)}", file=sys.stderr)  # noqa: T201


def _write(text: str, to: TextIO | None = None) -> None:
    # Recordings hold what terminals and locales cannot show; a report never fails for that.
    to = to or sys.stdout
    to.buffer.write(text.encode(to.encoding or "utf-8", "backslashreplace"))


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
    from conformance import jobs, lint, recording
    from conformance.verdict import NotInstalled

    prepared = _prepared(options)
    failures: list[str] = []
    paths: list[str] = []
    exclude = prepared.loaded.settings.lint.exclude
    for path in options.paths:
        try:
            found = recording.find([path])
            paths += [one for one in found if not any(lint.matches(one, glob) for glob in exclude)]
        except recording.RecordingError as problem:
            failures.append(str(problem))
    jobs.collect_rarely(paths)
    processes = 1 if options.jobs is None and not options.ray else options.jobs or jobs.available()
    try:
        with _cluster(options.ray, processes) as pool, _progress(options) as progress:
            run = jobs.check(
                paths,
                prepared.rules,
                policy=prepared.loaded.settings.policy,
                settings=prepared.settings,
                progress=progress,
                jobs=processes,
                pool=pool,
            )
    except NotInstalled as problem:
        raise Failure(str(problem)) from None
    return _reported(options, prepared, run, failures)


@contextmanager
def _cluster(address: str | None, processes: int) -> Iterator[Executor | None]:
    """The workers of the Ray cluster there, if one is named."""
    if not address:
        yield None
        return
    from conformance import cluster

    try:
        with cluster.joined(address, processes) as pool:
            yield pool
    except cluster.ClusterError as problem:
        raise Failure(str(problem)) from None


def _compare(options: argparse.Namespace) -> int:
    from conformance import lint, recording

    if options.what_changed:
        return _what_changed(options)
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


def _what_changed(options: argparse.Namespace) -> int:
    from conformance import changes, recording
    from conformance.reports.changes import as_json, text

    prepared = _prepared(options)
    with _progress(options) as progress:
        found = changes.compare(
            recording.read(options.client),
            recording.read(options.server),
            prepared.rules,
            policy=prepared.loaded.settings.policy,
            settings=prepared.settings,
            progress=progress,
        )
    if options.format == "json":
        _write(as_json(found))
    elif options.format in ("full", "concise"):
        _write(text(found) + "\n")
    return _reported(options, prepared, found.run, [], show=options.format != "json")


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
    told = f"{printable(options.path)}: {fix.told(fixed)}"
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
    known: Known | None
    """The baseline, if there is one."""


def _prepared(options: argparse.Namespace) -> _Prepared:
    from conformance.prepare import prepare
    from conformance.reports import FORMATS, LISTING

    reports = [_report_option(value, FORMATS) for value in options.report]
    if options.format not in FORMATS:
        raise UnknownName("format", options.format, FORMATS)
    loaded = _settings(options)
    rules, settings = prepare(
        loaded,
        _names(options.select) if options.select is not None else None,
        _names(options.extend_select),
        _names(options.ignore),
        inline_ignores=not options.no_ignores,
        listing=not LISTING.isdisjoint((options.format, *(name for name, _ in reports))),
        parsers=vars(options).get("parsers", False),
    )
    return _Prepared(loaded, rules, settings, reports, _baseline(options))


def _reported(
    options: argparse.Namespace, prepared: _Prepared, run: Run, failures: list[str], *, show: bool = True
) -> int:
    """Write the reports (with ``show``, one to stdout, too) and return the exit code."""
    from conformance import addon
    from conformance.reports import FORMATS

    run.addons = frozenset(addon.addons())
    if prepared.known is not None:
        _apply_baseline(options, prepared.known, run, failures)
    run.failures[:0] = failures
    look = _look(options)
    # Where nothing could be read there is nothing to report; a program that reads JSON gets its object.
    if show and (
        any(summary.kind != "unknown" for summary in run.recordings)
        or options.format not in ("full", "concise")
    ):
        _write(FORMATS[options.format](run, look), _reports_to(options))
    for name, path in prepared.reports:
        try:
            # Names of files need not be Unicode.
            path.write_text(FORMATS[name](run, Look()), encoding="utf-8", errors="backslashreplace")
        except OSError as problem:
            run.failures.append(f"cannot write the {name} report to {path}: {problem.strerror}")
    if options.verbose:
        for summary in run.recordings:
            _note(f"{summary.path}: {summary.kind}, {summary.exchanges} exchanges, {summary.streams} streams")
    if not options.quiet and (not show or options.format not in ("full", "concise")):
        for note in run.notes:
            _note(note)
    for failure in run.failures:
        _fail(failure)
    if run.failures:
        return FAILED
    fail_on = options.fail_on or prepared.loaded.settings.lint.fail_on
    return _verdict(run, fail_on, exit_zero=options.exit_zero)


def _baseline(options: argparse.Namespace) -> Known | None:
    """What the baseline knows; None: none is asked for."""
    if options.baseline is None:
        if options.write_baseline:
            raise Failure("--write-baseline needs --baseline FILE, which says where to")
        return None
    from conformance import baseline

    if options.write_baseline and not Path(options.baseline).exists():
        return Counter()
    try:
        return baseline.read(Path(options.baseline))
    except baseline.BaselineError as problem:
        raise Failure(str(problem)) from None


def _apply_baseline(options: argparse.Namespace, known: Known, run: Run, failures: list[str]) -> None:
    """Take out of the run what the baseline knows; with --write-baseline, that is all there is."""
    from conformance import baseline

    if options.write_baseline and (failures or run.failures):
        failures.append(f"{options.baseline}: not written, because not everything could be read")
    elif options.write_baseline:
        known = baseline.known_after(run, known, RULES)
        try:
            baseline.write(Path(options.baseline), known)
        except baseline.BaselineError as problem:
            failures.append(str(problem))
    baseline.apply(run, known, options.baseline)


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


def _reports_to(options: argparse.Namespace) -> TextIO:
    # What is run has stdout for itself.
    return sys.stderr if options.command == "run" else sys.stdout


def _look(options: argparse.Namespace) -> Look:
    """Colour as the options, NO_COLOR, FORCE_COLOR and the terminal say."""
    terminal = _reports_to(options).isatty()
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
    if options.format == "compatibility":
        from conformance import compatibility

        _write(compatibility.page())
    elif options.format == "json":
        _write(manual.as_json(chosen))
    elif options.format == "markdown":
        _write(manual.page(chosen[0]) if options.name else manual.markdown(rules))
    elif options.name is None and not options.all:
        _write(manual.table(rules))
    else:
        width = min(shutil.get_terminal_size().columns, 100) if sys.stdout.isatty() else None
        _write("\n".join(manual.text(rule, width) for rule in chosen))
    return 0


def _show(options: argparse.Namespace) -> int:
    from conformance import recording, secret, transcript

    masks = () if options.secrets else (secret.mask_value, secret.mask_content)
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


def _redact(options: argparse.Namespace) -> int:
    from conformance import policy, redact

    try:
        done = redact.redact(
            options.path,
            Path(options.output) if options.output else None,
            texts=options.text,
            emails=options.emails,
            key=policy.reveal(options.key) if options.key else None,
        )
    except (redact.CannotRedact, policy.PolicyError) as problem:
        raise Failure(str(problem)) from None
    if not options.quiet:
        for line in redact.told(done).splitlines():
            _note(f"{options.output or options.path}: {line}")
    for error in done.errors:
        _fail(error)
    return FAILED if done.errors else 0


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
    loaded = _settings(options)  # a bad settings file is said here, in one line, not by mitmdump
    from conformance import addon, mitm, output, processes, run

    if options.until_eof:
        processes.end_with_stdin()
    known = addon.addons()
    words = [word for mode in options.mode for word in ("--mode", mode)]
    for name in ("host", "port"):
        if (given := vars(options)[f"listen_{name}"]) is not None:
            words += [f"--listen-{name}", given]
    if options.bare:
        words += ["-s", str(known["stream-events"].path)]
    if options.lint:
        words += ["-s", str(known["lint-flows"].path)]
    if options.record is not None:
        _check_folder(loaded, options.record)
        words += ["-s", str(known["record-flows"].path), "--set", f"record_flows_folder={options.record}"]
    if options.octets:
        words += ["-s", str(known["record-octets"].path)]
    if not any(word.startswith("connection_strategy=") for word in options.rest):
        words += run.patient(options.mode)
    urls = run.advised(options.mode, options.listen_host, options.listen_port)
    for name, value in urls.items():
        _note(f"export {name}={value}")
    _warn_of_open_keys(options, loaded)
    if run.PROVIDERS.keys() <= urls.keys():
        for agent in run.DEAF:
            _note(f"{shlex.join(run.steered([agent], urls))} ...")
    # A terminal program draws on the terminal itself.
    out = sys.stdout if options.ui == "console" else output.Lasting(sys.stdout)
    with redirect_stdout(out):
        return mitm.run(
            [*words, *options.rest],
            profile=options.profile,
            config=options.config,
            isolated=options.isolated,
            tool=_TOOLS[options.ui],
            suite=not options.bare,
        )


def _check_folder(loaded: Loaded, folder: str) -> None:
    """Find out now whether recording can begin: mitmproxy would say it with a traceback."""
    from conformance import recorder
    from conformance.policy import PolicyError

    try:
        recorder.recorder(loaded.settings.policy.record_flows.model_copy(update={"folder": folder}), "flows")
    except PolicyError as problem:
        raise Failure(f"record-flows: {problem}") from None


def _warn_of_open_keys(options: argparse.Namespace, loaded: Loaded) -> None:
    """Say that whoever reaches the proxy uses the keys that it puts in, where everybody may reach it."""
    from conformance.policy import PolicyError, reveal
    from conformance.run import EVERYWHERE

    auth = loaded.settings.policy.auth
    if options.bare or options.listen_host not in EVERYWHERE:
        return
    for name, reference in (("auth.data-key", auth.data_key), ("auth.control-key", auth.control_key)):
        with suppress(PolicyError):  # a key that is not there is nobody's, and inject-auth says so
            if reference is not None and reveal(reference):
                _note(
                    f"whoever reaches this proxy uses {name}, and it listens on all addresses: "
                    "--listen-host 127.0.0.1 keeps it to this machine"
                )
                return


_TOOLS: Mapping[str, Literal["mitmdump", "mitmproxy", "mitmweb"]] = {
    "none": "mitmdump",
    "console": "mitmproxy",
    "web": "mitmweb",
}


def _run(options: argparse.Namespace) -> int:
    import tempfile

    from conformance import lint, recording, run

    command = options.words[1:] if options.words[:1] == ["--"] else options.words
    if not command:
        raise Failure("run takes a command, such as: hoplint run -- codex exec 'say hello'")
    prepared = _prepared(options)
    words = [] if options.mend else ["--bare"]
    if options.octets:
        words.append("--octets")
    for name in ("profile", "config"):
        if vars(options)[name] is not None:
            words += [f"--{name}", vars(options)[name]]
    if options.isolated:
        words.append("--isolated")
    with tempfile.TemporaryDirectory(prefix="hoplint-run-") as folder:
        try:
            ran = run.run(command, Path(options.record or folder), words, options.upstream)
        except run.CannotRun as problem:
            raise Failure(str(problem)) from None
        if not ran.recordings:
            names = " nor ".join(run.PROVIDERS)
            # A proxy whose upstream refuses hangs up before it has seen a request, and records nothing.
            where = options.upstream or "the upstream"
            _note(
                f"nothing was recorded: {command[0]} goes by neither {names}, had nothing to ask, "
                f"or {where} cannot be reached"
            )
            return ran.code
        found = lint.check(
            [recording.read(path) for path in ran.recordings],
            prepared.rules,
            policy=prepared.loaded.settings.policy,
            settings=prepared.settings,
        )
        code = _reported(options, prepared, found, [])
    return ran.code or code


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
    width = 60  # one long list shall not push all sources out of sight
    _write(
        "".join(
            f"{printable(f'{key} = {value}'):<{width}}  # {printable(source)}\n"
            for key, value, source in rows
        )
    )
    return 0


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "check": _check,
    "compare": _compare,
    "fix": _fix,
    "rule": _rule,
    "show": _show,
    "redact": _redact,
    "addons": _addons,
    "proxy": _proxy,
    "run": _run,
    "demo": _demo,
    "config": _config,
}
"""What each command of ``arguments`` does; gives the exit code."""
