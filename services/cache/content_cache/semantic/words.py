"""The words a paraphrase may change without changing what is asked; every other word must be the same.

What is not listed here counts as meaning something, in any language: a list too short costs hits, not errors.
"""

from __future__ import annotations

import re

ASIDES = re.compile(
    r"\b(?:please|kindly|thanks|thank you|hi|hello|hey"
    r"|(?:can|could|would|will) you(?: please)?|(?:i would|i'd) like(?: you)? to|i (?:want|need)(?: you)? to"
    r"|i am trying to|i'm trying to|(?:i'd|i would) like|i (?:want|need)"
    r"|i was wondering(?: if you could)?|i wonder|help me(?: to)?|let me know|tell me|teach me|do you know"
    r"|for me)\b"
)
"""Politeness and asides: who asks and how nicely."""

REWRITES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"\bcannot\b"), "can not"),
    (re.compile(r"\b(what|who|where|how|that|there|it)'s\b"), r"\1 is"),
    (re.compile(r"\bhow (?:do|can) (?:i|you|we|one|people)\b"), "how to"),
    (re.compile(r"\b(?:the )?(?:steps|way|ways) to\b"), "how to"),
    (re.compile(r"\bwhy (?:do|does) (.+?) (?:happen|occur)\b"), r"what causes \1"),
    (re.compile(r"\b(?:the )?(?:cause|causes) of\b"), "what causes"),
    (re.compile(r"\b(?:the )?reasons? (?:why|that)\b"), "why"),
    (re.compile(r"\b(?:the )?inventors? of\b"), "who invented"),
    (re.compile(r"\bwas (invented|discovered|written|founded|painted|composed) by whom\b"), r"who \1"),
    (re.compile(r"\b(\w+)'s (\w+)\b"), r"\2 of \1"),
    (re.compile(r"\b(give|show|offer|provide|write|make|create) me\b"), r"\1"),
    (re.compile(r"\b(?:(?:give|provide|write) )?(?:an? |the )?(?:explanation|description|definition) of\b"), "explain"),
    (re.compile(r"\b(?:(?:give|provide) )?(?:some |the )?information (?:about|on)\b"), "explain"),
    (re.compile(r"\b(?:the )?(?:concept|notion|idea|topic|subject) of\b"), ""),
    (re.compile(r"\bwhat (?:is|are) meant by\b"), "explain"),
    (re.compile(r"\bin (?:detail|depth)\b"), "detailed"),
    (re.compile(r"\bin (?:brief|short)\b"), "brief"),
)
"""Turns of phrase that say the same, to one of them, in this order; the text is in lower case."""

IDLE = frozenset(
    "the an be am been being is are was were do does did of about on regarding concerning and with"
    " exactly really actually basically what that there it its this these me".split()
)
"""Words that mean nothing by themselves; `a` is treated apart, for it may be a letter."""

TENSES = {each: "past" for each in ("was", "were", "did")} | {
    each: "present" for each in ("is", "are", "do", "does")
}
"""When it is: `who is` and `who was` are two questions."""

LEADS: dict[str, str] = {
    word: name
    for name, words in {
        "": "explain explains describe describes define clarify understand learn know introduce",
        "create": "write create make generate produce compose draft prepare",
        "list": "give provide list name show",
    }.items()
    for word in words.split()
}
"""Verbs that carry a request when nothing but the likes of them stands before; elsewhere they mean something."""

INTENTS: dict[str, str] = {
    word: name
    for name, words in {
        "advantage": "advantage advantages benefit benefits pros upside upsides merit merits",
        "disadvantage": "disadvantage disadvantages drawback drawbacks cons downside downsides shortcoming"
        " shortcomings",
        "difference": "difference differences differ differs distinguish",
        "importance": "important importance matter matters significance significant",
        "work": "work works working operate operates",
        "example": "example examples instance instances",
        "summary": "summary summaries summarize summarise",
        "quiz": "quiz quizzes",
        "question": "question questions",
        "history": "history",
        "overview": "overview",
        "introduction": "introduction intro",
        "misconception": "misconception misconceptions misunderstanding misunderstandings",
        "beginner": "beginner beginners newcomer newcomers novice novices",
        "guide": "guide guides",
        "flashcard": "flashcard flashcards",
        "outline": "outline",
        "faq": "faq faqs",
    }.items()
    for word in words.split()
}
"""What is wanted of a topic, by any of its names; where it stands in the sentence does not matter."""

_MADE = frozenset({"create", "list", "some"})
ABSORBED: dict[str, frozenset[str]] = {
    each: _MADE
    for each in "quiz question summary flashcard outline faq overview example advantage disadvantage"
    " misconception".split()
} | {
    "difference": _MADE | {"how", "between", "from"},
    "importance": frozenset({"why"}),
    "work": frozenset({"how"}),
    "beginner": frozenset({"for"}),
    "introduction": _MADE | {"to"},
    "guide": _MADE | {"to", "for"},
}
"""What goes without saying beside an intent: `how do A and B differ` is `the difference between A and B`."""

QUESTIONS = {each: each for each in "who when where why how".split()} | {"whom": "who"}
"""What decides the kind of answer; `what` and `which` do not."""

SYNONYMS: dict[str, str] = {
    word: group.split()[0]
    for group in (
        "main key major principal primary",
        "brief short concise briefly shortly",
        "detailed thorough comprehensive in-depth",
        "typical common",
        "kind type sort",
        "buy purchase",
        "car automobile",
        "film movie",
        "physician doctor",
        "child kid children kids",
        "usa america",
        "uk britain",
        "ai a.i.",
        "impact influence",
        "method technique",
        "invent invented invents",
        "discover discovered discovers",
        "write wrote written writes",
        "cause causes caused causing",
        "affect affects affected affecting",
        "use uses using used usage",
        "prevent prevents prevented preventing prevention",
    )
    for word in group.split()
}
"""Other words for the same thing, to the first of each group. No opposites, no relatives: only the same."""

BINDING = frozenset(
    "not no never none nobody nothing nowhere neither nor without except excluding unless hardly barely"
    " scarcely rarely seldom almost nearly fail fails failed lack lacks avoid avoids stop stops instead rather"
    " false wrong incorrect untrue un non anti counter opposite reverse against despite although"
    " more less fewer most least better worse best worst higher lower greater smaller bigger larger than only"
    " all every each both some off half either any few many much other another same different"
    " from to into onto in out up down before after above below over under between during since until by at"
    " for through across within toward towards if when whether because so but or versus vs as like"
    " should must may might can could would will shall ought have has had"
    " i you he she we they my your his her our their him them".split()
)
"""Small words that turn a meaning round; one more or one less of them is never a paraphrase."""

NUMBERS: dict[str, str] = {
    word: str(number)
    for number, words in enumerate(
        "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen"
        "|seventeen|eighteen|nineteen|twenty".split("|")
    )
    for word in (words,)
} | {"thirty": "30", "forty": "40", "fifty": "50", "hundred": "100", "thousand": "1000", "million": "1000000"}
"""Number words, as digits; what is not here is a word like any other and must be the same."""

LETTERED = frozenset("vitamin hepatitis group plan type class grade option appendix influenza".split())
"""What an `a` may be the name of, so that it is no article behind it."""

UNSINGULAR = frozenset("news goods customs arms means glasses times physics gas lens bus".split())
"""Words whose last s is their own."""
