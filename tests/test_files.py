"""Files appear whole or not at all."""

import errno
import multiprocessing
import os
import weakref

import pytest
import yaml

from cycle.files import (
    atomic_dir,
    atomic_write,
    digest,
    identity,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
    write_text,
    write_tsv,
    write_yaml,
)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "a"
    write_text(file, "old")
    with pytest.raises(ValueError, match="oops"), atomic_write(file) as handle:
        handle.write("half")
        raise ValueError("oops")
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_a_failed_folder_leaves_the_old_one(tmp_path):
    folder = tmp_path / "f"
    with atomic_dir(folder) as new:
        write_text(new / "a", "1")
    with pytest.raises(KeyboardInterrupt), atomic_dir(folder) as new:
        write_text(new / "b", "2")
        raise KeyboardInterrupt
    assert [p.name for p in folder.iterdir()] == ["a"] and list(tmp_path.iterdir()) == [folder]


def test_a_link_to_a_folder_stays_one(tmp_path):
    far = tmp_path / "far"
    (far / "f").mkdir(parents=True)
    (tmp_path / "f").symlink_to(far / "f")
    with atomic_dir(tmp_path / "f") as new:
        write_text(new / "a", "1")
    assert (tmp_path / "f").is_symlink() and (far / "f/a").read_text() == "1" and list(far.iterdir()) == [far / "f"]


def test_two_may_make_one_folder_at_once(tmp_path, monkeypatch):
    """Whoever ends last has it; what a killed process has left goes."""
    folder = tmp_path / "f"
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_make, [folder] * 40, chunksize=1)
    assert [p.name for p in folder.iterdir()] == ["a"] and list(tmp_path.iterdir()) == [folder]
    gone = multiprocessing.get_context("fork").Process(target=_begin, args=(folder,))
    gone.start()
    gone.join()
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_dir(folder) as new:
        write_text(new / "b", "2")
    assert [p.name for p in folder.iterdir()] == ["b"] and list(tmp_path.iterdir()) == [folder]


def _make(folder):
    with atomic_dir(folder) as new:
        write_text(new / "a", "1")


def _begin(folder):
    with atomic_dir(folder):
        os._exit(1)


def test_a_full_disk_is_told_whatever_the_library_says(tmp_path, monkeypatch):
    monkeypatch.setattr("cycle.files.shutil.disk_usage", lambda _: type("Usage", (), {"free": 0}))
    with pytest.raises(OSError, match="No space left") as caught, atomic_write(tmp_path / "a"):
        raise RuntimeError("PytorchStreamWriter failed writing file")
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(tmp_path / "a")


def test_a_file_is_the_same_by_another_name_and_another_with_other_content(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    write_text(one, "1")
    was = identity(one)
    one.rename(two)
    assert was is not None and identity(two) == was and identity(one) is None
    write_text(two, "2")
    assert identity(two) not in (None, was)


def test_yaml_is_plain(tmp_path):
    values = {"b": [1, 2.0e-3, None, "no", "1e3", "中 😀"], "a": {"long": "x " * 200, "empty": {}}, "c": True}
    write_yaml(tmp_path / "a.yaml", values, sort_keys=False)
    assert yaml.safe_load((tmp_path / "a.yaml").read_text()) == values
    assert (tmp_path / "a.yaml").read_text().startswith("b:") and "中" in (tmp_path / "a.yaml").read_text()


def test_round_trips(tmp_path):
    write_json(tmp_path / "a.json", {"中": [1, None]})
    assert read_json(tmp_path / "a.json") == {"中": [1, None]}
    write_jsonl(tmp_path / "a.jsonl", [{"a": 1}, {"a": 2}])
    assert read_jsonl(tmp_path / "a.jsonl") == [{"a": 1}, {"a": 2}]
    write_tsv(tmp_path / "a.tsv", ("x", "y"), [("tab\there", "line\nbreak")])
    assert (tmp_path / "a.tsv").read_text() == "x\ty\ntab here\tline break\n"


class Field:
    """Something to print that can be watched."""


def test_rows_are_written_one_by_one(tmp_path):
    """A selection of a million utterances has a million rows."""
    alive = weakref.WeakSet()

    def rows():
        for _ in range(50):
            field = Field()
            alive.add(field)
            yield (field,)
            del field
            assert len(alive) <= 2

    write_tsv(tmp_path / "a.tsv", ("x",), rows())
    assert len((tmp_path / "a.tsv").read_text().splitlines()) == 51


def test_digest_sees_names_and_contents(tmp_path):
    write_text(tmp_path / "d/a", "1")
    first = digest([tmp_path / "d"])
    assert digest([tmp_path / "d"]) == first
    write_text(tmp_path / "d/a", "2")
    second = digest([tmp_path / "d"])
    (tmp_path / "d/a").rename(tmp_path / "d/b")
    assert len({first, second, digest([tmp_path / "d"])}) == 3
