"""Raw answers as models write them: what is taken off, what is counted, and what is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supir_caption.cleaning import clean


@pytest.mark.parametrize(
    ("answer", "text", "removed"),
    [
        ("A red fox stands in snow.", "A red fox stands in snow.", {}),
        ("<think>The user wants a caption.</think>\n\nA red fox.", "A red fox.", {"think": 1}),
        ("So it is a fox, I guess.\n</think>\n\nA red fox.", "A red fox.", {"think": 1}),
        ("<think>The user wants a caption of a fo", "", {"think": 1}),
        ("Sure! Here is a detailed description of the image: a red fox.", "A red fox.", {"opening": 2}),
        ("Certainly! The picture shows a fox.", "The picture shows a fox.", {"opening": 1}),
        ("Here's a caption for the photo you uploaded:\n\nA red fox.", "A red fox.", {"opening": 1}),
        ("A red fox. Let me know if you need more!", "A red fox.", {"closing": 1}),
        ("A red fox. I hope this helps! Would you like a shorter one?", "A red fox.", {"closing": 2}),
        (
            "## Description\n\nA red fox.\n\n## Style\nA photograph.",
            "A red fox. A photograph.",
            {"heading": 2},
        ),
        ("# A red fox", "A red fox", {"heading": 1}),
        (
            "**Overview**\nA **red** fox in *deep* snow.",
            "A red fox in deep snow.",
            {"heading": 1, "emphasis": 2},
        ),
        ("- a red fox\n- two trees\n1. snow", "a red fox. two trees. snow.", {"list": 3}),
        ("**Caption:** A red fox.", "A red fox.", {"label": 1}),
        ("**Background:** snow and trees.", "Background: snow and trees.", {"emphasis": 1}),
        ('{"caption": "A red fox.", "mood": "calm"}', "A red fox.", {"json": 1}),
        ('```json\n{"description": "A \\"red\\" fox."}\n```', 'A "red" fox.', {"fence": 2, "json": 1}),
        ('Here is the JSON response:\n{"caption": "A red fox."}', "A red fox.", {"opening": 1, "json": 1}),
        ('{"subject": "A red fox", "place": "a forest"}', "A red fox. a forest.", {"json": 1}),
        ('["A red fox.", "Snow."]', "A red fox. Snow.", {"json": 1}),
        ('{"caption": "A red fox stands in th', "A red fox stands in th", {"json": 1}),
        ('"A red fox."', "A red fox.", {"quotes": 1}),
        ("<|im_start|>assistant\nA red fox.<|im_end|>", "A red fox.", {"token": 2}),
        ("A fox.<br>Snow.", "A fox. Snow.", {"html": 1}),
        ("◁think▷hm◁/think▷A red fox.", "A red fox.", {"think": 1}),
        (
            "<|channel|>analysis<|message|>A fox?<|end|><|start|>assistant<|channel|>final<|message|>A red fox.",
            "A red fox.",
            {"think": 1, "token": 3},
        ),
        ("A red fox.<|endoftext|>Human: and then?", "A red fox.", {"token": 1}),
        (
            "Here you go: a caption.\n\n> A red fox.\n> Snow.",
            "A red fox. Snow.",
            {"opening": 1, "quote_mark": 2},
        ),
        (
            '```json\n{"caption": "A red fox.", "objects": ["fox"]}\n```\nLet me know if you need more.',
            "A red fox.",
            {"fence": 2, "json": 1},
        ),
        ("{'caption': 'A red fox.'}", "A red fox.", {"json": 1}),
        ("Title: The Fox\nDescription: A red fox.", "A red fox.", {"heading": 1, "label": 1}),
        (
            "| Thing | Colour |\n|---|---|\n| fox | red |\n| sky | grey |",
            "fox: red. sky: grey.",
            {"table": 1},
        ),
        ("A red fox &amp; snow.\\n\\nIt&#39;s cold.", "A red fox & snow. It's cold.", {}),
        ("Okay, let's describe this. A red fox.", "A red fox.", {"opening": 2}),
        ("当然！以下是图片的详细描述：\n\n一只狐狸。", "一只狐狸。", {"opening": 2}),
        ("Natürlich! Hier ist eine Beschreibung des Bildes: Ein Fuchs.", "Ein Fuchs.", {"opening": 2}),
        ("Bien sûr ! Voici une description : Un renard.", "Un renard.", {"opening": 2}),
        ("A red fox. (Word count: 3)", "A red fox.", {"closing": 1}),
        ("A red fox. #fox #snow", "A red fox.", {"closing": 1}),
        ("See [the fox](https://x.org/a) ![](b.png)run.", "See the fox run.", {"link": 2}),
    ],
)
def test_what_is_taken_off_and_counted(answer: str, text: str, removed: dict[str, int]):
    cleaned = clean(answer)
    assert (cleaned.text, cleaned.removed) == (text, removed)


@pytest.mark.parametrize(
    "text",
    [
        'A sign reads "**** Sure! Here is more."',
        "A cat_and_dog.png label, 3*4*5 crates and a_b.",
        "Two men (one in a hat) wait. A third one, 1.80 m tall, sleeps.",
        "I'm sorry, I can't describe this image.",
        "Great waves break on the shore. Sure enough, a gull waits.",
        "A plate with the words [SALE] and {50 %}.",
        "Here is a street that leads uphill.",
        "Thank you cards lie on a desk.",
        "A door with the words #12. If you look closely, a cat hides behind it.",
        "A poster that reads: {50 %}. A > sign | a bar.",
    ],
)
def test_what_is_left_alone(text: str):
    assert clean(text).text == text
    assert clean(text).removed == {}


def test_what_was_removed_is_one_line_of_the_checks():
    assert clean("# Fox\n# Hare\n<think>x</think>A fox.").check() == "heading 2, think 1"
    assert clean("A fox.").check() == ""


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet='aB .!*_#`\n{}"[]<>/|:-think', max_size=60))
def test_cleaning_never_fails_and_its_text_is_one_paragraph(answer: str):
    text = clean(answer).text
    assert text == " ".join(text.split())
