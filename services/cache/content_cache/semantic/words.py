"""The words a paraphrase may change without changing what is asked; every other word must be the same.

What is not listed here counts as meaning something, in any language: a list too short costs hits, not errors.
"""

from __future__ import annotations

import re


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_REQUEST = (
    r"(?=(?:explain|describe|define|clarify|understand|learn|know|write|create|make|generate|produce|compose"
    r"|draft|prepare|give|provide|list|name|show|tell|help|teach|summari[sz]e|compare)\b)"
)
_QUESTION = r"(?=(?:who|what|when|where|why|how|which|about)\b)"
ASIDES = re.compile(
    r"(?:^|(?<=[.!?\n]))\s*(?:(?:(?:hi|hello|hey|thanks)(?=[,.!])|tell me\b|let me know\b"
    rf"|(?:teach me|do you know|i wonder)\b\s+{_QUESTION}"
    r"|(?:please|kindly|(?:can|could|would|will) you(?: please)?|(?:i would|i'd) like(?: you)? to"
    r"|i (?:want|need)(?: you)? to|i am trying to|i'm trying to|i was wondering if you could"
    rf"|help me(?: to)?)\b\s+{_REQUEST}"
    r")[\s,.!]*)+"
    r"|[\s,]+(?:please|kindly|thanks|thank you)\s*[.!?]*\s*$"
)
"""Politeness and asides, where a sentence begins or the text ends: who asks and how nicely."""

REWRITES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b([a-z])\.([a-z])\."), r"\1\2 "),
    (re.compile(r"^(\s*(?:explain|describe|define|summari[sz]e)\b.*?) (?:to|for) me(?=[\s.?!]*$)"), r"\1"),
    (re.compile(r"\bcannot\b"), "can not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"\b(what|who|where|how|that|there|it)'s\b"), r"\1 is"),
    (re.compile(r"\bwhat exactly\b"), "what"),
    (re.compile(r"\ba few\b"), "several"),
    (re.compile(r"\ba little\b"), "somewhat"),
    (re.compile(r"\bhow (?:do|can) (?:i|you|one)\b"), "how to"),
    (re.compile(r"\b(?:what are )?(?:the )?(?:steps|way|ways) to\b"), "how to"),
    (re.compile(r"\bthe way (.+?) works\b"), r"how \1 works"),
    (re.compile(r"\bwhy (?:do|does) (.+?) (?:happen|occur)\b"), r"what causes \1"),
    (re.compile(r"\b(?:what (?:is|are) )?(?:the )?(?:cause|causes) of\b"), "what causes"),
    (re.compile(r"\b(?:was|is) the inventor of\b"), "invented"),
    (re.compile(r"\b(\w+)'s (\w+)\b"), r"\2 of \1"),
    (re.compile(r"\b(give|show|offer|provide|write|make|create) me\b"), r"\1"),
    (
        re.compile(
            r"\b(?:(?:give|provide|write) )?(?:an? |the )?(?:explanation|description|definition) of\b"
        ),
        "explain",
    ),
    (re.compile(r"\b(?:(?:give|provide) )?(?:some |the )?information (?:about|on)\b"), "explain"),
    (re.compile(r"\bexplain (?:the )?(?:concept|notion) of\b"), "explain"),
    (re.compile(r"\bunderstand (?:the )?(?:concept|notion) of\b"), "explain"),
    (re.compile(r"\bwhat (?:is|are) meant by\b"), "explain"),
    (re.compile(r"\bin (?:detail|depth)\b"), "detailed"),
    (re.compile(r"\bin (?:brief|short)\b"), "brief"),
)
"""Turns of phrase that say the same, to one of them, in this order; the text is in lower case."""

IDLE = frozenset({"the", "an", "of"})
"""Words that mean nothing by themselves; `a` is treated apart, for it may be a letter."""

OPENING = frozenset({"about", "on", "regarding", "concerning", "with"})
"""Words that mean nothing before the first word that does: `a quiz on`, `tell me about`."""

TO_BE = {"is": "present", "are": "present", "was": "past", "were": "past"}
TO_DO = {"do": "present", "does": "present", "did": "past"}
"""Their forms, with the tense they show: `who is` and `who was` are two questions."""

LEADS: dict[str, str] = {
    word: name
    for name, words in {
        "": "explain describe define clarify understand learn know",
        "create": "write create make generate produce compose draft prepare",
        "list": "give provide list name show",
    }.items()
    for word in words.split()
}
"""Verbs that carry a request when nothing but the likes of them stands before; elsewhere they mean more."""

