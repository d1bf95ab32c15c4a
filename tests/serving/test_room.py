"""A server's folder: whose it is is found out before anything in it is touched."""

from pathlib import Path

import pytest
import sqlalchemy

from mcm.errors import UserError
from mcm.serving import serve as serve_module
from mcm.serving.config import ServeConfig
from mcm.serving.room import Room


def refused(folder: Path, told: str) -> None:
    """Check that a server does not start, and tells why before it loads a model."""
    with pytest.raises(UserError, match=told):
        serve_module.serve(ServeConfig(models=("nowhere",), folder=folder, port=0))


def test_a_room_is_taken_until_it_is_closed(tmp_path: Path) -> None:
    room = Room(tmp_path)
    refused(tmp_path, "another server works")
    room.close()
    Room(tmp_path).close()


def test_a_room_is_free_again_when_no_model_can_be_loaded(tmp_path: Path) -> None:
    refused(tmp_path, "nowhere")
    Room(tmp_path).close()


@pytest.mark.parametrize("name", ["city", f"video_{'0' * 32}"])
def test_clips_of_which_nothing_is_known_are_left_alone(tmp_path: Path, name: str) -> None:
    precious = tmp_path / "clips" / name / "train.webm"
    precious.parent.mkdir(parents=True)
    precious.write_text("precious")
    refused(tmp_path, f"holds '{name}'")
    assert precious.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["clips"], "nothing is left there"
    refused(tmp_path, f"holds '{name}'")


@pytest.mark.parametrize("place", ["", "below", "clips"])
def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path, place: str) -> None:
    file = tmp_path / ("clips" if place == "clips" else "fox.mp4")
    file.write_text("")
    refused(tmp_path if place == "clips" else file / place, "a file is in the way")


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_text("no database at all" * 99)
    refused(tmp_path, r"jobs\.sqlite: cannot be read as the jobs of a server: file is not a data")
    assert (tmp_path / "jobs.sqlite").read_text().startswith("no database")


@pytest.mark.parametrize("table", ["recipes", "jobs"])
def test_a_database_of_something_else_is_told(tmp_path: Path, table: str) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"CREATE TABLE {table} (name TEXT)"))
    engine.dispose()
    refused(tmp_path, r"jobs\.sqlite: cannot be read as the jobs")
    assert sqlalchemy.inspect(engine).get_table_names() == [table]
    engine.dispose()
