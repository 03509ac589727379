"""Every message of a flow file, judged by httplint; prints how many flows there were, and how many notes."""

import sys
from pathlib import Path

from httplint import HttpRequestLinter, HttpResponseLinter
from mitmproxy.io import FlowReader


def judge(linter, message) -> int:
    linter.process_headers(list(message.headers.fields))
    linter.feed_content(message.raw_content or b"")
    linter.finish_content(True)
    return len(linter.notes)


def main() -> None:
    flows = notes = 0
    with Path(sys.argv[1]).open("rb") as file:
        for flow in FlowReader(file).stream():
            asked, answered = flow.request.data, flow.response.data
            linter = HttpRequestLinter()
            linter.process_request_topline(asked.method, asked.path, asked.http_version)
            notes += judge(linter, flow.request)
            linter = HttpResponseLinter()
            linter.process_response_topline(
                answered.http_version, b"%d" % answered.status_code, answered.reason
            )
            notes += judge(linter, flow.response)
            flows += 1
    print(flows, notes)


main()
