"""MoGe (Wang et al. 2024, "MoGe: Unlocking Accurate Monocular Geometry Estimation"; version 2: 2025).

An implementation of the two published networks whose parameters carry the published names, so that the
checkpoints ``model.pt`` of ``Ruicheng/moge-*`` load without conversion; nothing but PyTorch is needed.
"""
