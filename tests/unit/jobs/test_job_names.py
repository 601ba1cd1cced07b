"""Names of Jobs: valid, deterministic, and different wherever the work is."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from scenewright.execution.jobs.names import job_name

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
KINDS = ("SceneJob", "DatasetJob", "TuningRun")
OBJECT_NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", fullmatch=True)
STEPS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?", fullmatch=True)


@given(st.sampled_from(KINDS), OBJECT_NAMES, st.uuids(), st.text("0123456789abcdef", min_size=16, max_size=16), STEPS)
def test_a_name_with_its_highest_index_is_a_dns_label(kind, name, uid, work_hash, step):
    indexed = f"{job_name(kind, name, str(uid), work_hash, step)}-9999"
    assert DNS_LABEL.fullmatch(indexed) and len(indexed) <= 63


@given(OBJECT_NAMES, st.uuids(), STEPS, STEPS)
def test_steps_of_one_work_never_share_a_name(name, uid, step, other):
    names = {job_name("SceneJob", name, str(uid), "0" * 16, each) for each in (step, other)}
    assert len(names) == len({step, other})


def test_the_name_is_the_same_every_time():
    assert job_name("SceneJob", "courtyard", "u", "h", "coarse") == "s-courtyard-fbbf9d4d-coarse"


def test_kinds_objects_uids_and_work_are_distinguished():
    base = ("SceneJob", "courtyard", "uid-1", "aaaa", "coarse")
    others = [
        ("DatasetJob", *base[1:]),
        (*base[:2], "uid-2", *base[3:]),
        (*base[:3], "bbbb", base[4]),
        (*base[:4], "render"),
    ]
    assert len({job_name(*each) for each in (base, *others)}) == 5


def test_names_that_are_cut_alike_differ_by_their_hash():
    long = "a" * 40
    one, other = (job_name("SceneJob", f"{long}{end}", f"uid-{end}", "aaaa", "coarse") for end in "xy")
    assert one != other and one[:32] == other[:32]


def test_dots_become_dashes_and_no_cut_ends_in_one():
    assert job_name("SceneJob", "my.scene", "u", "h", "index").startswith("s-my-scene-")
    assert "--" not in job_name("SceneJob", f"{'a' * 29}.b", "u", "h", "index")


def test_steps_beyond_the_limit_keep_their_difference():
    one, other = (job_name("SceneJob", "a", "u", "h", f"{'s' * 40}{end}") for end in "xy")
    assert one != other and len(one) <= 58
