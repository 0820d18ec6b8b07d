"""The small world of `mini`: who does what, when and where, in Mandarin."""

from __future__ import annotations

from functools import cache
from itertools import product

from cycle.data.pool import rank
from cycle.data.text import spelling
from cycle.errors import UserError

WHEN = ["", "今天", "明天", "昨天", "早上", "晚上", "下午", "现在"]
WHO = ["我", "你", "他", "我们", "小明", "小红", "老师", "医生", "同学", "朋友", "哥哥", "奶奶"]
WHERE = ["", "在家", "在学校", "在公园", "在北京", "在海边"]
WHAT = {
    "喝": ["茶", "水", "牛奶", "咖啡"],
    "吃": ["饭", "鱼", "面条", "苹果", "水果"],
    "看": ["书", "花", "电影", "报纸"],
    "买": ["菜", "票", "鱼", "衣服", "手机"],
    "写": ["字", "信", "汉字"],
    "学": ["汉语", "音乐", "唱歌"],
    "找": ["狗", "我们", "手机", "朋友"],
    "画": ["山", "鸟", "花", "小狗"],
}
LONGEST = 7  # syllables: short sentences keep training quick


@cache
def sentences() -> tuple[str, ...]:
    """All sentences of three to seven syllables with distinct readings, in the order of the pools' ranks."""
    deeds = [verb + thing for verb, things in WHAT.items() for thing in things]
    spell = spelling("cmn").spell
    by_tokens: dict[str, str] = {}
    for when, who, where, deed in product(WHEN, WHO, WHERE, deeds):
        for sentence in {when + who + where + deed, who + when + where + deed}:
            if 3 <= len(sentence) <= LONGEST:
                by_tokens.setdefault(" ".join(spell(sentence)), sentence)
    return tuple(by_tokens[tokens] for tokens in sorted(by_tokens, key=rank))


def both_ends(low: int, high: int) -> list[str]:
    """The first `low` sentences and the last `high`: what the pools take, which are filled from both ends.

    Raises:
        UserError: the world is not that large.
    """
    world = sentences()
    if low + high > len(world):
        what = f"mini has {len(world)} sentences, {low + high} recordings are asked for"
        raise UserError(what, "pools", "set smaller sizes: -- pools.paired=N pools.speech=N")
    return [*world[:low], *world[len(world) - high :]]
