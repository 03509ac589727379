"""Facts about field names: which may appear once, which are lists, which belong to one hop.

Data, with sources. Names are lower-case ``str``. What is not listed here is not known, and a rule that needs
to know stays silent. This file imports nothing of ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import translate
from functools import cache, lru_cache
from types import MappingProxyType

SINGLETONS: frozenset[str] = frozenset(
    {
        # RFC 9110: fields whose ABNF is not a list (section in brackets)
        "content-type",  # 8.3
        "content-length",  # 8.6
        "content-location",  # 8.7
        "last-modified",  # 8.8.2
        "etag",  # 8.8.3
        "date",  # 6.6.1
        "host",  # 7.2
        "max-forwards",  # 7.6.2
        "from",  # 10.1.2
        "referer",  # 10.1.3
        "user-agent",  # 10.1.5
        "location",  # 10.2.2
        "retry-after",  # 10.2.3
        "server",  # 10.2.4
        "authorization",  # 11.6.2
        "proxy-authorization",  # 11.7.2
        "if-modified-since",  # 13.1.3
        "if-unmodified-since",  # 13.1.4
        "if-range",  # 13.1.5
        "range",  # 14.2
        "content-range",  # 14.4
        # RFC 9111
        "age",  # 5.1
        "expires",  # 5.3
        # RFC 6455 §4.1, 4.2: each appears once, except Protocol and Extensions
        "sec-websocket-key",
        "sec-websocket-accept",
        # RFC 6797 §7.1, RFC 7034 §2.1 (many browsers refuse a repeated X-Frame-Options)
        "strict-transport-security",
        "x-frame-options",
        # RFC 6454 §7.1; Fetch §3.2: one origin, never a list
        "origin",
        # Fetch §3.3: one value each
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "access-control-max-age",
        "access-control-request-method",
        # RFC 6266 §4.1
        "content-disposition",
        # Trace Context §3.2
        "traceparent",
    }
)
"""Fields that hold one value, so that a second line is an error (RFC 9110 §5.3)."""

LISTS: frozenset[str] = frozenset(
    {
        # RFC 9110
        "accept", "accept-charset", "accept-encoding", "accept-language", "accept-ranges", "allow",
        "authentication-info", "connection", "content-encoding", "content-language", "expect", "if-match",
        "if-none-match", "proxy-authenticate", "proxy-authentication-info", "te", "trailer",
        "transfer-encoding", "upgrade", "vary", "via", "www-authenticate",
        "cache-control", "pragma", "warning",  # RFC 9111, RFC 7234
        # Fetch §3.3
        "access-control-allow-headers", "access-control-allow-methods", "access-control-expose-headers",
        "access-control-request-headers",
        "sec-websocket-extensions", "sec-websocket-protocol", "sec-websocket-version",  # RFC 6455 §11.3
        "forwarded",  # RFC 7239 §4
        "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
        "link",  # RFC 8288 §3
        "alt-svc", "prefer", "preference-applied", "content-security-policy",
        "content-security-policy-report-only", "permissions-policy", "server-timing", "tracestate", "baggage",
        "accept-patch", "accept-post", "keep-alive", "early-data", "priority", "cache-status", "proxy-status",
        "nel", "report-to", "reporting-endpoints", "openai-beta", "anthropic-beta", "clear-site-data",
        "timing-allow-origin", "accept-ch", "critical-ch", "referrer-policy", "x-robots-tag",
        # RFC 9530
        "content-digest", "repr-digest", "want-content-digest", "want-repr-digest", "digest", "want-digest",
        "signature", "signature-input", "accept-signature",  # RFC 9421 §4.1, 4.2, 5.1
        "client-cert-chain", "cdn-cache-control", "cdn-loop", "dav", "im", "a-im", "no-vary-search",
        "ratelimit", "ratelimit-policy",
    }
)  # fmt: skip
"""Fields that may be repeated, because their lines join into one list (RFC 9110 §5.3)."""

LAYERED: frozenset[str] = frozenset(
    {
        "x-forwarded-by", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-server",
        "x-original-forwarded-for", "x-cache", "x-cache-hits", "x-served-by", "x-timer", "x-varnish", "x-via",
        "x-powered-by", "p3p", "x-ua-compatible",
    }
)  # fmt: skip
"""Fields no standard defines to which each hop or layer customarily adds a line of its own: CDNs behind CDNs
repeat X-Cache and X-Served-By, a framework inside a framework repeats X-Powered-By."""

REPEATABLE: frozenset[str] = LISTS | LAYERED | {"set-cookie", "cookie"}
"""Fields that may be on several lines. Set-Cookie is no list but is repeated all the same (RFC 9110 §5.3);
Cookie is split into several lines by HTTP/2 (RFC 9113 §8.2.3)."""

# One line of a field that holds one value, when it holds two: what is left when a hop collapses two lines
# with a comma. All patterns are for ``search``. Where a comma may be part of one value (a URI, a comment,
# quotes), the pattern asks for the beginning of the second value too.
_COMMA = rb","
_DELTA = rb"^[0-9]+[ \t]*,"
_DATE = rb"GMT[ \t]*,|^(?:-?[0-9]+[ \t]*,)"
# A URI may hold a comma but no space (RFC 3986 §2).
_URI = rb",[ \t]+(?:[A-Za-z][A-Za-z0-9+.\-]*://|/)"
_TAG = rb'^(?:W/)?"[^"]*"[ \t]*,'
_TCHARS = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# product = token [ "/" product-version ]; in a comment commas are ordinary text (RFC 9110 §10.1.5).
_PRODUCTS = rb"(?:[^(),]|\([^()]*\))+"
JOINED: Mapping[str, re.Pattern[bytes]] = MappingProxyType(
    {
        name: re.compile(pattern)
        for name, pattern in {
            "access-control-allow-credentials": _COMMA,
            "access-control-allow-origin": _COMMA,
            "access-control-max-age": _COMMA,
            "access-control-request-method": _COMMA,
            "age": _DELTA,
            # Not Authorization: Digest and others separate their parameters with commas.
            "authorization": rb"(?i)^(?:bearer|basic)[ ]+[^\s,]*,[ \t]*(?:bearer|basic)\b",
            "content-disposition": rb"(?i),[ \t]*(?:attachment|inline|form-data)[ \t]*(?:;|$)",
            "content-location": _URI,
            "content-range": rb"^[a-z]+ [0-9*][0-9*/\-]*[ \t]*,",
            "content-type": rb"^" + _TCHARS + rb"/[^\",]*,[ \t]*" + _TCHARS + rb"/",
            "date": _DATE,
            "etag": _TAG,
            "expires": _DATE,
            "host": rb",[ \t]|:[0-9]+,",
            "if-modified-since": _DATE,
            "if-range": _TAG + rb"|GMT[ \t]*,",
            "if-unmodified-since": _DATE,
            "last-modified": _DATE,
            "location": _URI,
            "max-forwards": _DELTA,
            "origin": _COMMA,
            "range": rb",[ \t]*[a-z]+=",
            "referer": _URI,
            "retry-after": _DATE,
            "server": rb"^" + _PRODUCTS + rb",[ \t]*" + _TCHARS,
            "strict-transport-security": rb"(?i),[ \t]*max-age[ \t]*=",
            "traceparent": rb"^[0-9a-f\-]+[ \t]*,",
            "user-agent": rb"^[^(),/]+/" + _PRODUCTS + rb",[ \t]*" + _TCHARS + rb"/",
            "x-frame-options": rb"(?i)^(?:deny|sameorigin)[ \t]*,",
        }.items()
    }
)
"""By field: what shows that one line of it holds two values. Content-Length and the Sec-WebSocket fields are
not here: a comma in them is a matter of framing and of the handshake."""

HOP_BY_HOP: frozenset[str] = frozenset(
    {
        # RFC 9110 §7.6.1
        "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade",
        "proxy-authenticate", "proxy-authorization", "trailer",  # RFC 2616 §13.5.1, still treated so by most
    }
)  # fmt: skip
"""Fields that are for the next hop only."""

END_TO_END: frozenset[str] = frozenset(
    {
        "accept", "accept-encoding", "accept-language", "age", "authorization", "cache-control",
        "content-encoding", "content-length", "content-range", "content-type", "cookie", "date", "etag",
        "expires", "host", "if-match", "if-none-match", "last-modified", "location", "origin", "pragma",
        "range", "retry-after", "server", "set-cookie", "user-agent", "vary", "www-authenticate", "x-api-key",
        "openai-beta", "anthropic-beta", "anthropic-version", "allow", "content-disposition",
        "content-language", "content-location", "from", "if-modified-since", "if-range",
        "if-unmodified-since", "link", "referer", "x-request-id", "traceparent", "tracestate",
        "idempotency-key",
    }
)  # fmt: skip
"""Fields that must reach the other end: a Connection option that names one makes every hop delete it."""

REQUEST_ONLY: frozenset[str] = frozenset(
    {
        # not Accept and Accept-Encoding: a response may carry both (RFC 9110 §12.5.1, 12.5.3)
        "accept-charset", "accept-language", "authorization", "cookie", "expect", "from", "host", "if-match",
        "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "max-forwards", "origin",
        "proxy-authorization", "range", "referer", "te", "user-agent", "access-control-request-headers",
        "access-control-request-method", "sec-websocket-key",
    }
)  # fmt: skip
RESPONSE_ONLY: frozenset[str] = frozenset(
    {
        "accept-ranges", "age", "etag", "location", "proxy-authenticate", "retry-after", "server",
        "set-cookie", "vary", "www-authenticate", "access-control-allow-credentials",
        "access-control-allow-headers", "access-control-allow-methods", "access-control-allow-origin",
        "access-control-expose-headers", "access-control-max-age", "sec-websocket-accept",
        "strict-transport-security",
    }
)  # fmt: skip

OBSOLETE: Mapping[str, str] = MappingProxyType(
    {
        "accept-charset": "everybody writes UTF-8 (RFC 9110 §12.5.2)",
        "content-md5": "Content-Digest took its place (RFC 7231 §B, RFC 9530)",
        "cookie2": "Cookie is all there is (RFC 6265)",
        "digest": "Content-Digest and Repr-Digest took its place (RFC 9530 §1.3)",
        "expect-ct": "browsers demand Certificate Transparency anyway",
        "feature-policy": "Permissions-Policy took its place",
        "p3p": "no browser reads it",
        "pragma": "Cache-Control took its place (RFC 9111 §5.4)",
        "public-key-pins": "no browser reads it",
        "public-key-pins-report-only": "no browser reads it",
        "set-cookie2": "Set-Cookie is all there is (RFC 6265)",
        "want-digest": "Want-Content-Digest and Want-Repr-Digest took its place (RFC 9530 §1.3)",
        "warning": "nothing generates or shows it (RFC 9111 §5.5)",
        "x-content-security-policy": "Content-Security-Policy took its place",
        "x-webkit-csp": "Content-Security-Policy took its place",
    }
)
"""By field: why it is of no use any more. Pragma counts in responses only."""

METHODS: frozenset[bytes] = frozenset(
    {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"}
)
"""RFC 9110 §9.3 and RFC 5789."""

STATUS_CODES: frozenset[int] = frozenset(
    {
        *range(100, 105), *range(200, 209), 226, *range(300, 309), *range(400, 419), *range(421, 427), 428, 429, 431,
        451, *range(500, 509), 510, 511,
    }
)  # fmt: skip
"""IANA's HTTP Status Code Registry of 2025-09: also what it lists as unused (306, 418), temporary (104) or
obsolete (510)."""

PRIVATE_STATUS_CODES: Mapping[int, str] = MappingProxyType(
    {
        444: "nginx closed the connection without an answer",
        460: "AWS's load balancer: the client closed the connection",
        499: "nginx: the client closed the connection",
        520: "Cloudflare: the origin answered with something unexpected",
        521: "Cloudflare: the origin refused the connection",
        522: "Cloudflare: no connection to the origin in time",
        523: "Cloudflare: the origin is not reachable",
        524: "Cloudflare: the origin did not answer in time",
        525: "Cloudflare: no TLS handshake with the origin",
        526: "Cloudflare: the origin's certificate is not valid",
        529: "Anthropic: overloaded",
        530: "Cloudflare: an error of the 1xxx series",
        561: "AWS's load balancer: the identity provider failed",
    }
)
"""What codes mean that are not registered, to those who send them (their documentation)."""

TRANSFER_CODINGS: frozenset[bytes] = frozenset(
    {b"chunked", b"compress", b"deflate", b"gzip", b"x-compress", b"x-gzip"}
)
"""RFC 9112 §7, with the two names that recipients treat as equivalents (§7.2)."""

DATES: frozenset[str] = frozenset(
    {"date", "expires", "last-modified", "if-modified-since", "if-unmodified-since"}
)
"""Fields whose value is an HTTP-date and nothing else. Expires may also hold 0, which means the past
(RFC 9111 §5.3)."""

API_KEYS: frozenset[str] = frozenset({"x-api-key", "api-key", "x-goog-api-key", "x-litellm-api-key"})
"""Fields that carry a vendor's API key: Anthropic, Azure OpenAI, Google, LiteLLM."""