INTENTS: dict[str, str] = {
    word: name
    for name, words in {
        "advantage": "advantages benefits pros upsides",
        "disadvantage": "disadvantages drawbacks cons downsides shortcomings",
        "difference": "difference differences",
        "importance": "importance significance",
        "example": "examples",
        "summary": "summary summarize summarise",
        "quiz": "quiz",
        "question": "questions",
        "history": "history",
        "overview": "overview",
        "introduction": "introduction intro",
        "misconception": "misconceptions misunderstandings",
        "beginner": "beginner beginners newcomer newcomers novice novices",
        "guide": "guide",
        "flashcard": "flashcards",
        "outline": "outline",
        "faq": "faq faqs",
    }.items()
    for word in words.split()
}
"""What is wanted of a topic, by any of its names, where no word of the topic stands right before it."""

VERBS: dict[str, tuple[str, str]] = {
    "works": ("work", "how"),
    "work": ("work", "how"),
    "differ": ("difference", "how"),
    "differs": ("difference", "how"),
    "matters": ("importance", "why"),
    "matter": ("importance", "why"),
    "important": ("importance", "why"),
    "significant": ("importance", "why"),
}
"""What is wanted, said at the end of a question: the intent, and the question it needs."""

_MADE = frozenset({"create", "list", "some"})
ABSORBED: dict[str, frozenset[str]] = dict.fromkeys(
    _words(
        "quiz question summary flashcard outline faq overview example advantage disadvantage"
        " misconception history"
    ),
    _MADE,
) | {
    "difference": _MADE | {"how", "between", "from", "and"},
    "importance": frozenset({"why", "is", "are"}),
    "work": frozenset({"how"}),
    "beginner": frozenset({"for"}),
    "introduction": _MADE | {"to"},
    "guide": _MADE | {"to", "for"},
}
"""What goes without saying beside an intent: `how do A and B differ` is `the difference between A and B`."""

QUESTIONS = {
    "who": "who",
    "whom": "who",
    "when": "when",
    "where": "where",
    "why": "why",
    "how": "how",
    "what": "what",
}
"""What decides the kind of answer; `what is` by itself does not."""

SYNONYMS: dict[str, str] = {
    word: group.split()[0]
    for group in (
        "main key major principal primary",
        "brief concise briefly",
        "detailed thorough comprehensive",
        "buy purchase",
        "car automobile",
        "film movie",
        "physician doctor",
        "kid child",
        "kids children",
        "invent invented",
        "discover discovered",
        "cause causes caused",
    )
    for word in group.split()
}
"""Other words for the same thing, to the first of each group. No opposites, no relatives: only the same."""

BINDING = frozenset(
    _words(
        "not no never none nobody nothing nowhere neither nor without except excluding including"
        " unless hardly barely scarcely rarely seldom always often sometimes usually almost nearly"
        " fail fails failed lack lacks avoid avoids stop stops instead rather false wrong"
        " incorrect untrue un non anti counter opposite reverse against despite although more less"
        " fewer most least better worse best worst higher lower greater smaller bigger larger than"
        " only even still yet already again longer all every each both half either any some"
        " several few many much other another same different off from to into onto in out up down"
        " before after above below over under between during since until by at for through across"
        " within toward towards if whether because so but and or versus vs as like with on about"
        " should must may might can could would will shall ought have has had be been being do"
        " does did which that this these those there it its i you he she we they my your his her"
        " our their him them me us"
        " nicht kein keine keinen keiner nie niemals ohne pas jamais sans ni aucun aucune nunca sin"
        " mai senza nem nenhum niet geen nooit zonder inte aldrig utan ikke aldri uten uden"
        " bez не ни нет без никогда yok lettera is are was were please"
    )
)
"""Small words that turn a meaning round, or deny: one more or less of them is never a paraphrase."""

NUMBERS: dict[str, str] = {
    word: str(number)
    for number, word in enumerate(
        _words(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
            " fifteen sixteen seventeen eighteen nineteen twenty"
        )
    )
} | {"thirty": "30", "forty": "40", "fifty": "50", "hundred": "100", "thousand": "1000", "million": "1000000"}
"""Number words, as digits; what is not here is a word like any other and must be the same."""

LETTERED = frozenset(_words("vitamin hepatitis group plan type class grade option appendix influenza"))
"""What an `a` may be the name of, so that it is no article behind it."""
