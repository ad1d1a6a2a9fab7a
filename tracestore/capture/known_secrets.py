"""What keys of well-known providers look like: the backstop for secrets that stand in bodies and messages.

Forms as the providers document them, or as their keys look. Each begins with a text of its own, so
that one fast search tells whether a line can hold any of them.
"""

from typing import Final, NamedTuple

_ALNUM, _WORDS, _TOKEN = "[A-Za-z0-9]", "[A-Za-z0-9_-]", "[A-Za-z0-9._~+/-]"


class Secret(NamedTuple):
    """A kind of secret: the exact text it begins with, and a regular expression of what follows.

    The prefix is ASCII without quotes and backslashes, so that it stands in JSON as it is. One that is
    the end of ordinary words as well (``task-``) is looked for at the beginning of words alone.
    """

    prefix: str
    rest: str
    begins_word: bool = False


KNOWN_SECRETS: Final[tuple[Secret, ...]] = (
    Secret("sk-ant-", rf"{_WORDS}{{16,}}"),  # Anthropic
    Secret("sk-proj-", rf"{_WORDS}{{16,}}"),  # OpenAI, with the next three
    Secret("sk-svcacct-", rf"{_WORDS}{{16,}}"),
    Secret("sk-admin-", rf"{_WORDS}{{16,}}"),
    Secret("sk-", rf"{_ALNUM}{{20,}}", begins_word=True),
    Secret("sk-or-", rf"{_WORDS}{{16,}}"),  # OpenRouter
    Secret("sk-lf-", rf"{_WORDS}{{16,}}"),  # Langfuse
    Secret("AIza", rf"{_WORDS}{{35}}"),  # Google
    Secret("ya29.", rf"{_WORDS}{{20,}}", begins_word=True),
    Secret("AKIA", "[A-Z0-9]{16}"),  # AWS
    Secret("ASIA", "[A-Z0-9]{16}"),
    Secret("ghp_", rf"{_ALNUM}{{30,}}"),  # GitHub
    Secret("gho_", rf"{_ALNUM}{{30,}}"),
    Secret("ghu_", rf"{_ALNUM}{{30,}}"),
    Secret("ghs_", rf"{_ALNUM}{{30,}}"),
    Secret("ghr_", rf"{_ALNUM}{{30,}}"),
    Secret("github_pat_", r"[A-Za-z0-9_]{22,}"),
    Secret("glpat-", rf"{_WORDS}{{20,}}"),  # GitLab
    Secret("xoxb-", "[A-Za-z0-9-]{10,}"),  # Slack
    Secret("xoxp-", "[A-Za-z0-9-]{10,}"),
    Secret("xapp-", "[A-Za-z0-9-]{10,}"),
    Secret("hf_", rf"{_ALNUM}{{30,}}", begins_word=True),  # Hugging Face
    Secret("gsk_", rf"{_ALNUM}{{20,}}", begins_word=True),  # Groq
    Secret("xai-", rf"{_ALNUM}{{20,}}", begins_word=True),
    Secret("pplx-", rf"{_ALNUM}{{20,}}"),  # Perplexity
    Secret("r8_", rf"{_ALNUM}{{30,}}", begins_word=True),  # Replicate
    Secret("tvly-", rf"{_WORDS}{{16,}}"),  # Tavily
    Secret("lsv2_", r"[A-Za-z0-9_]{30,}"),  # LangSmith
    Secret("sk_live_", rf"{_ALNUM}{{16,}}", begins_word=True),  # Stripe
    Secret("sk_test_", rf"{_ALNUM}{{16,}}", begins_word=True),
    Secret("rk_live_", rf"{_ALNUM}{{16,}}", begins_word=True),
    Secret("npm_", rf"{_ALNUM}{{36}}", begins_word=True),
    Secret("pypi-", rf"{_WORDS}{{50,}}", begins_word=True),
    Secret("SG.", rf"{_WORDS}{{22}}\.{_WORDS}{{43}}", begins_word=True),  # SendGrid
    Secret("Bearer ", rf"{_TOKEN}{{16,}}=*"),
    Secret("bearer ", rf"{_TOKEN}{{16,}}=*"),
    Secret("eyJ", rf"{_WORDS}{{10,}}\.eyJ{_WORDS}{{10,}}\.{_WORDS}{{10,}}", begins_word=True),  # JSON Web Token
    Secret("-----BEGIN ", r"[A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"),
)
