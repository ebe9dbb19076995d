"""The roles of parameters."""

from __future__ import annotations

from resnet_spec.operations import BIASES, KERNELS, LEARNED, MEANS, OFFSETS, SCALES, VARIANCES, Role


def test_only_running_statistics_are_not_trained() -> None:
    assert {str(role) for role in Role if not role.trainable} == {
        f"{kind}_{statistic}" for kind in ("norm", "position") for statistic in ("mean", "variance")
    }


def test_the_groups_of_roles_have_no_role_twice() -> None:
    others = {Role.NORM_GATE, Role.NORM_THRESHOLD, Role.ACTIVATION_SLOPE, Role.CONV_GAIN, Role.POOL_POWER}
    groups = [KERNELS, BIASES, SCALES, OFFSETS, MEANS, VARIANCES, LEARNED, others]

    assert sorted(role for group in groups for role in group) == sorted(Role)