CREDENTIALS: frozenset[str] = API_KEYS | {"authorization"}
"""Fields by which an API knows its caller."""

API_VERSIONS: frozenset[str] = frozenset({"anthropic-version", "api-version"})
"""Fields that name the version of the API that is meant: Anthropic; Azure, beside the query."""

REQUEST_IDS: frozenset[str] = frozenset(
    {"x-request-id", "request-id", "x-correlation-id", "x-client-request-id", "x-amzn-requestid", "cf-ray"}
)
"""Fields that name one request."""

CONVERSATION_IDS: tuple[str, ...] = (
    "thread-id",  # Codex: one thread; its session-id spans the tree of sub-agents
    "x-claude-code-session-id",
    "session-id", "session_id", "x-codex-session-id", "x-codex-conversation-id", "conversation_id",  # Codex, pi
    "x-opencode-session", "x-session-affinity", "x-session-id",  # OpenCode
    "x-litellm-session-id",  # OpenHands
    "x-smg-routing-key",  # miles, slime
    "x-dynamo-session-id", "x-bf-session-id", "x-nemo-relay-session-id", "x-olla-session-id",
    "helicone-session-id", "x-grok-conv-id", "x-conversation-id",
)  # fmt: skip
"""Fields by which a request says which conversation it belongs to, the most exact first."""

