"""Texts that are no paper, each with the reason that it must get."""

import base64
import random

CHOOSE = random.Random(0)
NUMBERS = [[CHOOSE.random() for _ in range(8)] for _ in range(600)]
BAD = {
    "base64": ("gibberish", base64.encodebytes(CHOOSE.randbytes(20_000)).decode()),
    "hexadecimal": ("gibberish", "\n".join(" ".join(f"{int(x * 65535):04x}" for x in row) for row in NUMBERS)),
    "table": ("gibberish", "\n".join(",".join(f"{x:.4f}" for x in row) for row in NUMBERS)),
    "coordinates": (
        "gibberish",
        "\n".join(f"\\draw ({a:.3f},{b:.3f}) -- ({c:.3f},{d:.3f});" for a, b, c, d, *_ in NUMBERS),
    ),
    "program": (
        "listing",
        "The program follows.\n\n\\begin{lstlisting}\n"
        + "\n".join(f"value_{i} = compute(value_{i - 1}, factor={i * 37 % 101}) + offset" for i in range(1, 400))
        + "\n\\end{lstlisting}\n\nIt prints the table.",
    ),
    "bytes": ("gibberish", bytes(CHOOSE.randrange(32, 256) for _ in range(20_000)).decode("latin-1")),
    "one sentence": ("repetitive", "We show that the space is compact and that every map on it is bounded.\n\n" * 500),
    "one formula": ("repetitive", "x_{1}" * 4000),
}
