"""Find, for every patch over a hole, the patch of the picture that fits best (compiled).

After Barnes et al., PatchMatch, SIGGRAPH 2009; what is ours is the reach: a source must not be
nearer to the camera than what the hole shows, so foreground never serves.

Letters: n targets; (y, x) a target; (v, u) the centre of its match, -1 where there is none; r the
patch radius, px.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kinephoto.compiled import kernel


class Terrain(NamedTuple):
    """Where sources lie and what is expected where.

    Attributes:
        disparity: [H, W] float32, near is large.
        reach: [H, W] float32, the largest disparity that may serve the pixel.
        nearest: [H, W] float32, largest disparity in a source patch, inf where it may not be used.
        appearance: [H, W, 4] float32, mean colour and texture.
        log_depth: [H, W] float32.
        to_bank: [H, W] float32, px to the hole's farther bank.
        farthest_first: [m] int32, flat indices of usable source centres by rising ``nearest``.
        rising: [m] float32, their ``nearest``.
    """

    disparity: np.ndarray
    reach: np.ndarray
    nearest: np.ndarray
    appearance: np.ndarray
    log_depth: np.ndarray
    to_bank: np.ndarray
    farthest_first: np.ndarray
    rising: np.ndarray


class Prices(NamedTuple):
    """What speaks against a source besides its patch, in units of squared colour difference.

    Attributes:
        distance: per px between target and source, beyond three times the way to the bank.
        depth: per e-fold between their depths.
        colour: per squared difference of mean colour; at the bank, less inside.
        texture: per squared difference of the strength of texture.
        certain_px: so far from the bank the expected colour counts half.
    """

    distance: float
    depth: float
    colour: float
    texture: float
    certain_px: float


@kernel
def _random(state):
    """Uniform in [0, 1), the same on every machine (xorshift32; Marsaglia 2003)."""
    bits = state[0]
    bits ^= (bits << np.uint32(13)) & np.uint32(0xFFFFFFFF)
    bits ^= bits >> np.uint32(17)
    bits ^= (bits << np.uint32(5)) & np.uint32(0xFFFFFFFF)
    state[0] = bits
    return np.float64(bits) / 4294967296.0


@kernel
def _generator(seed):
    """State of ``_random``; xorshift must not start from 0."""
    return np.array([(seed * 2 + 1) & 0xFFFFFFFF], np.uint32)


@kernel
def _gather(rgb, weight, disparity, limit, y, x, r, colours, weights):
    """Copy the patch around (y, x) and how much each of its pixels counts; returns the weights' sum.

    Pixels nearer than ``limit`` count nothing: they show what stands before the hole.
    """
    height, width = weight.shape
    total = np.float32(0)
    k = 0
    for q in range(y - r, y + r + 1):
        for p in range(x - r, x + r + 1):
            w = np.float32(0)
            if 0 <= q < height and 0 <= p < width and disparity[q, p] <= limit:
                w = weight[q, p]
                for c in range(3):
                    colours[k + c] = rgb[q, p, c]
            for c in range(3):
                weights[k + c] = w
            total += w
            k += 3
    return total


@kernel
def _distance(flat, width, r, colours, weights, v, u, limit):
    """Weighted squared difference to the source patch around (v, u); stops once above ``limit``."""
    total = np.float32(0)
    k = 0
    length = 3 * (2 * r + 1)
    for q in range(v - r, v + r + 1):
        start = 3 * (q * width + u - r)
        for i in range(length):
            difference = colours[k + i] - flat[start + i]
            total += weights[k + i] * difference * difference
        k += length
        if total > limit:
            return total
    return total


@kernel
def _price(terrain, prices, y, x, v, u):
    """The source's price besides its patch, see ``Prices``."""
    dy, dx = np.float64(v - y), np.float64(u - x)
    colour = 0.0
    for c in range(3):
        colour += (terrain.appearance[v, u, c] - terrain.appearance[y, x, c]) ** 2
    texture = (terrain.appearance[v, u, 3] - terrain.appearance[y, x, 3]) ** 2
    depth = abs(terrain.log_depth[v, u] - terrain.log_depth[y, x])
    inside = terrain.to_bank[y, x]
    return (
        prices.distance * max(np.sqrt(dy * dy + dx * dx) - 3 * inside, 0.0)
        + prices.depth * depth
        + prices.colour * colour / (1 + inside / prices.certain_px)
        + prices.texture * texture
    )