SESSION_HEADERS: frozenset[str] = frozenset(CONVERSATION_IDS) | {
    "x-parent-session-id", "x-litellm-trace-id", "x-codex-window-id", "x-codex-turn-state",
    "x-codex-parent-thread-id", "x-claude-code-agent-id", "x-claude-code-parent-agent-id",
    "x-dynamo-parent-session-id", "x-session-token", "mcp-session-id",
}  # fmt: skip
"""Fields about a request's session, each of which may appear once: whoever routes by one reads one line."""

BRANCHES: frozenset[str] = frozenset(
    {
        "x-claude-code-agent-id", "x-claude-code-parent-agent-id", "x-codex-parent-thread-id",
        "x-openai-subagent", "x-parent-session-id", "x-dynamo-parent-session-id",
    }
)  # fmt: skip
"""Fields that only requests of sub-agents carry, which may share their parent's session id."""

SAME_SESSION: tuple[frozenset[str], ...] = (
    # One agent's names for one thing, old and new spelling, and the names that belong to no vendor. A
    # gateway's own header beside them (x-litellm-session-id, x-smg-routing-key) may count in its own ids.
    frozenset(
        {
            "session-id", "session_id", "x-codex-session-id", "x-codex-conversation-id", "conversation_id",
            "x-opencode-session", "x-session-affinity", "x-session-id", "x-conversation-id",
        }
    ),
)  # fmt: skip
"""Sets of fields that name the same session where they occur together."""

