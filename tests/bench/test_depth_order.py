"""Which limb is nearer: the table of what the eye said, and how answers are counted."""

import csv
from pathlib import Path

import numpy as np
import pytest

from bodyjax import lift
from bodyjax.bench import depth_order
from bodyjax.errors import DataError
from bodyjax.skeleton import H36M17
from tests.shared import shared

TABLE = Path(__file__).resolve().parents[2] / "docs" / "depth_order.csv"


def test_the_joint_with_less_depth_is_nearer():
    xyz = np.zeros((17, 3))
    xyz[H36M17.index("left_knee"), 2] = -50.0
    assert depth_order.nearer(xyz, "knee") == "left"
    xyz[H36M17.index("right_knee"), 2] = -60.0
    assert depth_order.nearer(xyz, "knee") == "right"


def test_missed_people_count_as_wrong_and_unclear_pairs_do_not_count():
    def row(nearer, lifted, verdict, name="a"):
        return {"name": name, "pair": "knee", "nearer": nearer, "lifted": lifted,
                "labelled": "left", "verdict": verdict}  # fmt: skip

    found = depth_order.shares([
        row("left", "left", "right"), row("right", "left", "wrong"), row("left", "", "missed", "b"),
        row("unclear", "left", "unclear"), row("left", "left", "right"),
    ])  # fmt: skip
    assert found["right"]["n"] == 4
    assert found["right"]["value"] == pytest.approx(0.5)
    assert found["right_of_found"]["value"] == pytest.approx(2 / 3)
    assert found["pictures"] == 2


@pytest.mark.parametrize("bad", ["elbow,left", "knee,both"])
def test_an_unknown_answer_names_its_line(tmp_path, bad):
    file = tmp_path / "table.csv"
    file.write_text(f"number,set,name,pair,nearer\n1,multi,a,knee,left\n1,multi,a,{bad}\n")
    with pytest.raises(DataError, match="an unknown pair or answer") as caught:
        depth_order.read(file)
    assert caught.value.place == "line 3"


def test_the_stored_verdicts_follow_from_the_stored_answers():
    with TABLE.open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len({row["name"] for row in table}) == 40
    assert len(table) == 120
    for row in table:
        right = "right" if row["lifted"] == row["nearer"] else "wrong"
        aim = "unclear" if row["nearer"] == "unclear" else right if row["lifted"] else "missed"
        assert row["verdict"] == aim


@pytest.mark.slow
def test_the_shipped_lifter_still_gives_the_stored_answers():
    held = depth_order.Held(shared("data"))
    table = [row for row in depth_order.read(TABLE) if row["nearer"] != "unclear"]
    again = depth_order.judged(held, lift.load("lifter"), table)
    changed = [a["name"] for a, b in zip(again, table, strict=True) if a["lifted"] != b["lifted"]]
    assert changed == []
