"""What everybody writes who streams through mitmproxy; the proxy without addons runs it."""


def responseheaders(flow):
    flow.response.stream = True
