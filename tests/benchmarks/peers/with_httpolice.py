"""Every exchange of a flow file, judged by HTTPolice; prints how many flows there were, and how many notices."""

import sys
from pathlib import Path

import httpolice
from mitmproxy.io import FlowReader


def said(octets: bytes) -> str:
    return octets.decode("latin-1")


def fields(message) -> list[tuple[str, bytes]]:
    return [(said(name), value) for name, value in message.headers.fields]


def main() -> None:
    flows = notices = 0
    with Path(sys.argv[1]).open("rb") as file:
        for flow in FlowReader(file).stream():
            asked, answered = flow.request.data, flow.response.data
            request = httpolice.Request(
                flow.request.scheme, said(asked.method), said(asked.path), said(asked.http_version),
                fields(flow.request), asked.content,
            )  # fmt: skip
            response = httpolice.Response(
                said(answered.http_version), answered.status_code, said(answered.reason),
                fields(flow.response), answered.content,
            )  # fmt: skip
            httpolice.check_exchange(httpolice.Exchange(request, [response]))
            notices += len(request.notices) + len(response.notices)
            flows += 1
    print(flows, notices)


main()
