"""Small files in the format of MovieLens 100K."""

import numpy as np

NUM_USERS, NUM_MOVIES = 40, 120


def write_files(folder, num_ratings=2000):
    """Users like movies of their own parity, and watch these more often."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    genres = "|".join(["0"] * 19)
    items = [
        f"{i}|Café {i} (1995)|01-Jan-1995||http://example.org/{i}|{genres}"
        for i in range(1, NUM_MOVIES + 1)
    ]
    (folder / "u.item").write_text("\n".join(items) + "\n", encoding="latin-1")
    lines = []
    for second in range(num_ratings):
        user = rng.integers(1, NUM_USERS + 1)
        movie = rng.integers(1, NUM_MOVIES + 1)
        if (user + movie) % 2 and rng.random() < 0.8:
            movie = movie % NUM_MOVIES + 1
        score = (1 if (user + movie) % 2 else 4) + rng.integers(0, 2)
        lines.append(f"{user}\t{movie}\t{score}\t{880000000 + second}")
    (folder / "u.data").write_text("\n".join(lines) + "\n")
