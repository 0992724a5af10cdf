"""The three stages of the inner ear, compiled: basilar membrane, hair cells, bushy cells.

Every function treats a block of channels. Time runs outside, channels inside, so that they share vector lanes.
"""

from __future__ import annotations

import math

import numba
import numpy as np

_FLOOR = 1e-20
"""Added to the sound, inaudibly: states that fade in silence would become subnormal, which are slow."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def gammatone(sound: np.ndarray, poles: np.ndarray, gains: np.ndarray, membrane: np.ndarray) -> None:
    """Filter a sound `[n]` by 4th-order gammatones into `membrane [n, channels]`.

    The filter's response to a pulse is the real part of `gain * n**3 * pole**n`, exactly: the polynomial of the
    z-transform of `n**3`, then four equal complex poles.
    """
    width = poles.size
    state = np.zeros((8, width))
    factors = np.empty((6, width))
    for c in range(width):
        for power, weight in ((1, 1.0), (2, 4.0), (3, 1.0)):
            factor = weight * gains[c] * poles[c] ** power
            factors[2 * power - 2, c], factors[2 * power - 1, c] = factor.real, factor.imag
    real, imaginary = np.real(poles).copy(), np.imag(poles).copy()
    x1 = x2 = x3 = 0.0
    for n in range(sound.size):
        for c in range(width):
            u = factors[0, c] * x1 + factors[2, c] * x2 + factors[4, c] * x3
            v = factors[1, c] * x1 + factors[3, c] * x2 + factors[5, c] * x3
            a, b = real[c], imaginary[c]
            u, v = u + a * state[0, c] - b * state[1, c], v + a * state[1, c] + b * state[0, c]
            state[0, c], state[1, c] = u, v
            u, v = u + a * state[2, c] - b * state[3, c], v + a * state[3, c] + b * state[2, c]
            state[2, c], state[3, c] = u, v
            u, v = u + a * state[4, c] - b * state[5, c], v + a * state[5, c] + b * state[4, c]
            state[4, c], state[5, c] = u, v
            u, v = u + a * state[6, c] - b * state[7, c], v + a * state[7, c] + b * state[6, c]
            state[6, c], state[7, c] = u, v
            membrane[n, c] = u
        x1, x2, x3 = sound[n] + _FLOOR, x1, x2


@numba.njit(cache=True, nogil=True, error_model="numpy")
def hair_cells(membrane: np.ndarray, dt: float, constants: tuple[float, ...]) -> None:
    """Replace the membrane's motion `[n, channels]` by the hair cells' mean firing rate, in spikes per second.

    The symbols are those of Meddis 1986 (`loss` is his l). A channel starts at the rest that silence leads to. The
    free pool and the store take an implicit Euler step, the cleft, which is faster than a step, an exact one.
    """
    A, B, g, y, loss, r, x, h = constants
    width = membrane.shape[1]
    rest = g * A / (A + B)
    cleft = np.full(width, y * rest / (loss * rest + y * (loss + r)))
    pool, store = cleft * (loss + r) / rest, cleft * r / x
    fade = math.exp(-(loss + r) * dt)
    for n in range(membrane.shape[0]):
        for c in range(width):
            drive = max(membrane[n, c] + A, 0.0)
            k = g * drive / (drive + B)
            pool[c] = (pool[c] + dt * (y + x * store[c])) / (1.0 + dt * (y + k))
            cleft[c] = fade * cleft[c] + (1.0 - fade) * k * pool[c] / (loss + r)
            store[c] = (store[c] + dt * r * cleft[c]) / (1.0 + dt * x)
            membrane[n, c] = h * cleft[c]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def bushy_cells(
    rate: np.ndarray, dt: float, constants: tuple[float, ...], times: np.ndarray, counts: np.ndarray
) -> None:
    """Fire leaky integrators driven by `rate [n, channels]` into `times [channels, most]`, in seconds.

    `constants` are the rate that just reaches threshold, the time constants of synapse and membrane, and the
    dead time. Within a step the current is constant and the membrane follows its solution, so a spike's time is
    exact; `counts` is how many each channel fired.
    """
    threshold, tau_synapse, tau_membrane, refractory = constants
    synapse, membrane = math.exp(-dt / tau_synapse), math.exp(-dt / tau_membrane)
    for c in range(rate.shape[1]):
        current = rate[0, c] / threshold
        v, dead, fired = 0.0, 0.0, 0
        for n in range(rate.shape[0]):
            current = synapse * current + (1.0 - synapse) * rate[n, c] / threshold
            left, decay = dt, membrane
            while left > 0.0:
                waited = min(dead, left)
                dead, left = dead - waited, left - waited
                if left < dt:
                    decay = math.exp(-left / tau_membrane)
                after = current + (v - current) * decay
                if after < 1.0:
                    v = after
                    break
                left = max(0.0, left - tau_membrane * math.log((current - v) / (current - 1.0)))
                times[c, fired] = (n + 1) * dt - left
                v, dead, fired = 0.0, refractory, fired + 1
        counts[c] = fired
