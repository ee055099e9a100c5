"""The studies by name."""

from __future__ import annotations

from akd_gym.errors import UnknownNameError
from akd_gym.reproduce.ablation import Ablation, FlopsAblation
from akd_gym.reproduce.baselines import Baselines
from akd_gym.reproduce.ensembles import Ensembles
from akd_gym.reproduce.faces import Faces
from akd_gym.reproduce.methods import Methods
from akd_gym.reproduce.rankings import Rankings, TwoStudents
from akd_gym.reproduce.real_searches import RealSeeds
from akd_gym.reproduce.relative_gains import RelativeGains
from akd_gym.reproduce.study import Study
from akd_gym.reproduce.teachers import TeacherAgreement
from akd_gym.reproduce.trajectories import Comparison, Differences, OneSearch, TwoSeeds, TwoTeachers

STUDIES: dict[str, type[Study]] = {
    study.name: study
    for study in (
        *(TeacherAgreement, OneSearch, Comparison, TwoTeachers, TwoSeeds, RealSeeds, Differences),
        *(TwoStudents, Rankings, RelativeGains, Ablation, Methods, Baselines, FlopsAblation, Faces, Ensembles),
    )
}
"""In the order of the paper."""


def make_study(name: str) -> Study:
    """A study with its own settings.

    Raises:
        UnknownNameError: No study has the name.
    """
    if name not in STUDIES:
        raise UnknownNameError("study", name, STUDIES)
    return STUDIES[name]()
