"""MoGe (Wang et al. 2024, "MoGe: Unlocking Accurate Monocular Geometry Estimation"; version 2: 2025).

A PyTorch-only implementation of the two published networks. Parameter names match, so the checkpoints ``model.pt`` of
``Ruicheng/moge-*`` load without conversion.
"""
