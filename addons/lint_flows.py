"""Lint every flow as it ends, and show in mitmproxy and mitmweb what is wrong with it.

Changes nothing that is sent, and no message waits for it: flows are linted in a thread of their own, with the
rules and the policy that `hoplint check` would use. HTTP, WebSocket and raw TCP flows are linted when they end,
flows loaded from a file when they are loaded. It is no part of the suite: load it behind it,
`-s suite.py -s lint_flows.py`, so that it sees what the other addons did.

What is found is shown

- by a marker: a red circle for errors, a yellow one for warnings, a blue one for notes;
- in the comment, on a line that begins with `[hoplint]`. Whatever else stands in the comment stays, and so does a
  marker that somebody else set;
- in `flow.metadata`: `hoplint_findings` has all findings, `hoplint_conversation` the number of the conversation;
- in the log, as `log` says: `quiet` writes nothing but the summary at the end, `normal` a line for each flow in
  which something was found, `loud` a line for each finding;
- in the content view `hoplint` of any message that has content: the findings, what the addons changed as a
  diff of the header section, the model's answer put together from its events, session and deployment.

View filters find flows again: `~comment "\\[hoplint\\]"`, `~comment duplicate-server`,
`~meta date-missing`, `~meta "hoplint_conversation: 3$"`, `~marker red_circle`.

Commands:

- `hoplint.check FLOWS` lints flows once more, as a recording of their own (`@focus`, `@all`, a filter);
- `hoplint.show FLOW` gives the text of the content view, `hoplint.explain RULE` a rule's page;
- `hoplint.fix FLOWS` mends flows with the addons that their findings name, as `hoplint fix` does; what they were
  before is kept, and the user interface reverts to it. Only the settings file and the profile count for it;
- `hoplint.report FORMAT PATH` writes a report on the latest `keep` findings.

mitmproxy writes a flow into `-w` as it ends, before it has been linted: such a file holds no findings of live
flows (`hoplint check` finds them), those of loaded flows it does. When more than `queue` flows wait, or 256 MiB
of content, flows are not linted; how many is said in the log and in the summary.

With `fail-on` mitmdump ends with exit code 1 if something that grave was found, or flows were not linted.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mitmproxy import command, contentviews, ctx, exceptions, flow, hooks, http, tcp, types
from mitmproxy.addonmanager import Loader
from mitmproxy.io import FlowReader
from mitmproxy.tools.dump import DumpMaster

from conformance import glance, manual, mitm, recording
from conformance.addon import addons as scripts
from conformance.finding import Finding, Look
from conformance.live import Checked, Live
from conformance.policy import Lint as Policy
from conformance.policy import PolicyError, Session
from conformance.prepare import prepare
from conformance.reports import FORMATS
from conformance.rule import OWN_RULES, RULES, Severity, UnknownName
from conformance.settings import Loaded

logger = logging.getLogger(__name__)

FINDINGS = "hoplint_findings"
"""Key of ``flow.metadata``: the findings, the worst first, each a table of str and None; empty: none."""
CONVERSATION = "hoplint_conversation"
LEAD = "[hoplint] "
"""What our line of a comment begins with. Not ``hoplint:``: that is how people ignore findings."""
LINE = 300
"""Characters of it."""
MARKERS = {
    Severity.ERROR: ":red_circle:",
    Severity.WARNING: ":yellow_circle:",
    Severity.NOTE: ":large_blue_circle:",
}
WAITING = 256 * 2**20
"""Octets of content that may wait to be linted."""


# -- what is written on a flow ------------------------------------------------------------------------------


def table(finding: Finding) -> dict[str, Any]:
    """A finding as it stands in ``flow.metadata``: only what a flow file can hold."""
    return {
        "rule": finding.rule,
        "severity": str(finding.severity),
        "part": finding.at.part,
        "field": finding.at.field,
        "why": finding.why,
        "origin": finding.origin,
        "fingerprint": finding.fingerprint,
    }


def summed(findings: Sequence[Finding]) -> str:
    """One line: how many there are, the worst with its reason, the names of the others. Empty for none."""
    if not findings:
        return ""
    worst = findings[0]
    others = dict.fromkeys(finding.rule for finding in findings if finding.rule != worst.rule)
    said = f"{glance.counted(map(table, findings))}: {worst.rule} ({' '.join(worst.why.split())})"
    line = "; ".join((said[:LINE], *others))
    # A reason quotes what a stranger sent; an ignore in there would be obeyed by whoever lints the recording.
    line = line.replace("hoplint:", "hoplint;")
    return line if len(line) <= LINE else f"{line[: LINE - 1]}…"


def commented(comment: str, line: str) -> str:
    """The comment with this line in place of ours, behind what people wrote; without a line ours is gone."""
    kept = [each for each in comment.split("\n") if not each.startswith(LEAD)]
    if len(kept) == 1 and not kept[0]:
        kept = []
    return "\n".join([*kept, LEAD + line] if line else kept)


def annotate(one: flow.Flow, checked: Checked) -> None:
    """Write on the flow what was found in it."""
    one.metadata[FINDINGS] = [table(finding) for finding in checked.findings]
    if checked.conversation is not None:
        one.metadata[CONVERSATION] = checked.conversation
    one.comment = commented(one.comment, summed(checked.findings))
    if one.marked in ("", *MARKERS.values()):
        one.marked = MARKERS[checked.findings[0].severity] if checked.findings else ""


def told(one: flow.Flow, checked: Checked, log: str) -> Iterator[tuple[int, str]]:
    """(level, line) for the log."""
    if log == "quiet":
        return
    name = f"{one.request.method} {one.request.host}" if isinstance(one, http.HTTPFlow) else one.type
    lines = [summed(checked.findings)] if checked.findings else []
    if log == "loud":
        lines = [f"{finding.severity}[{finding.rule}] {finding.why}" for finding in checked.findings]
    for line in lines:
        grave = any(finding.severity is not Severity.NOTE for finding in checked.findings)
        yield logging.WARNING if grave else logging.INFO, f"{name}: {line}"


def size(one: flow.Flow) -> int:
    """Octets of content in a flow, about."""
    if isinstance(one, tcp.TCPFlow):
        return sum(len(message.content) for message in one.messages)
    if not isinstance(one, http.HTTPFlow):
        return 0
    messages = one.websocket.messages if one.websocket else ()
    contents = [message.raw_content for message in (one.request, one.response) if message is not None]
    return sum(len(content or b"") for content in contents) + sum(len(m.content) for m in messages)


def is_at_least(found: Severity, fail_on: str) -> bool:
    """Whether a finding is one that ``fail-on`` is about."""
    return fail_on != "never" and found.rank <= Severity(fail_on).rank


def shown(one: flow.Flow, session: Session) -> str:
    """The text of the content view."""
    items = recording.read("-", stdin=mitm.flow_octets(one))
    return glance.text(items, one.metadata.get(FINDINGS), session, one.metadata.get(CONVERSATION))


# -- mending ------------------------------------------------------------------------------------------------


def mended(one: http.HTTPFlow, words: Sequence[str]) -> http.HTTPFlow:
    """The flow as ``hoplint fix`` writes it. Raises ValueError, in one line.

    In a process of its own: mitmproxy's addons find their options in one place for the whole process, which
    here is that of the proxy under way.
    """
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.flow"), Path(folder, "after.flow")
        before.write_bytes(mitm.flow_octets(one))
        done = subprocess.run(  # noqa: S603 - ourselves
            [sys.executable, "-m", "conformance", "fix", str(before), "-o", str(after), "-q", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 1) or not after.exists():
            problem = (done.stderr.strip() or "hoplint fix failed").splitlines()[-1]
            raise ValueError(problem.replace(folder, "").removeprefix("hoplint: error: "))
        with after.open("rb") as file:
            (found,) = FlowReader(file).stream()
    assert isinstance(found, http.HTTPFlow)
    return found


# -- the wiring ---------------------------------------------------------------------------------------------


class View(contentviews.Contentview):
    """The content view; never chosen unless asked for."""

    name = "hoplint"
    syntax_highlight = "none"

    def __init__(self) -> None:
        self.session = Session()

    def prettify(self, data: bytes, metadata: contentviews.Metadata) -> str:
        if metadata.flow is None:
            raise ValueError("this belongs to no flow")
        return shown(metadata.flow, self.session)

    def render_priority(self, data: bytes, metadata: contentviews.Metadata) -> float:
        return -1


class Verdict:
    """Ends mitmdump with exit code 1. At the end of the chain: all other addons have ended by then."""

    name = "lint-flows-verdict"

    def __init__(self) -> None:
        self.failed = False

    def done(self) -> None:
        if self.failed:
            sys.exit(1)


class LintFlows:
    """The wiring."""

    name = "lint-flows"

    def __init__(self) -> None:
        self.policy = Policy()
        self.live: Live | None = None
        self.view = View()
        self.verdict = Verdict()
        self.thread = ThreadPoolExecutor(1, "hoplint")
        self.waiting: dict[Future[Checked], tuple[flow.Flow, int]] = {}
        self.octets = 0
        self.dropped = self.failed = 0
        self.is_over = False

    def load(self, loader: Loader) -> None:
        mitm.add_options(loader, Policy, "lint")
        contentviews.add(self.view)

    def configure(self, updated: Set[str]) -> None:
        self.policy = mitm.read_options(ctx.options, Policy, "lint")
        if self.live is None or {"hoplint_config", "hoplint_profile", "lint_keep"} & updated:
            try:
                settings = mitm.settings()
                rules, how = prepare(Loaded(settings, {}))
            except (PolicyError, UnknownName) as problem:
                raise exceptions.OptionsError(f"lint: {problem}") from None
            self.live = Live(rules, settings.policy, how, self.policy.keep)
            self.view.session = settings.policy.session

    def running(self) -> None:
        mitm.refuse_unknown_options("lint")
        # A script that was edited is loaded anew; mitmproxy calls `running` for that, too.
        if (old := ctx.master.addons.get(Verdict.name)) is not None:
            self.verdict.failed, old.failed = old.failed, False
            ctx.master.addons.remove(old)
        if isinstance(ctx.master, DumpMaster):
            ctx.master.addons.add(self.verdict)

    # -- flows that end

    async def request(self, one: http.HTTPFlow) -> None:
        if not one.live and one.response is None and one.error is None:
            await self._ended(one)  # it was under way when it was recorded

    async def response(self, one: http.HTTPFlow) -> None:
        if one.websocket is None and one.error is None:
            await self._ended(one)

    async def error(self, one: http.HTTPFlow) -> None:
        if one.websocket is None:
            await self._ended(one)

    async def websocket_end(self, one: http.HTTPFlow) -> None:
        await self._ended(one)

    async def tcp_end(self, one: tcp.TCPFlow) -> None:
        await self._ended(one)

    async def tcp_error(self, one: tcp.TCPFlow) -> None:
        await self._ended(one)

    async def _ended(self, one: flow.Flow) -> None:
        """Have the flow linted. Only who loads flows from a file waits for it: else they would pile up."""
        if self.is_over:
            return  # mitmproxy closes what is still open when it has ended
        weight = size(one)
        if one.live and (len(self.waiting) >= self.policy.queue or self.octets + weight > WAITING):
            self.dropped += 1
            if self.dropped.bit_count() == 1:  # the 1st, 2nd, 4th, 8th...
                logger.warning("lint-flows: %d flows not linted: too many are waiting", self.dropped)
            return
        future = self.thread.submit(self._lint, one)
        self.waiting[future] = one, weight
        self.octets += weight
        if one.live:
            loop = asyncio.get_running_loop()
            future.add_done_callback(lambda done: _call(loop, self._landed, done))
        else:
            await asyncio.wait([asyncio.wrap_future(future)])
            self._landed(future, update=False)

    def _lint(self, one: flow.Flow) -> Checked:
        assert self.live is not None
        return self.live.take(one.id, mitm.flow_octets(one))

    def _landed(self, future: Future[Checked], *, update: bool = True) -> None:
        """Back in mitmproxy's own thread: show what was found."""
        if future not in self.waiting:
            return
        one, weight = self.waiting.pop(future)
        self.octets -= weight
        if (problem := future.exception()) is not None:
            self._cannot(one, f"it cannot be linted ({type(problem).__name__})")
            return
        self._show(one, future.result())
        if update:
            _update([one])

    def _show(self, one: flow.Flow, checked: Checked) -> None:
        annotate(one, checked)
        for level, line in told(one, checked, self.policy.log):
            logger.log(level, "lint-flows: %s", line)
        for failure in checked.failures:
            self._cannot(one, failure)
        if any(is_at_least(finding.severity, self.policy.fail_on) for finding in checked.findings):
            self.verdict.failed = True

    def _cannot(self, one: flow.Flow, problem: str) -> None:
        self.failed += 1
        logger.error("lint-flows: %s flow %s: %s", one.type, one.id, problem)

    def done(self) -> None:
        # Not asynchronous: mitmproxy also calls it from where it cannot wait. Nothing passes any more.
        self.is_over = True
        self.thread.shutdown(wait=True)
        for future in list(self.waiting):
            self._landed(future, update=False)
        if self.live is None or not (self.live.exchanges or self.live.streams or self.dropped or self.failed):
            return
        names = ", ".join(f"{count} {name}" for name, count in self.live.names.most_common(10))
        counts = self.live.severities
        found = ", ".join(_plural(counts[each], each) for each in Severity if counts[each]) or "no findings"
        read = _plural(self.live.exchanges, "exchange")
        logger.info("lint-flows: %s, %s%s", read, found, f" ({names})" if names else "")
        if self.dropped or self.failed:
            missed = _plural(self.dropped + self.failed, "flow")
            logger.warning("lint-flows: %s not linted, or not with all rules", missed)
            self.verdict.failed |= self.policy.fail_on != "never"

    # -- commands

    @command.command("hoplint.check")
    def check(self, flows: Sequence[flow.Flow]) -> None:
        """Lint flows once more, as a recording of their own."""
        assert self.live is not None
        live, loop, chosen = self.live, asyncio.get_running_loop(), list(flows)

        def lint() -> None:
            by_id = {one.id: one for one in chosen}
            for name, checked in live.again((one.id, mitm.flow_octets(one)) for one in chosen):
                _call(loop, self._checked, by_id[name], checked)
            _call(loop, logger.info, "lint-flows: %d flows checked", len(chosen))

        self.thread.submit(lint).add_done_callback(lambda done: _call(loop, _complain, done))

    def _checked(self, one: flow.Flow, checked: Checked) -> None:
        self._show(one, checked)
        _update([one])

    @command.command("hoplint.show")
    def show(self, one: flow.Flow) -> str:
        """What the content view hoplint shows of a flow."""
        return shown(one, self.view.session)

    @command.command("hoplint.rules")
    def rules(self) -> Sequence[str]:
        """The names of the rules there are."""
        return sorted({**RULES, **OWN_RULES})

    @command.command("hoplint.explain")
    @command.argument("rule", type=types.Choice("hoplint.rules"))
    def explain(self, rule: str) -> str:
        """A rule's page: what is wrong, who breaks, by which norm."""
        return manual.text({**RULES, **OWN_RULES}[rule])

    @command.command("hoplint.formats")
    def formats(self) -> Sequence[str]:
        """The formats of reports."""
        return sorted(FORMATS)

    @command.command("hoplint.report")
    @command.argument("form", type=types.Choice("hoplint.formats"))
    def report(self, form: str, path: types.Path) -> None:
        """Write a report on what was found in the flows so far."""
        assert self.live is not None
        run = self.live.run()
        run.addons = frozenset(scripts())
        try:
            text = FORMATS[form](run, Look())
            Path(path).expanduser().write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as problem:
            raise exceptions.CommandError(f"{path}: {problem.strerror}") from problem
        logger.info("lint-flows: %d findings written to %s", len(run.findings), path)

    @command.command("hoplint.fix")
    def fix(self, flows: Sequence[flow.Flow]) -> None:
        """Mend flows with the addons that their findings name; revert undoes it."""
        chosen = [one for one in flows if isinstance(one, http.HTTPFlow)]
        if not chosen or any(one.live for one in chosen):
            raise exceptions.CommandError("only HTTP flows that have ended can be mended")
        config, profile = ctx.options.hoplint_config, ctx.options.hoplint_profile
        words = ["--isolated"] if config == [""] else [word for path in config for word in ("--config", path)]
        words += [word for name in profile for word in ("--profile", name)]
        loop = asyncio.get_running_loop()
        # Not in the thread that lints: starting mitmproxy's addons takes seconds.
        for one in chosen:
            loop.run_in_executor(None, self._fix, one, words, loop)

    def _fix(self, one: http.HTTPFlow, words: Sequence[str], loop: asyncio.AbstractEventLoop) -> None:
        try:
            after = mended(one, words)
        except (ValueError, OSError, exceptions.FlowReadException) as problem:
            _call(loop, logger.error, "lint-flows: flow %s cannot be mended: %s", one.id, problem)
        else:
            _call(loop, self._fixed, one, after)

    def _fixed(self, one: http.HTTPFlow, after: http.HTTPFlow) -> None:
        done = len(after.metadata.get(mitm.JOURNAL, ())) - len(one.metadata.get(mitm.JOURNAL, ()))
        if done:
            one.backup()
            one.request, one.response, one.metadata = after.request, after.response, after.metadata
        logger.info("lint-flows: flow %s mended: %d changes", one.id, done)
        self.check([one])


def _plural(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _complain(done: Future[None]) -> None:
    if (problem := done.exception()) is not None:
        logger.error("lint-flows: the check broke off: %s", type(problem).__name__)


def _update(flows: Sequence[flow.Flow]) -> None:
    ctx.master.addons.trigger(hooks.UpdateHook(flows))


def _call(loop: asyncio.AbstractEventLoop, function: Any, *arguments: Any) -> None:
    """Call it in mitmproxy's own thread; not when mitmproxy has ended meanwhile."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, *arguments)


addons = [LintFlows()]
