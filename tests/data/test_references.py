"""Several texts an utterance: on disk, in a stream, in `check`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cycle import check, prepare
from cycle.data import captions, kaldi
from cycle.data.features import ShardWriter
from cycle.data.intake import Intake
from cycle.data.pool import Item
from cycle.data.rejects import Rejects
from cycle.data.text import spelling
from cycle.data.types import Utterance
from cycle.errors import UserError
from cycle.exchange.pools import described, references
from tests.egs.test_captioning import experiment
from tests.tiny_corpus import tone

TEXTS = {"a": ["a dog", 'it "barks", loudly', "狗 叫"], "b": ["rain"]}


def directory(folder: Path) -> Path:
    utts = [Utterance(k, "-", tone(folder.parent / f"{k}.wav"), texts[0], 1.5, tuple(texts[1:])) for k, texts in TEXTS.items()]
    kaldi.write(folder, utts, {k: texts[0] for k, texts in TEXTS.items()}, TEXTS)
    return folder


def test_what_is_written_is_read(tmp_path: Path) -> None:
    folder = directory(tmp_path / "data")
    assert kaldi.read_references(folder) == TEXTS
    assert check.faults(folder) == []
    (folder / "references").unlink()
    assert kaldi.read_references(folder) == {"a": ["a dog"], "b": ["rain"]}


@pytest.mark.parametrize("value", ["a dog", "[]", '["a", ""]', '{"a": 1}', '["a", 1]', '["open'])
def test_a_malformed_line_is_named(tmp_path: Path, value: str) -> None:
    folder = directory(tmp_path / "data")
    (folder / "references").write_text(f'a ["a dog"]\nb {value}\n')
    with pytest.raises(UserError, match=r"references:2: b has no list of texts"):
        kaldi.read_references(folder)
    found = check.faults(folder)
    assert [(fault.file.name, fault.line) for fault in found] == [("references", 2)]


def test_check_misses_the_own_text(tmp_path: Path) -> None:
    folder = directory(tmp_path / "data")
    (folder / "references").write_text('a ["another"]\nb ["rain"]\n')
    assert [fault.what for fault in check.faults(folder)] == ["a lacks its own text in tokens"]
    (folder / "references").write_text('b ["rain"]\n')
    assert "a is not in references" in check.faults(folder)[0].what


def test_a_stream_has_every_text_once(tmp_path: Path) -> None:
    exp = experiment(tmp_path / "exp", "scenes")
    directory(exp.data("paired"))
    writer = ShardWriter(exp.feats("paired"), 0)
    for key, frames in (("a", 3), ("b", 5)):
        writer.add(key, np.full((frames, 2), frames, np.float32), spk="-", text=TEXTS[key][0])
    writer.close()
    stream = described(exp, "paired")
    assert list(zip(stream.utt_ids, stream.texts, stream.frames.tolist(), strict=True)) == [
        ("a", "a dog", 3), ("a", 'it "barks", loudly', 3), ("a", "狗 叫", 3), ("b", "rain", 5),
    ]  # fmt: skip
    assert stream.store is not None and stream.store.feats(stream.rows[2]).shape == (3, 2)
    assert references(exp, "paired") == TEXTS


def test_empty_texts_are_left_out_and_the_first_other_one_stands(tmp_path: Path) -> None:
    exp, rejects = experiment(tmp_path / "exp", "scenes"), Rejects()
    intake = Intake(spelling("captions"), exp.config.features, rejects)
    long = tone(tmp_path / "long.wav", 19.0)  # far longer than a word takes to say: captions only describe
    given = [Utterance("a", "-", long, " ", None, ("", "A dog!", "...")), Utterance("b", "-", tone(tmp_path / "b.wav"), "!", None, ("?",))]
    (item,) = intake.recorded(given, "paired", set())
    assert (item.tokens, item.others, item.utt.text, item.utt.seconds) == ("a dog", (), "A dog!", 19.0)
    assert rejects.reasons == {"empty text": 1} or "empty text" in str(rejects.reasons)


def test_a_caption_file_in_either_form(tmp_path: Path) -> None:
    wide, tall = tmp_path / "wide.csv", tmp_path / "tall.csv"
    wide.write_bytes('\ufefffile_name,caption_1,note,caption_2\r\n"x, 1.wav","He said ""no"",\r\ntwice",-,ü\r\n\r\ny.wav,,-,\r\n'.encode())
    tall.write_text('id,youtube_id,caption\n1,x,"a, b"\n2,y,c\n3,x,d\n')
    assert captions.read(wide) == {"x, 1.wav": ['He said "no",\r\ntwice', "ü"], "y.wav": []}
    assert captions.read(tall) == {"x": ["a, b", "d"], "y": ["c"]}
    clips = list(captions.clips(wide, tmp_path))
    assert [(u.utt_id, u.text, u.others) for u in clips] == [("x,_1", 'He said "no",\r\ntwice', ("ü",)), ("y", None, ())]
    latin = tmp_path / "latin.csv"
    latin.write_bytes("file_name,caption\nx,é\n".encode("latin-1"))
    for path, said in ((latin, "is not UTF-8"), (tmp_path / "none.csv", "cannot be read")):
        with pytest.raises(UserError, match=said):
            captions.read(path)


def test_the_speech_pool_keeps_its_texts_to_itself(tmp_path: Path) -> None:
    exp = experiment(tmp_path / "exp", "scenes")
    utt = Utterance("a", "-", tone(tmp_path / "a.wav"), "A dog", 1.5, ("a dog barks",))
    prepare.write(exp, {"speech": [Item(utt, "a dog", ("a dog barks",))], "paired": [Item(utt, "a dog", ("a dog barks",))]})
    assert sorted(p.name for p in exp.data("speech").iterdir()) == ["spk2utt", "utt2dur", "utt2spk", "wav.scp"]
    assert kaldi.read_references(exp.data("paired")) == {"a": ["a dog", "a dog barks"]}