ANTHROPIC_BETAS: frozenset[str] = frozenset(
    {
        # anthropic-sdk-python, types/anthropic_beta_param.py
        "message-batches-2024-09-24", "prompt-caching-2024-07-31", "computer-use-2024-10-22",
        "computer-use-2025-01-24", "pdfs-2024-09-25", "token-counting-2024-11-01",
        "token-efficient-tools-2025-02-19", "output-128k-2025-02-19", "output-300k-2026-03-24",
        "files-api-2025-04-14", "mcp-client-2025-04-04", "mcp-client-2025-11-20",
        "dev-full-thinking-2025-05-14", "interleaved-thinking-2025-05-14", "code-execution-2025-05-22",
        "extended-cache-ttl-2025-04-11", "context-1m-2025-08-07", "context-management-2025-06-27",
        "model-context-window-exceeded-2025-08-26", "skills-2025-10-02", "fast-mode-2026-02-01",
        "user-profiles-2026-03-24", "advisor-tool-2026-03-01", "managed-agents-2026-04-01",
        "dreaming-2026-04-21", "agent-memory-2026-07-22", "mid-conversation-tool-changes-2026-07-01",
        "max-tokens-3-5-sonnet-2024-07-15", "fine-grained-tool-streaming-2025-05-14",
        # Claude Code 2.1.197 (recorded here) and 2.1.220 (captures in router-for-me/CLIProxyAPI)
        "claude-code-20250219", "oauth-2025-04-20", "redact-thinking-2026-02-12",
        "thinking-token-count-2026-05-13", "prompt-caching-scope-2026-01-05",
        "mid-conversation-system-2026-04-07", "advanced-tool-use-2025-11-20", "effort-2025-11-24",
        "server-side-fallback-2026-06-01", "fallback-credit-2026-06-01", "cache-diagnosis-2026-04-07",
        "afk-mode-2026-01-31",
        # BerriAI/litellm, anthropic_beta_headers_config.json
        "code-execution-2025-08-25", "compact-2026-01-12", "compact-2026-09-04", "computer-use-2025-11-24",
        "dangerous-tool-use-2026-09-03", "mcp-servers-2025-12-04", "mid-conversation-output-config-2026-07-01",
        "per-turn-control-2026-07-01", "structured-outputs-2025-11-13", "structured-outputs-2025-12-15",
        "thinking-binding-controls-2026-08-01", "thinking-display-updates-2026-08-18",
        "token-efficient-tools-2026-03-28", "tool-examples-2025-10-29", "tool-search-tool-2025-10-19",
        "web-fetch-2025-09-10", "web-search-2025-03-05",
    }
)  # fmt: skip
"""Tokens of Anthropic-Beta that somebody is known to have used. New ones come every few weeks."""

