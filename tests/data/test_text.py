import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycle.data import g2p
from cycle.data.text import NoReading, Pronounced, spelling
from cycle.errors import UserError

cmn = spelling("cmn")
letters = spelling("letters")


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("中国", "zh ong 1 g uo 2"),
        ("女儿学月", "n v 3 er 2 x ve 2 ve 4"),  # ü is v, zero initials have no token, the neutral tone is 5
        ("云有为", "vn 2 iou 3 uei 2"),  # strict finals: yun, you, wei
        ("银行，不行！", "in 2 h ang 2 b u 4 x ing 2"),  # one character, two readings, by phrase
        ("重庆很重要", "ch ong 2 q ing 4 h en 3 zh ong 4 iao 4"),
        ("嗯", "n 2"),
        (" 我 们\t", "uo 3 m en 5"),
        ("……。", ""),
        ("〇", "l ing 2"),
        ("卡拉OK", "k a 3 l a 1 O K"),
        ("Ａ股涨3cm", "A g u 3 zh ang 3 s an 1 C M"),
    ],
)
def test_mandarin_tokens(text, tokens):
    assert " ".join(cmn.spell(text)) == tokens


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3个", "三个"),
        ("10", "十"),
        ("12", "十二"),
        ("20", "二十"),
        ("105", "一百零五"),
        ("1010", "一千零一十"),
        ("2000", "二千"),
        ("0", "零"),
        ("007", "零零七"),  # a code, not a count
        ("13800", "一三八零零"),
        ("2008年", "二零零八年"),
        ("12年", "十二年"),
        ("3.14", "三点一四"),
        ("1,000元", "一千元"),
        ("12,345.6", "一万二千三百四十五点六"),
        ("10,010", "一万零一十"),
        ("1,000,000人", "一百万人"),
        ("1,000,010,000", "十亿零一万"),
        ("30,015,000", "三千零一万五千"),
        ("210,000", "二十一万"),
        ("100,100,000", "一亿零一十万"),
        ("5%", "百分之五"),
        ("１２", "十二"),
        ("《你好》—“世界”~", "你好世界"),
    ],
)
def test_mandarin_reads_numbers_and_drops_punctuation(text, said):
    assert cmn.normalize(text) == said


@pytest.mark.parametrize(
    ("text", "char"), [("ñ股", "ñ"), ("好@", "@"), ("α", "α"), ("10℃", "°"), ("１＋１", "+"), ("\U0002a700", "\U0002a700")]
)
def test_a_character_without_reading_is_named(text, char):
    with pytest.raises(NoReading) as caught:
        cmn.spell(text)
    assert caught.value.char == char
    assert isinstance(caught.value, UserError)
    assert f"U+{ord(char):04X}" in str(caught.value)


def test_unknown_language_names_the_known_ones():
    with pytest.raises(UserError, match="cmn, letters, characters"):
        spelling("xx")


def test_rates_of_mandarin():
    tokens = ["zh", "ong", "1", "g", "uo", "2", "iou", "3", "r", "en", "2"]
    assert cmn.metric == "syllable_error_rate"
    assert next(iter(cmn.rates)) == "syllable"
    assert cmn.rates["syllable"](tokens) == ["zhong1", "guo2", "iou3", "ren2"]
    assert cmn.rates["toneless"](tokens) == ["zhong", "guo", "iou", "ren"]
    assert cmn.rates["token"](tokens) == tokens


@pytest.mark.parametrize(
    ("tokens", "units"),
    [
        ("zh", ["zh"]),
        ("zh g uo 2", ["zh", "guo2"]),
        ("a 1 b", ["a1", "b"]),
        ("b <unk> a 1", ["b", "<unk>", "a1"]),
        ("zh ong g uo 2", ["zhong", "guo2"]),  # a tone not heard
        ("zh ong 1 2 uo", ["zhong1", "2", "uo"]),  # one too many
        ("a O K 4", ["a", "O", "K", "4"]),
        ("<unk>", ["<unk>"]),
        ("", []),
    ],
)
def test_ill_formed_output_keeps_every_orphan(tokens, units):
    assert g2p.syllables(tokens.split()) == units


@given(st.lists(st.sampled_from(["b", "zh", "n", "ong", "a", "er", "1", "5", "K", "<unk>", "|"])))
def test_no_token_is_lost_or_made_up(tokens):
    units = g2p.syllables(tokens)
    assert "".join(units) == "".join(tokens)
    whole = re.compile(r"(b|zh|n)?(ong|a|er)?[15]?|K|<unk>|\|")
    assert all(whole.fullmatch(unit) for unit in units)
    assert len(g2p.toneless(tokens)) == len(units)