@kernel
def peel(picture, weight, terrain, prices, targets, match, r, span_px, seed):
    """Paint a hole from its farther bank inwards, pixel after pixel, each from the best fitting patch.

    A pixel tries its painted neighbours' matches moved along (Ashikhmin, Synthesizing natural
    textures, I3D 2001), then a dozen random places; only what is known or painted by now is
    compared. Writes ``picture``, ``weight`` and ``match`` in place.

    Args:
        picture: [H, W, 3] float32.
        weight: [H, W] float32, 1 where trusted or painted, 0 elsewhere.
        targets: [n, 2] int32, (y, x) in the order of painting; with no match yet.
        match: [H, W, 2] int32, (v, u).
        span_px: how far random places may lie.
    """
    height, width = weight.shape
    flat = picture.reshape(-1)
    area = 3 * (2 * r + 1) ** 2
    colours, weights = np.zeros(area, np.float32), np.zeros(area, np.float32)
    state = _generator(seed)
    neighbours, draws, enough = 8, 300, 12
    for t in range(targets.shape[0]):
        y, x = targets[t, 0], targets[t, 1]
        limit = terrain.reach[y, x]
        total = _gather(picture, weight, terrain.disparity, limit, y, x, r, colours, weights)
        count = np.searchsorted(terrain.rising, limit, side="right")
        if count == 0:
            continue
        best, best_v, best_u = np.inf, -1, -1
        tried = 0
        for trial in range(neighbours + draws + enough):
            if trial < neighbours:
                spot = trial if trial < 4 else trial + 1
                q, p = y + spot // 3 - 1, x + spot % 3 - 1
                if not (0 <= q < height and 0 <= p < width) or match[q, p, 0] < 0:
                    continue
                v, u = match[q, p, 0] + y - q, match[q, p, 1] + x - p
            elif tried >= enough:
                break
            elif trial < neighbours + draws:
                span = span_px * _random(state)
                v = y + int((2 * _random(state) - 1) * span)
                u = x + int((2 * _random(state) - 1) * span)
            elif best_v >= 0:
                break
            else:
                # Nothing admissible near by: of all the picture, what is about as deep as the hole.
                pick = terrain.farthest_first[count - 1 - int(_random(state) * min(count, 200))]
                v, u = pick // width, pick % width
            if not (0 <= v < height and 0 <= u < width) or terrain.nearest[v, u] > limit:
                continue
            tried += 1
            cost = _price(terrain, prices, y, x, v, u)
            if cost < best and total > 0:
                room = (best - cost) * total
                cost += _distance(flat, width, r, colours, weights, v, u, room) / total
            if cost < best:
                best, best_v, best_u = cost, v, u
        match[y, x, 0], match[y, x, 1] = best_v, best_u
        if weight[y, x] == 0 and best_v >= 0:
            weight[y, x] = 1
            for c in range(3):
                picture[y, x, c] = picture[best_v, best_u, c]


