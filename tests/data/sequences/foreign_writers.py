"""One motion written in the formats of other programs, and the check that a table holds it."""

import json

import numpy as np

from bodyjax.data.sequences.foreign_tables import OPENPOSE
from bodyjax.skeleton import COCO17, MEDIAPIPE33

SIZE = (640, 480)
FRAMES = (3, 4, 6)
RNG = np.random.default_rng(3)
START = RNG.uniform(150, 300, (17, 2))
XY = np.stack([START + 2.0 * k for k in range(len(FRAMES))])
"""One person, (frames, 17, 2) pixels; its left wrist is missing in the second frame."""
MISSING = (1, COCO17.index("left_wrist"))
WRIST = COCO17.index("left_wrist")


def pose(k: int, joints=COCO17.joints, shift: float = 0.0) -> np.ndarray:
    """(J, 3) of frame k in the order of `joints`; joints that COCO lacks are missing."""
    out = np.zeros((len(joints), 3))
    for j, name in enumerate(joints):
        if name in COCO17.joints and (k, COCO17.index(name)) != MISSING:
            out[j] = *(XY[k, COCO17.index(name)] + shift), 0.75
    return out


def openpose(folder, joints=OPENPOSE[25], field="pose_keypoints_2d"):
    out = folder / "clip"
    out.mkdir()
    for k, frame in enumerate(FRAMES):
        # OpenPose orders people anew in every frame
        people = [pose(k, joints), pose(k, joints, shift=250.0) * [1, 1, 0.5]]
        people = people[::-1] if k == 1 else people
        listed = [{"person_id": [-1], field: one.ravel().tolist()} for one in people]
        content = {"version": 1.3, "people": listed}
        (out / f"clip_{frame:012d}_keypoints.json").write_text(json.dumps(content))
    return out


def alphapose(folder, joints=17, **changes):
    rows = []
    for k, frame in enumerate(FRAMES):
        points = np.concatenate([pose(k), np.ones((joints - 17, 3))])
        row = {"image_id": f"{frame}.jpg", "category_id": 1, "score": 2.9, "idx": [1.0]}
        rows.append({**row, "keypoints": points.ravel().tolist(), **changes})
    (folder / "clip.json").write_text(json.dumps(rows))
    return folder / "clip.json"


def shares(k: int) -> np.ndarray:
    """(33, 3) of MediaPipe: shares of the picture, and visibility."""
    points = pose(k, MEDIAPIPE33.joints)
    points[:, :2] = (points[:, :2] + 0.5) / SIZE
    points[points[:, 2] == 0, :2] = 0.4
    return points


def mediapipe_json(folder, form="frames"):
    def landmarks(k):
        return [{"x": x, "y": y, "z": -0.1, "visibility": v} for x, y, v in shares(k)]

    numbered = [{"frame": f, "landmarks": [landmarks(k)]} for k, f in enumerate(FRAMES)]
    whole = {n: landmarks(k) for k, n in enumerate(FRAMES)}
    content = {
        "frames": {"frames": numbered},
        "objects": [{"frame_index": f, "pose_landmarks": {"landmark": whole[f]}} for f in FRAMES],
        "lists": [whole.get(n) for n in range(7)],
        "arrays": {"landmarks": [
            [[one["x"], one["y"], one["z"], one["visibility"]] for one in whole[n]]
            if n in whole else [] for n in range(7)
        ]},
    }[form]  # fmt: skip
    (folder / "clip.json").write_text(json.dumps(content))
    return folder / "clip.json"


def mediapipe_long(folder, name=lambda j: MEDIAPIPE33.joints[j].upper()):
    lines = ["visibility,z,y,x,landmark,frame"]
    for k, frame in enumerate(FRAMES):
        for j, (x, y, v) in enumerate(shares(k)):
            lines.append(f"{v},0,{y},{x},{name(j)},{frame}")
    (folder / "clip.csv").write_text("\n".join(lines))
    return folder / "clip.csv"


def mediapipe_wide(folder, column="{name}_{axis}", first=0):
    axes = ("x", "y", "z", "visibility" if "name" in column else "v")
    names = [
        column.format(name=name.upper(), axis=axis, number=j + first)
        for j, name in enumerate(MEDIAPIPE33.joints)
        for axis in axes
    ]
    lines = [",".join(["frame", *names])]
    for k, frame in enumerate(FRAMES):
        cells = [f"{c}" for x, y, v in shares(k) for c in (x, y, 0.0, v)]
        lines.append(",".join([str(frame), *cells]))
    (folder / "clip.csv").write_text("\n".join(lines))
    return folder / "clip.csv"


def deeplabcut(folder, several=False, labelled=False):
    axes = ("x", "y") if labelled else ("x", "y", "likelihood")
    names = ["".join(w.title() for w in joint.split("_")) for joint in COCO17.joints] + ["tail"]
    lead = ["a", "b"] if labelled else []
    rows = [["scorer", *lead, *["DLC_resnet50"] * (18 * len(axes))]]
    if several:
        rows.append(["individuals", *lead, *["mouse1"] * (18 * len(axes))])
    rows.append(["bodyparts", *lead, *[name for name in names for _ in axes]])
    rows.append(["coords", *lead, *list(axes) * 18])
    for k, frame in enumerate(FRAMES):
        cells = []
        for x, y, v in [*pose(k), (1.0, 1.0, 0.9)]:
            values = (x, y) if labelled else (x, y, v)
            cells += [f"{c}" if v else "" for c in values]
        start = ["labeled-data", "vid", f"img{frame:04d}.png"] if labelled else [str(frame)]
        rows.append([*start, *cells])
    (folder / "clip.csv").write_text("\n".join(map(",".join, rows)))
    return folder / "clip.csv"


def check(table, score=0.75):
    np.testing.assert_array_equal(table.frames, FRAMES)
    there = np.ones((len(FRAMES), 17), bool)
    there[MISSING] = False
    np.testing.assert_array_equal(table.visible[:, 0] > 0, there)
    np.testing.assert_allclose(table.xy[:, 0][there], XY[there], atol=1e-3)
    np.testing.assert_allclose(table.score[:, 0][there], score)
    assert (table.xy[:, 0][~there] == 0).all()