OPENAI_BETAS: frozenset[str] = frozenset(
    {
        # openai-python, openai-ruby
        "assistants=v1", "assistants=v2", "chatkit_beta=v1", "realtime=v1", "responses_multi_agent=v1",
        # Codex: over HTTP until the end of 2025, over WebSocket since February 2026
        "responses=experimental", "responses_websockets=2026-02-04", "responses_websockets=2026-02-06",
    }
)  # fmt: skip
"""Tokens of OpenAI-Beta, likewise."""

INTERNAL_ROUTING: frozenset[str] = frozenset(
    {
        "x-smg-target-worker",  # Shepherd Model Gateway: the worker's index
        "x-data-parallel-rank",  # vLLM and SGLang engines
        "x-gateway-destination-endpoint",  # Gateway API Inference Extension, llm-d
        "x-gateway-destination-endpoint-subset",
        "x-prefiller-host-port",  # llm-d routing sidecar
    }
)
"""Fields by which a trusted gateway tells the next hop which worker to use."""

PROVIDERS: tuple[str, ...] = (
    "*.openai.com", "*.openai.azure.com", "*.services.ai.azure.com", "chatgpt.com", "*.anthropic.com",
    "*.googleapis.com", "bedrock*.amazonaws.com", "*.mistral.ai", "*.cohere.com", "*.cohere.ai", "*.groq.com",
    "api.x.ai", "*.deepseek.com", "openrouter.ai", "*.openrouter.ai", "*.together.xyz", "*.together.ai",
    "*.fireworks.ai", "*.perplexity.ai", "*.cerebras.ai", "*.nebius.com", "*.huggingface.co", "*.moonshot.ai",
    "dashscope*.aliyuncs.com", "*.bigmodel.cn", "api.z.ai", "*.api.nvidia.com",
)  # fmt: skip
"""Hosts of the public model providers, as shell patterns."""

ALWAYS_ALLOWED: frozenset[str] = HOP_BY_HOP | {
    # RFC 9110 §8, §14.4: what the content is
    "content-type", "content-length", "content-encoding", "content-language", "content-location",
    "content-range", "content-disposition", "content-digest", "repr-digest",
    # RFC 9110 §15: without them a status says nothing; §10.2.3 above all
    "date", "retry-after", "retry-after-ms", "x-should-retry", "www-authenticate", "allow", "location",
    "accept-ranges", "accept-post", "accept-patch", "x-upstream-status",
    # RFC 9110 §8.8, RFC 9111: caches, and 304, which repeats them
    "cache-control", "etag", "expires", "last-modified", "vary", "age",
    # RFC 6455 §4.2.2
    "sec-websocket-accept", "sec-websocket-version", "sec-websocket-protocol", "sec-websocket-extensions",
}  # fmt: skip
"""Response fields that clients cannot do without, whatever a list of allowed ones says."""

# Below, a name that ends in * stands for every name that begins like that; see ``named``.

