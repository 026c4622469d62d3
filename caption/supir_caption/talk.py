"""What a model says to whoever asked, before and after its caption: "Sure! Here is …", "Let me know …".

Place in the flow: `cleaning.py` takes it off. The law: a sentence is talk only if it speaks to a reader or of the
answer itself; one that can be read as a description of the picture stays.
"""

from __future__ import annotations

import re

from supir_caption.splitting import split_sentences

_NOUN = r"(?:description|caption|summary|breakdown|analysis|response|answer|prompt)"
_HERE_IS = (
    r"here(?:'s|’s| is| are| you go:?)|below is|the following is|this is|i(?:'ve| have) (?:written|prepared|created)"
    "|i will provide"
)
# English, then the same in the languages that the models answer in most often by mistake.
_OPENING = re.compile(
    r"\A(?:"
    r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|alright|no problem|great|got it|yes)\s*[!,.:]\s*(?=\S)"
    r"|as (?:you )?(?:requested|asked|instructed),\s*|per your request,\s*"
    r"|(?:let's|let me|i'll|i will|i can) (?:describe|analyse|analyze|look at|help|take a look|break)\b"
    r"[^.!?\n]{0,60}[.!:]\s*"
    rf"|(?:{_HERE_IS}) [^.:!?\n]{{0,60}}?\b{_NOUN}s?\b[^.:!?\n]{{0,80}}(?:[:.!]|\n)\s*"
    r"|(?:i'd be|i would be|i am|i'm) (?:happy|glad|delighted) to [^.!?\n]{0,80}[.!:]\s*"
    r"|(?:what an?|great|nice|lovely|beautiful|amazing|wonderful|gorgeous) (?:\w+ )?(?:image|picture|photo|shot)\s*!\s*"
    r"|based on (?:the|your|what is visible in the) (?:\w+ )?(?:image|picture|photo)"
    r"(?: (?:you )?(?:provided|shared|uploaded))?,\s*"
    r"|(?:assistant|caption|description|answer|response|output)\s*:\s*"
    r"|(?:当然(?:可以)?|好的|没问题)\s*[！!，,。]\s*"
    r"|(?:以下是|这是|下面是)[^。：:\n]{0,30}(?:描述|说明|标题)[^。：:\n]{0,10}[：:]\s*"
    r"|(?:もちろん(?:です)?|はい|承知しました)\s*[！!、。]\s*|以下は[^。：:\n]{0,30}(?:説明|キャプション)[^。\n：:]{0,8}[：:。]\s*"
    r"|(?:natürlich|gerne|selbstverständlich|klar)\s*[!,.:]\s*"
    r"|hier ist (?:eine|die) [^.:!?\n]{0,40}beschreibung[^.:!?\n]{0,40}:\s*"
    r"|(?:bien sûr|d'accord|avec plaisir)\s*[!,.:]\s*"
    r"|voici (?:une|la) [^.:!?\n]{0,20}(?:description|légende)[^.:!?\n]{0,40}:\s*"
    r"|(?:¡?claro(?: que sí)?|¡?por supuesto)\s*[!,.:]\s*"
    r"|(?:aquí (?:tienes|está)|esta es) (?:una|la) [^.:!?\n]{0,20}descripción[^.:!?\n]{0,40}:\s*"
    r"|(?:конечно|хорошо)\s*[!,.:]\s*|вот [^.:!?\n]{0,30}описание[^.:!?\n]{0,40}:\s*"
    r")",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"^[\s(*_]*(?:(?:please )?(?:let me know|feel free to|do not hesitate|don't hesitate)\b[^.!?]*(?:[.!?]|$)"
    r"|(?:i )?hope (?:this|that|it) (?:\w+ ){0,3}(?:helps?|works|is)\b|would you like (?:me|a|an|to|more|another)\b"
    r"|is there anything else\b"
    r"|if you(?:'d like| (?:have|need|want|would like|wish|require))"
    r" (?:any|more|further|additional|a|an|me|other|it|to)\b"
    r".*\b(?:let me|ask|i can|i'll|i will|tell me|happy|questions?|details?|information|help)\b"
    rf"|(?:please )?(?:note|keep in mind)(?: that|:) this {_NOUN}\b|note: "
    r"|thank you(?: for (?:sharing|providing|the|your)\b|[.!]|$)|happy to help\b|word count\b|\d+ words\b"
    rf"|this {_NOUN} (?:is based|was generated|captures|provides|aims|covers)\b|do you (?:want|need) (?:me|more|a|an)\b"
    r"|(?:如果你?您?|如需|希望)[^。]{0,40}(?:告诉我|随时|帮助)|lassen sie mich wissen\b|n'hésitez pas\b|avísame\b)",
    re.IGNORECASE,
)
_HASHTAGS = re.compile(r"(?:(?:^|\s)#[^\W\d_]\w*){2,}\s*\Z")


def without_opening(text: str) -> tuple[str, int]:
    """Returns a text that does not begin with talk, and how many pieces of talk were taken off.

    Args:
        text: an answer without blanks around it. One that is nothing but an announcement gives "".
    """
    times = 0
    while match := _OPENING.match(text):
        rest = text[match.end() :].lstrip(" :\n")
        if not rest:
            return ("", times) if times or match.group().rstrip().endswith((":", "：")) else (text, times)
        times += 1
        text = rest[0].upper() + rest[1:]
    return text, times


def without_closing(text: str) -> tuple[str, int]:
    """Returns a text whose last sentences are no talk and whose end is no row of hashtags, and the number taken off.

    Args:
        text: one paragraph.
    """
    text, times = _HASHTAGS.subn("", text)
    sentences = split_sentences(text)
    number = len(sentences)
    while number and _CLOSING.match(sentences[number - 1]):
        number -= 1
    if number == len(sentences):
        return text, times
    return " ".join(sentences[:number]), times + len(sentences) - number