@given(st.text(alphabet="中国银行重庆女儿一不了，。 12", max_size=12))
def test_one_syllable_a_character_and_spelling_is_stable(text):
    said = cmn.normalize(text)
    tokens = cmn.spell(text)
    assert len(cmn.rates["syllable"](tokens)) == len(said)
    assert cmn.normalize(said) == said
    assert cmn.spell(said) == tokens
    assert " ".join(tokens).split() == tokens


def test_no_token_is_ambiguous():
    """Initials, finals and tones are told apart by how they look: what joins them needs no table of syllables."""
    chars = [chr(code) for code in range(0x4E00, 0x5150)]
    said = {token for char in chars for token in cmn.spell(char)}
    assert {token for token in said if token.isdigit()} == set("12345")
    assert all(token.isalpha() and token.islower() for token in said if not token.isdigit())


def test_many_words_are_spelled_fast():
    import time

    words = [chr(a) + chr(b) for a in range(0x4E00, 0x4E40) for b in range(0x5200, 0x5240)]
    start = time.perf_counter()
    for word in words:
        cmn.spell(word)
    assert (time.perf_counter() - start) / len(words) < 60 / 349_000 * 2  # a dictionary in two minutes, on a busy machine


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Go on!", "g o | o n"),
        ("Don’t 'stop'", "d o n ' t | s t o p"),
        ("Straße", "s t r a s s e"),
        ("well-known  é", "w e l l | k n o w n | é"),
        ("हिन्दी", "ह ि न ् द ी"),
        ("한글 말", "ᄒ ᅡ ᆫ ᄀ ᅳ ᆯ | ᄆ ᅡ ᆯ"),
        ("soft\u00adware \u200fשלום", "s o f t w a r e | ש ל ו ם"),
        ("...", ""),
    ],
)
def test_letters(text, tokens):
    assert letters.spell(text) == tokens.split()


def test_scripts_without_spaces_count_characters():
    thai = spelling("characters")
    assert thai.metric == "character_error_rate" and list(thai.rates) == ["char"]
    assert thai.rates["char"](thai.spell("ก ข")) == ["ก", "ข"]


def test_a_recipe_may_pronounce_for_itself():
    italian = Pronounced(letters, lambda text: text.replace("chi", "K i ").split())
    assert italian.spell("CHI") == ["K", "i"] and italian.metric == "word_error_rate"
    with pytest.raises(UserError, match=r"pronounce\('a'\) holds None.*prepare.py|prepare.py.*pronounce\('a'\) holds None"):
        Pronounced(letters, lambda text: text).spell("a")
    with pytest.raises(UserError, match="holds 'a b'"):
        Pronounced(letters, lambda text: ["a b"]).spell("a")


def test_a_word_that_a_lexicon_lacks_has_no_reading():
    with pytest.raises(NoReading, match="'boy' in 'the Boy' has no reading"):
        Pronounced(letters, lambda text: [{"the": "D"}[word] for word in text.split()]).spell("the Boy")


def test_rates_of_letters_survive_stray_boundaries():
    assert letters.metric == "word_error_rate"
    assert letters.rates["word"](["|", "a", "b", "|", "|", "c"]) == ["ab", "c"]
    assert letters.rates["char"](["a", "|"]) == ["a", "|"]
    with pytest.raises(NoReading, match="'4'"):
        letters.spell("4 words")


@given(st.text(alphabet="aÄß' ﬁ-.|", max_size=12).filter(lambda text: "|" not in text))
def test_letters_are_stable(text):
    said = letters.normalize(text)
    assert letters.normalize(said) == said
    assert letters.rates["word"](letters.spell(text)) == said.split()


@pytest.mark.parametrize("text", ["12:30", "1/2", "3-5个", "3~5", "2024-01-01", "１２：３０"])
def test_mandarin_guesses_no_times_fractions_and_ranges(text):
    with pytest.raises(NoReading):
        cmn.normalize(text)


def test_turkish_has_two_i():
    turkish = spelling("turkic")
    assert turkish.normalize("İYİ IŞIK I\u0307ki Iğdır") == "iyi ışık iki ığdır"
    assert turkish.metric == "word_error_rate" and spelling("letters").normalize("IŞIK") == "işik"


def test_accents_typed_for_apostrophes():
    assert letters.normalize("it´s `fine´") == "it's fine"


def test_spelling_starts_fast():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import cycle.prepare, cycle.check, sys; print([m for m in ('torch', 'jieba', 'espnet2') if m in sys.modules])",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
