"""Sentences of many languages: where each ends, and where none does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supir_caption.splitting import count_words, end_mark, split_sentences


@pytest.mark.parametrize(
    "expected",
    [
        ["A fox behind Mr. Fox.", "Snow lies at 3 p.m. on St. Moritz.", "Is it cold?", "Yes!"],
        ["It costs 3.50 dollars...", "The end."],
        ["The house was built in 1990.", "It has a red roof, etc.", "A cat sleeps."],
        ['A sign reads "Stop. Go home." in red.', "A man waits."],
        ["He waves (a hat is in his hand. It is red) and smiles.", "Then he goes."],
        ["The shop is called J. R. Miller.", "It is closed."],
        ["Am 3. Oktober wehen z. B. Fahnen vor dem Haus.", "Es regnet."],
        ["Ein Schild am 12. Mai.", "Über dem Tor steht Nr. 5.", "Äpfel liegen da."],
        ["Une femme tricote.", "À côté, un chat dort.", "« Bonjour. Entrez. » est écrit sur la porte."],
        ["Un niño juega.", "¿Dónde está su perro?", "¡Allí!"],
        ["Собака бежит по ул. Ленина.", "Рядом стоит дом."],
        ["这是一只猫。", "它坐在窗台上！", "外面下雪吗？"],
        ["赤い鳥居がある。", "「止まれ。」と書いてある。", "雪が降る。"],
        ["एक लड़का खेल रहा है।", "पीछे पहाड़ हैं।"],
        ["رجل يجلس على كرسي.", "أين الكلب؟", "أمام المتجر شجرة."],
        ["ایک لڑکا کھڑا ہے۔", "اس کے پیچھے درخت ہے۔"],
        ["Ένας άντρας κάθεται.", "Πού είναι ο σκύλος;", "Εκεί."],
        ["Մարդը նստած է։", "Շունը քնած է։"],
        ["강가에 남자가 서 있다.", "옆에 개가 있다."],
        ["ผู้ชายนั่งอยู่ริมแม่น้ำ"],
    ],
)
def test_sentences_end_where_their_language_ends_them(expected: list[str]):
    glue = "" if expected[0][-1] in "。！？" else " "
    assert split_sentences(glue.join(expected)) == expected


def test_no_text_has_no_sentence():
    assert split_sentences(" ") == []


def test_the_mark_and_the_words_of_a_script():
    assert [end_mark(text) for text in ("A fox.", "狐。", "लड़का।", "fox")] == [".", "。", "।", "."]
    assert [count_words(text) for text in ("a red fox", "赤い狐が", "two 猫")] == [3, 2, 2]


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet='aB1 .!?。"(«»)…', max_size=40))
def test_nothing_is_lost(text: str):
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())
