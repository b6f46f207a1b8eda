"""The statistical tests of FIPS 140-2, section 4.9.1 as of its change notice 1, that ``rngtest`` does too.

A good source fails about one block in a thousand; a broken one fails every block.
"""

from itertools import groupby

__all__ = ["BLOCK_BYTES", "failures"]

#: The tests are about 20,000 bits.
BLOCK_BYTES = 2500

#: Runs of each length that there must be, of zeros and of ones; the last is for 6 and more.
RUNS = {1: (2315, 2685), 2: (1114, 1386), 3: (527, 723), 4: (240, 384), 5: (103, 209), 6: (103, 209)}
LONGEST_RUN = 25


def failures(block: bytes) -> list[str]:
    """Names of the tests that a block of :data:`BLOCK_BYTES` fails, each with what was found."""
    if len(block) != BLOCK_BYTES:
        raise ValueError(f"a block has {BLOCK_BYTES} bytes, not {len(block)}")
    bits = f"{int.from_bytes(block, 'big'):0{8 * BLOCK_BYTES}b}"
    failed = []
    ones = bits.count("1")
    if not 9725 < ones < 10275:
        failed.append(f"monobit: {ones} ones")
    counts = [0] * 16
    for byte in block:
        counts[byte >> 4] += 1
        counts[byte & 15] += 1
    poker = 16 / 5000 * sum(count * count for count in counts) - 5000
    if not 2.16 < poker < 46.17:
        failed.append(f"poker: {poker:.2f}")
    runs = [(bit, len(list(group))) for bit, group in groupby(bits)]
    for bit in "01":
        for length, (least, most) in RUNS.items():
            found = sum(value == bit and min(size, 6) == length for value, size in runs)
            if not least <= found <= most:
                failed.append(f"runs: {found} of {length} times {bit}")
    longest = max(size for _, size in runs)
    if longest > LONGEST_RUN:
        failed.append(f"long run: {longest} bits")
    return failed
