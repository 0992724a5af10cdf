"""The chip's integer arithmetic as C text, the same for kernels on a GPU and for exported C99.

Nothing in it is undefined or left to the compiler: sums that may overflow are taken unsigned, negative numbers are
never shifted, and division truncates towards zero as C99 says.
"""

from __future__ import annotations

from string import Template

from snnkit.deploy.emulator.rule import RULE

_TEXT = Template("""\
/* The low 32 bits, signed. */
$inline int32_t low32(uint32_t value)
{
    return value <= 0x7fffffffu ? (int32_t)value : -(int32_t)(0xffffffffu - value) - 1;
}

$inline int32_t add(int32_t a, int32_t b)
{
    return low32((uint32_t)a + (uint32_t)b);
}

/* value * (4096 - by) / 4096, rounded towards zero; by in 0..4096. */
$inline int32_t decay(int32_t value, int32_t by)
{
    return (int32_t)((int64_t)value * (4096 - by) / 4096);
}

/* A current put back once into 24 bits; 2**23 itself stays. */
$inline int32_t wrap24(int32_t u)
{
    return u > 8388608 ? u - 16777216 : u <= -8388608 ? u + 16777216 : u;
}

/* A membrane kept within 24 bits, its sign among them. */
$inline int32_t clip_v(int32_t v)
{
    return v > 8388607 ? 8388607 : v < -8388607 ? -8388607 : v;
}

/* The low 32 bits of value * 2**exponent, rounded down; exponent in -31..31. */
$inline int32_t shift(int64_t value, int exponent)
{
    if (exponent >= 0) {
        return low32((uint32_t)value << exponent);
    }
    return low32((uint32_t)(value < 0 ? ~(~value >> -exponent) : value >> -exponent));
}

/* The sum of a convolution put into 24 bits, its sign among them. */
$inline int32_t sum24(uint32_t total)
{
    const int32_t low = (int32_t)(total & 0xffffffu);
    return low > 8388607 ? low - 16777216 : low;
}

$inline int32_t times64(int32_t a)
{
    return low32((uint32_t)a << 6);
}

$inline int32_t fires(int32_t v, int32_t vth)
{
    return v > vth * 64;
}

/* One step of one neuron, moving its current and membrane; 1 is returned where it fires. */
$inline int32_t neuron_step(
    int32_t *current, int32_t *membrane, int32_t a, int32_t du, int32_t dv, int32_t bias, int32_t vth)
{
    int32_t u = *current, v = *membrane, s;
$rule
    *current = u;
    *membrane = v;
    return s;
}
""")


def helpers(inline: str = "static inline") -> str:
    """Return C functions of the chip's arithmetic, which need int32_t, uint32_t and int64_t.

    Args:
        inline: what stands before each function, such as `__device__ __forceinline__`.
    Returns:
        The text of the functions that `rule.RULE` calls, of `shift` and `sum24` for sums of weights, and of
        `neuron_step`.
    """
    return _TEXT.substitute(inline=inline, rule="\n".join(f"    {line};" for line in RULE))
