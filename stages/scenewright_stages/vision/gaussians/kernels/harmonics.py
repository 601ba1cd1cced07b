"""Real spherical harmonics up to degree 3 for the compiled kernels.

Signs, order and constants are those of the INRIA 3D Gaussian splatting code and of gsplat.
"""

from __future__ import annotations

from typing import Any

from numba import njit

C0 = 0.28209479177387814
C1 = 0.4886025119029199
C2_0 = 1.0925484305920792
C2_2 = 0.31539156525252005
C2_4 = 0.5462742152960396
C3_0 = 0.5900435899266435
C3_1 = 2.890611442640554
C3_2 = 0.4570457994644658
C3_3 = 0.3731763325901154
C3_5 = 1.445305721320277


@njit(cache=True, error_model="numpy")
def fill_basis(x: Any, y: Any, z: Any, basis: Any) -> None:
    """Write the first len(basis) in {1, 4, 9, 16} basis values at the unit direction (x, y, z)."""
    real = type(x)
    basis[0] = real(C0)
    if basis.shape[0] < 4:
        return
    basis[1], basis[2], basis[3] = -real(C1) * y, real(C1) * z, -real(C1) * x
    if basis.shape[0] < 9:
        return
    xx, yy, zz = x * x, y * y, z * z
    two, three, four = real(2), real(3), real(4)
    basis[4] = real(C2_0) * x * y
    basis[5] = -real(C2_0) * y * z
    basis[6] = real(C2_2) * (two * zz - xx - yy)
    basis[7] = -real(C2_0) * x * z
    basis[8] = real(C2_4) * (xx - yy)
    if basis.shape[0] < 16:
        return
    basis[9] = -real(C3_0) * y * (three * xx - yy)
    basis[10] = real(C3_1) * x * y * z
    basis[11] = -real(C3_2) * y * (four * zz - xx - yy)
    basis[12] = real(C3_3) * z * (two * zz - three * xx - three * yy)
    basis[13] = -real(C3_2) * x * (four * zz - xx - yy)
    basis[14] = real(C3_5) * z * (xx - yy)
    basis[15] = -real(C3_0) * x * (xx - three * yy)


@njit(cache=True, error_model="numpy")
def direction_gradient(x: Any, y: Any, z: Any, weights: Any) -> Any:
    """Gradient of dot(basis, weights) by (x, y, z), for len(weights) in {4, 9, 16}."""
    real = type(x)
    w = weights
    gx, gy, gz = -real(C1) * w[3], -real(C1) * w[1], real(C1) * w[2]
    if w.shape[0] < 9:
        return gx, gy, gz
    two, six = real(2), real(6)
    c0, c2, c4 = real(C2_0), real(C2_2), real(C2_4)
    gx += c0 * y * w[4] - two * c2 * x * w[6] - c0 * z * w[7] + two * c4 * x * w[8]
    gy += c0 * x * w[4] - c0 * z * w[5] - two * c2 * y * w[6] - two * c4 * y * w[8]
    gz += -c0 * y * w[5] + two * two * c2 * z * w[6] - c0 * x * w[7]
    if w.shape[0] < 16:
        return gx, gy, gz
    three, four, eight = real(3), real(4), real(8)
    xx, yy, zz, xy, xz, yz = x * x, y * y, z * z, x * y, x * z, y * z
    d0, d1, d2, d3, d5 = real(C3_0), real(C3_1), real(C3_2), real(C3_3), real(C3_5)
    gx += -d0 * six * xy * w[9] + d1 * yz * w[10] + two * d2 * xy * w[11] - six * d3 * xz * w[12]
    gx += -d2 * (four * zz - three * xx - yy) * w[13] + two * d5 * xz * w[14]
    gx += -three * d0 * (xx - yy) * w[15]
    gy += -three * d0 * (xx - yy) * w[9] + d1 * xz * w[10] - d2 * (four * zz - xx - three * yy) * w[11]
    gy += -six * d3 * yz * w[12] + two * d2 * xy * w[13] - two * d5 * yz * w[14] + six * d0 * xy * w[15]
    gz += d1 * xy * w[10] - eight * d2 * yz * w[11] + three * d3 * (two * zz - xx - yy) * w[12]
    gz += -eight * d2 * xz * w[13] + d5 * (xx - yy) * w[14]
    return gx, gy, gz
