"""The screened Laplace equation on a hole (compiled)."""

from __future__ import annotations

from kinephoto.compiled import kernel


@kernel
def relax(field, bank, disparity, reach, ys, xs, screen, sweeps):
    """Gauss-Seidel sweeps from the bank inwards and back; ``field`` is written in place.

    Args:
        field: [H, W, C] float32, fixed on the bank.
        bank: [H, W] bool.
        disparity, reach: [H, W] float32; a neighbour beyond a pixel's reach doesn't count.
        ys, xs: [n] the pixels to solve, nearest to the bank first.
        screen: 1 / length², px⁻².
    """
    height, width, channels = field.shape
    reached = bank.copy()
    n = ys.size
    for turn in range(sweeps):
        for j in range(n):
            t = j if turn % 2 == 0 else n - 1 - j
            y, x = ys[t], xs[t]
            count = 0
            for c in range(channels):
                field[y, x, c] = 0
            for side in range(4):
                q = y + (side == 0) - (side == 1)
                p = x + (side == 2) - (side == 3)
                if not (0 <= q < height and 0 <= p < width) or not reached[q, p]:
                    continue
                if disparity[q, p] > reach[y, x]:
                    continue
                count += 1
                for c in range(channels):
                    field[y, x, c] += field[q, p, c]
            if count > 0:
                reached[y, x] = True
                for c in range(channels):
                    field[y, x, c] /= count + screen