@kernel
def search(picture, weight, terrain, prices, targets, match, cost, rounds, r, span_px, seed):
    """Improve ``match`` and ``cost`` in place, by neighbours' matches and random trials.

    Args:
        picture: [H, W, 3] float32, with the present estimate in its holes.
        weight: [H, W] float32, how much a pixel counts in a target patch.
        targets: [n, 2] int32, (y, x) in reading order.
        match: [H, W, 2] int32, (v, u); cost: [H, W] float32.
        rounds: passes over all targets, forth and back in turn.
        span_px: where the random trials around the present match begin; halved until 1.
    """
    height, width = weight.shape
    flat = picture.reshape(-1)
    area = 3 * (2 * r + 1) ** 2
    colours, weights = np.zeros(area, np.float32), np.zeros(area, np.float32)
    state = _generator(seed)
    n = targets.shape[0]
    for turn in range(rounds):
        step = 1 if turn % 2 == 0 else -1
        for j in range(n):
            t = j if step == 1 else n - 1 - j
            y, x = targets[t, 0], targets[t, 1]
            if match[y, x, 0] < 0:
                continue
            limit = terrain.reach[y, x]
            total = _gather(picture, weight, terrain.disparity, limit, y, x, r, colours, weights)
            if total <= 0:
                continue
            best_v, best_u = match[y, x, 0], match[y, x, 1]
            best = _price(terrain, prices, y, x, best_v, best_u)
            best += _distance(flat, width, r, colours, weights, best_v, best_u, np.inf) / total
            span = span_px
            trial = 0
            while trial < 2 or span >= 1:
                if trial < 2:
                    q, p = (y - step, x) if trial == 0 else (y, x - step)
                    trial += 1
                    if not (0 <= q < height and 0 <= p < width) or match[q, p, 0] < 0:
                        continue
                    v, u = match[q, p, 0] + y - q, match[q, p, 1] + x - p
                else:
                    v = best_v + int(_random(state) * (2 * span + 1)) - span
                    u = best_u + int(_random(state) * (2 * span + 1)) - span
                    span //= 2
                if not (0 <= v < height and 0 <= u < width) or terrain.nearest[v, u] > limit:
                    continue
                if v == best_v and u == best_u:
                    continue
                d = _price(terrain, prices, y, x, v, u)
                if d < best:
                    room = (best - d) * total
                    d += _distance(flat, width, r, colours, weights, v, u, room) / total
                if d < best:
                    best, best_v, best_u = d, v, u
            match[y, x, 0], match[y, x, 1] = best_v, best_u
            cost[y, x] = best


@kernel
def vote(rgb, weight, terrain, wanted, voting, match, cost, sharpness, r, out):
    """Let every match paint its patch; each wanted pixel becomes the weighted mean of what is proposed.

    (Wexler, Shechtman and Irani, Space-time completion of video, PAMI 2007, section 3.3.)

    Args:
        rgb: [H, W, 3] float32, the picture that is copied from.
        weight: [H, W] float32, how much a proposal by this target counts.
        wanted: [H, W] bool, pixels to write; voting: [H, W] bool, targets that propose.
        match: [H, W, 2] int32, (v, u); cost: [H, W] float32.
        sharpness: a proposal's weight falls as exp(-sharpness * cost).
        out: [H, W, 3] float32, written in place where some proposal is within reach.
    """
    height, width = wanted.shape
    mean = np.zeros(3)
    for y in range(height):
        for x in range(width):
            if not wanted[y, x]:
                continue
            y0, y1, x0, x1 = max(0, y - r), min(height, y + r + 1), max(0, x - r), min(width, x + r + 1)
            lowest = np.inf
            for q in range(y0, y1):
                for p in range(x0, x1):
                    if voting[q, p] and match[q, p, 0] >= 0:
                        lowest = min(lowest, cost[q, p])
            total = 0.0
            mean[:] = 0
            for q in range(y0, y1):
                for p in range(x0, x1):
                    if not voting[q, p] or match[q, p, 0] < 0:
                        continue
                    v, u = match[q, p, 0] + y - q, match[q, p, 1] + x - p
                    if terrain.disparity[v, u] > terrain.reach[y, x]:
                        continue
                    w = np.exp(-sharpness * (cost[q, p] - lowest)) * weight[q, p]
                    total += w
                    for c in range(3):
                        mean[c] += w * rgb[v, u, c]
            if total > 0:
                for c in range(3):
                    out[y, x, c] = mean[c] / total
