from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from cycle import check, config, prepare
from cycle.data import kaldi
from cycle.errors import UserError
from cycle.yaml_file import read_yaml
from local import archives
from local.mandarin import jieba_dictionary, jieba_words
from tests.tiny_corpus import experiment, tone

WORDS = ["银行", "学生", "老师", "电影", "苹果", "一会儿", "东西", "喜欢", "漂亮", "计算机", "勤工俭学", "学声"]
ODD = ["一_也_", "爱", "中华人民共和国", "ABC", "除了_以外"]
OPTIONS = read_yaml(config.ROOT / "egs/hsk/conf.yaml")["corpus"]["options"]


def hsk(folder: Path) -> Path:
    for word in WORDS + ODD:
        tone(folder / f"cmn-{word}.mp3", fs=22050)
    return folder


@pytest.mark.parametrize("where", ["", "hsk", "24k-abr/hsk", "64k/hsk", "96k/hsk"])
def test_any_folder_of_the_corpus_will_do(tmp_path, where):
    hsk(tmp_path / where)
    utts = list(prepare.recipe("hsk").utterances(tmp_path, "all", OPTIONS))
    assert sorted(u.text for u in utts) == sorted(WORDS)


def test_a_folder_of_a_quality_will_do(tmp_path):
    hsk(tmp_path / "64k" / "hsk")
    assert len(list(prepare.recipe("hsk").utterances(tmp_path / "64k", "all", OPTIONS))) == len(WORDS)


def test_another_corpus_is_refused(tmp_path):
    tone(tmp_path / "a.wav")
    with pytest.raises(UserError, match="holds no hsk recordings"):
        prepare.main(experiment(tmp_path / "exp", tmp_path, "hsk", OPTIONS))


def test_pools_keep_their_secrets(tmp_path):
    exp = experiment(tmp_path / "exp", hsk(tmp_path / "hsk"), "hsk", OPTIONS, text=300)
    prepare.main(exp)
    assert check.faults(exp.path) == []
    truth = kaldi.read_table(exp.oracle / "speech" / "text")
    tokens = {name: set(kaldi.read_tokens(exp.data(name)).values()) for name in ("paired", "text", "dev", "test")}
    tokens["speech"] = set(kaldi.read_tokens(exp.oracle / "speech").values())
    for a, b in itertools.combinations(tokens, 2):
        assert not tokens[a] & tokens[b] or {a, b} == {"paired", "text"}, (a, b)
    for name, word in truth.items():
        assert word not in name
        for path in exp.data("speech").iterdir():
            assert path.name == "wav.scp" or word not in path.read_text(encoding="utf-8")


def test_the_text_pool_is_a_fixed_draw_of_plain_words():
    words = list(itertools.islice(jieba_words(2, 4, 0.5), 2000))
    assert len(set(words)) == 2000
    assert all(2 <= len(word) <= 4 for word in words)
    frequent = list(itertools.islice(jieba_words(2, 2, 20), 10))
    assert {"一个", "没有"} <= set(frequent)  # high powers take the most frequent
    assert "中国" not in frequent  # a name


def test_jieba_is_read_and_not_imported():
    code = "from local.mandarin import jieba_dictionary; jieba_dictionary(); import sys; print('jieba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert jieba_dictionary().stat().st_size > 4e6


@pytest.fixture
def repository(tmp_path) -> str:
    """A stand-in for the public repository, reached by git like it."""
    source = tmp_path / "upstream"
    hsk(source / "24k-abr" / "hsk")
    git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run(git + command, check=True)
    return source.as_uri()


def test_fetch_clones_once(tmp_path, repository):
    exp = experiment(tmp_path / "exp", None, "hsk", {**OPTIONS, "url": repository})
    aside = exp.path / ".corpus.clone"
    aside.mkdir(parents=True)
    (aside / "half").write_text("what a killed clone left")
    prepare.main(exp)
    assert check.faults(exp.path) == []
    assert not aside.exists()
    prepare.main(experiment(tmp_path / "exp", None, "hsk", {**OPTIONS, "url": "file:///gone"}))


def test_no_network_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"git cannot clone it .*--data DIR") as caught:
        archives.clone((tmp_path / "gone").as_uri(), tmp_path / "corpus")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_no_git_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"git is not installed; .*--data DIR"):
        archives.clone("https://example.invalid/x", tmp_path / "corpus")
