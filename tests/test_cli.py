"""The command: what it writes and prints, its exit codes, and that it goes on after it was stopped."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from deepcluster_sk import image_paths, load
from deepcluster_sk.cli import main

SHORT = ("--n-clusters", "3", "--max-epochs", "2", "--quiet")
DAMAGED = {"broken.png": b"text", "0020.jpg": b""}


@pytest.fixture(scope="module")
def photos(digits, tmp_path_factory):
    """Sixty digits as files, in two folders, and two files that are no images in spite of their names."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    X, y = digits
    for i, image in enumerate(X[y < 3][:60]):
        Image.fromarray((image * 255).astype(np.uint8)).save(
            folder / f"sub/{i:04}.png" if i % 2 else folder / f"{i:04}.png"
        )
    for name, content in DAMAGED.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def result(photos, tmp_path_factory):
    """What the command makes of them."""
    result = tmp_path_factory.mktemp("made") / "result"
    assert main(["cluster", str(photos), "--out", str(result), *SHORT, "--sort", "copy"]) == 0
    return result


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_cluster_writes_labels_model_and_report(photos, result, capsys):
    rows = rows_of(result / "labels.csv")
    readable = [path for path in image_paths(photos) if Path(path).name not in DAMAGED]
    estimator = load(result)
    assert_array_equal(load(result / "model/model.safetensors").labels_, estimator.labels_)
    assert [row["path"] for row in rows] == readable == estimator.paths_
    assert_array_equal([int(row["cluster"]) for row in rows], estimator.labels_)
    proba = estimator.predict_proba(readable)
    assert_allclose([float(row["confidence"]) for row in rows], proba.max(axis=1), atol=1e-4)
    assert (result / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert sorted(path.name for path in result.iterdir()) == ["clusters", "labels.csv", "model", "report.html"]


def test_sorted_copies_lie_in_the_folders_of_their_clusters(photos, result):
    for row in rows_of(result / "labels.csv"):
        copied = result / "clusters" / row["cluster"] / Path(row["path"]).relative_to(photos)
        assert copied.read_bytes() == Path(row["path"]).read_bytes()
        assert not copied.is_symlink()
    assert len(image_paths(result / "clusters")) == 60


def test_damaged_files_are_named(photos, tmp_path, capsys):
    assert main(["cluster", str(photos), "--out", str(tmp_path), *SHORT, "--sort", "link"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    for name in DAMAGED:
        assert f"deepcluster-sk: skipped {str(photos / name)!r}: UnidentifiedImageError" in err
        assert name in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"60 images in 3 clusters; open {tmp_path / 'report.html'} in a browser" in err
    links = list((tmp_path / "clusters").rglob("*.png"))
    assert len(links) == 60
    assert all(link.is_symlink() and link.exists() for link in links)


def test_damaged_files_stop_it_where_that_is_asked_for(photos, tmp_path, capsys):
    assert main(["cluster", str(photos), "--out", str(tmp_path / "result"), *SHORT, "--on-error", "raise"]) == 1
    assert "error: X has 2 of 62 files that cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "result").exists()


def test_progress_goes_to_stderr(photos, tmp_path, capsys):
    loud = [option for option in SHORT if option != "--quiet"]
    assert main(["cluster", str(photos), "--out", str(tmp_path), *loud, "--method", "dac"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "reading images: 62" in err
    assert "DAC epoch 2/2" in err


def test_a_result_is_replaced_only_where_that_is_asked_for(photos, result, capsys):
    before = (result / "labels.csv").read_bytes()
    assert main(["cluster", str(photos), "--out", str(result), *SHORT]) == 1
    assert f"--out={result} has a result already; --overwrite trains anew and replaces it" in capsys.readouterr().err
    assert main(["cluster", str(photos), "--out", str(result), *SHORT, "--sort", "copy", "--overwrite"]) == 0
    assert (result / "labels.csv").read_bytes() == before


@pytest.mark.parametrize("how", ["copy", "link"])
def test_an_earlier_result_among_the_photos_is_not_clustered(how, photos, tmp_path, capsys):
    for path in list(photos.glob("*.png"))[:20]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    names = sorted(path.name for path in tmp_path.glob("*.png") if path.name not in DAMAGED)
    result = tmp_path / "result"
    for _ in range(2):
        assert main(["cluster", str(tmp_path), "--out", str(result), *SHORT, "--sort", how, "--overwrite"]) == 0
        assert [row["path"] for row in rows_of(result / "labels.csv")] == [str(tmp_path / name) for name in names]
    assert main(["predict", str(result), str(tmp_path), "--out", str(tmp_path / "again.csv")]) == 0
    assert rows_of(tmp_path / "again.csv") == rows_of(result / "labels.csv")


def test_predict_prints_what_cluster_found(photos, result, capsys):
    for model in (result, result / "model", result / "model/model.safetensors"):
        assert main(["predict", str(model), str(photos)]) == 0
        out, err = capsys.readouterr()
        assert out == (result / "labels.csv").read_text()
        assert "skipped" in err


def test_predict_writes_a_file(photos, result, tmp_path):
    assert main(["predict", str(result), str(photos / "sub"), "--out", str(tmp_path / "more.csv")]) == 0
    of_sub = [row for row in rows_of(result / "labels.csv") if Path(row["path"]).parent.name == "sub"]
    assert rows_of(tmp_path / "more.csv") == of_sub


def test_report_is_of_the_training_images_or_of_others(photos, result, tmp_path, capsys):
    first = (result / "report.html").read_text(encoding="utf-8")
    (result / "report.html").unlink()
    assert main(["report", str(result)]) == 0
    assert len((result / "report.html").read_text(encoding="utf-8")) == pytest.approx(len(first), rel=0.05)
    assert main(["report", str(result), str(photos / "sub"), "--out", str(tmp_path / "sub.html")]) == 0
    assert (tmp_path / "sub.html").exists()
    assert main(["report", str(result / "model/model.safetensors")]) == 1
    assert "--out must be given" in capsys.readouterr().err


def test_names_of_clusters_stand_in_the_table(photos, result, tmp_path):
    estimator = load(result).rename_clusters({0: "first, and best"})
    estimator.save(tmp_path / "named")
    assert main(["predict", str(tmp_path / "named"), str(photos), "--out", str(tmp_path / "named.csv")]) == 0
    rows = rows_of(tmp_path / "named.csv")
    assert {row["name"] for row in rows if row["cluster"] == "0"} == {"first, and best"}
    assert {row["name"] for row in rows if row["cluster"] == "1"} == {"1"}


@pytest.mark.parametrize(
    ("arguments", "status", "needed"),
    [
        (["cluster", "nowhere", "--out", "result", "-k", "3"], 1, "PHOTOS=nowhere must be a folder that exists"),
        (["cluster", "EMPTY", "--out", "result", "-k", "3"], 1, "must have image files in it, and has none"),
        (["cluster", "PHOTOS", "--out", "result", "-k", "0"], 1, "n_clusters=0 must be an integer in"),
        (
            ["cluster", "PHOTOS", "--out", "result", "-k", "3", "--max-epochs", "0"],
            1,
            "max_epochs=0 must be None or an integer",
        ),
        (
            ["cluster", "PHOTOS", "--out", "result", "-k", "3", "--image-size", "0"],
            1,
            "image_size=0 must be None, an integer",
        ),
        (["predict", "RESULT", "EMPTY"], 1, "must have image files in it, and has none"),
        (["cluster", "PHOTOS", "--out", "result", "-k", "99"], 1, "n_clusters=99 must not exceed n_samples=60"),
        (["cluster", "PHOTOS", "--out", "result", "-k", "3", "--device", "abacus"], 1, "device='abacus' must be"),
        (["predict", "nowhere", "PHOTOS"], 1, "MODEL=nowhere must be a folder"),
        (["predict", "PHOTOS", "PHOTOS"], 1, 'must be a folder that "cluster" made'),
        (["cluster", "PHOTOS"], 2, "the following arguments are required: --out, -k/--n-clusters"),
        (["cluster", "PHOTOS", "--out", "result", "--method", "kmeans"], 2, "invalid choice: 'kmeans'"),
        (["cluster", "PHOTOS", "--out", "result", "-k", "many"], 2, "invalid int value: 'many'"),
        ([], 2, "required"),
    ],
)
def test_what_it_cannot_do_is_said_in_a_line(arguments, status, needed, photos, result, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    places = {"PHOTOS": str(photos), "RESULT": str(result), "EMPTY": str(tmp_path / "empty")}
    arguments = [places.get(argument, argument) for argument in arguments]
    if status == 2:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    else:
        assert main(arguments) == status
    err = capsys.readouterr().err
    assert needed in err
    assert "Traceback" not in err
    assert not (tmp_path / "result").exists()


@pytest.mark.parametrize("arguments", [["--help"], ["cluster", "--help"], ["predict", "--help"], ["report", "--help"]])
def test_help_names_every_option(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "PHOTOS" in shown or "photos" in shown
    assert max(map(len, shown.splitlines())) <= 100


def run(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "deepcluster_sk.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_command_that_was_interrupted_goes_on_where_it_was(photos, tmp_path):
    arguments = ["cluster", str(photos), "--out", str(tmp_path / "result"), "--n-clusters", "3", "--max-epochs", "40"]
    # Where the tests run in the background, a shell has made processes ignore Ctrl-C.
    process = run(*arguments, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    for line in process.stderr:  # until some epochs are over
        if "epoch 5/" in line:
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "stopped; the same command goes on where it was" in err
    assert not (tmp_path / "result/labels.csv").exists()
    again = run(*arguments)
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert "warm-up epoch 1/" not in err
    assert not (tmp_path / "result/.unfinished").exists()
    assert len(rows_of(tmp_path / "result/labels.csv")) == 60


def test_printing_to_a_pipe_that_is_closed_is_no_error(photos, result):
    process = run("predict", str(result), str(photos))
    process.stdout.close()
    with process.stderr:
        err = process.stderr.read()
    assert process.wait(timeout=120) == 1
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


def test_folders_that_the_command_did_not_make_are_left_alone(photos, tmp_path, capsys):
    (tmp_path / "clusters").mkdir()
    (tmp_path / "clusters/precious.txt").write_text("mine")
    assert main(["cluster", str(photos), "--out", str(tmp_path), *SHORT, "--sort", "copy"]) == 1
    assert "has a folder 'clusters' that this command did not make" in capsys.readouterr().err
    assert (tmp_path / "clusters/precious.txt").read_text() == "mine"


def test_a_command_that_was_interrupted_while_it_sorted_goes_on(photos, tmp_path, monkeypatch, capsys):
    n_copied = []

    def copy(source, target):
        n_copied.append(source)
        if len(n_copied) == 5:
            raise KeyboardInterrupt
        Path(target).write_bytes(Path(source).read_bytes())

    arguments = ["cluster", str(photos), "--out", str(tmp_path), *SHORT, "--sort", "copy"]
    with monkeypatch.context() as patched:
        patched.setattr("deepcluster_sk.cli.shutil.copy2", copy)
        assert main(arguments) == 130
    assert not (tmp_path / "labels.csv").exists()
    assert main(arguments) == 0
    assert len(image_paths(tmp_path / "clusters")) == 60


def test_nothing_of_an_earlier_result_is_left(photos, tmp_path):
    out = ["--out", str(tmp_path), "--max-epochs", "2", "--quiet", "--overwrite"]
    assert main(["cluster", str(photos), *out, "-k", "3", "--sort", "copy"]) == 0
    assert main(["cluster", str(photos), *out, "-k", "2"]) == 0
    assert not (tmp_path / "clusters").exists()
    assert {row["cluster"] for row in rows_of(tmp_path / "labels.csv")} == {"0", "1"}


def test_photos_may_be_the_folder_of_the_result(photos, tmp_path):
    for path in list((photos / "sub").glob("*.png"))[:20]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert main(["cluster", str(tmp_path), "--out", str(tmp_path), *SHORT]) == 0
    assert len(rows_of(tmp_path / "labels.csv")) == 20


def test_a_report_on_photos_that_went_away_asks_for_others(photos, result, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("deepcluster_sk.cli.load", lambda path: _Loaded())
    assert main(["report", str(result)]) == 1
    assert "PHOTOS must be given: 'away/1.png' and the others are not where they were" in capsys.readouterr().err


class _Loaded:
    paths_ = ("away/1.png", "away/2.png")

    def set_params(self, **params):
        return self