CDN: tuple[str, ...] = (
    "cf-*", "cdn-loop", "via", "cloudfront-*", "x-amz-cf-id", "fastly-*", "akamai-*", "x-akamai-*", "x-vercel-*",
    "x-azure-fdid", "x-azure-ref", "x-azure-socketip", "x-azure-clientip", "x-varnish",
)  # fmt: skip
"""What a CDN or proxy in front of a gateway adds to requests. Of another zone, Cloudflare refuses its own."""

CLIENT_ADDRESS: tuple[str, ...] = (
    "forwarded", "x-forwarded-*", "x-original-forwarded-for", "x-real-ip", "true-client-ip", "x-client-ip",
    "x-cluster-client-ip", "x-envoy-external-address", "fly-client-ip",
)  # fmt: skip
"""Request fields that say who and where the client is (RFC 7239 and its forerunners)."""

GATEWAY_CONTROL: tuple[str, ...] = (
    "x-litellm-*", "helicone-*", "x-portkey-*", "x-pass-*", "x-bf-*", "cf-aig-*", "x-kong-*", "x-bt-*", "x-smg-*",
    "x-ai-eg-*", "x-aigw-*", "x-cpa-*", "x-olla-*", "x-dynamo-*", "x-llm-d-*", "x-nemo-relay-*", "x-codex-lb-*",
    "x-codex-bridge-*", "x-data-parallel-rank", "x-gateway-destination-endpoint*", "x-prefiller-host-port",
)  # fmt: skip
"""Request fields that are addressed to a gateway or router: to a provider they reveal users and settings."""

CORS: tuple[str, ...] = ("access-control-*", "timing-allow-origin")
"""Whom a browser lets read a response (Fetch §3.3): for the host that answers, and for nobody behind it."""

BROWSER_SECURITY: tuple[str, ...] = (
    "strict-transport-security", "content-security-policy*", "x-frame-options", "x-content-type-options",
    "x-xss-protection", "referrer-policy", "permissions-policy", "cross-origin-*", "expect-ct", "nel",
    "report-to", "reporting-endpoints", "x-permitted-cross-domain-policies", "clear-site-data", "alt-svc",
)  # fmt: skip
"""Response fields that bind a browser to a policy of the host that answers."""

GATEWAY_INTERNAL: tuple[str, ...] = (
    # Deployments, hosts, costs and budgets, as LiteLLM 1.106 and smg 1.13 send them.
    "x-litellm-model-api-base", "x-litellm-response-cost*", "x-litellm-key-*", "x-litellm-cache-key",
    "llm_provider-set-cookie", "x-smg-routed-worker-id", "x-gateway-destination-endpoint*",
    "x-envoy-upstream-*", "x-envoy-decorator-operation",
    "x-kong-upstream-*", "x-kong-proxy-*", "x-backend-server", "x-upstream-addr", "x-debug-*",
)  # fmt: skip
"""Response fields that show what is behind a gateway."""


@cache
def named(names: tuple[str, ...]) -> re.Pattern[str]:
    """Matches (``fullmatch``) each of these lower-case names; one that ends in * stands for all that begin so.

    >>> bool(named(("server", "cf-*")).fullmatch("cf-ray")), named(()).fullmatch("")
    (True, None)
    """
    alternatives = [re.escape(name[:-1]) + ".*" if name.endswith("*") else re.escape(name) for name in names]
    return re.compile("|".join(alternatives) or r"(?!)", re.DOTALL)


@lru_cache(maxsize=256)
def like(globs: tuple[str, ...]) -> re.Pattern[str]:
    """Matches (``match``) what one of these globs does, as ``fnmatch.fnmatchcase``.

    >>> bool(like(("/v1/*", "/x")).match("/v1/models")), like(()).match("")
    (True, None)
    """
    return re.compile("|".join(map(translate, globs)) or r"(?!)")


TRAILERS_FORBIDDEN: frozenset[str] = frozenset(
    {
        "transfer-encoding", "content-length", "host", "trailer",  # framing, routing (RFC 9110 §6.5.1)
        "cache-control", "expect", "max-forwards", "pragma", "range", "te",  # request modifiers
        "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range",
        "authorization", "proxy-authorization", "www-authenticate", "proxy-authenticate", "set-cookie",
        "cookie",
        "age", "expires", "date", "location", "retry-after", "vary", "warning",  # response control data
        "content-encoding", "content-type", "content-range", "connection", "upgrade", "keep-alive",
    }
)  # fmt: skip
"""Fields that must not be in a trailer section: they are needed before the content, or to find its end."""
