"""The deterministic test signal: anyone can write it down (f64 arithmetic, rounded to f32), so Rust can regenerate it.

x[i] = 0.30 sin(phase(i; 120 -> 900 Hz)) + 0.20 sin(phase(i; 3500 -> 400 Hz)) + 0.10 sin(phase(i; 7000 -> 2000 Hz)) + 0.05 u[i],
times an envelope 0.6 + 0.4 sin(2 pi 3 t). phase(i; a -> b) = 2 pi (a t + (b - a) t^2 / (2 D)), t = i / rate, D = the duration.
u is a 32-bit linear congruential generator: s0 = 12345, s = 1664525 s + 1013904223 mod 2^32, u = s / 2^31 - 1 (advance first).
"""
import numpy as np


def test_signal(seconds, rate=16000):
    n = int(round(seconds * rate))
    t = np.arange(n) / float(rate)
    x = np.zeros(n)
    for amp, a, b in ((0.30, 120.0, 900.0), (0.20, 3500.0, 400.0), (0.10, 7000.0, 2000.0)):
        x += amp * np.sin(2 * np.pi * (a * t + (b - a) * t * t / (2 * seconds)))
    s, u = 12345, np.zeros(n)
    for i in range(n):
        s = (1664525 * s + 1013904223) % 2**32
        u[i] = s / 2**31 - 1
    x += 0.05 * u
    return (x * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))).astype(np.float32)
