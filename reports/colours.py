"""The colours of persons, the same on the page and in a rendered video."""

PERSONS = ("#f0e442", "#56b4e9", "#e69f00", "#cc79a7", "#00b585", "#ff8a66", "#b39ddb", "#a8d08d")
"""Of person 1, 2, ... (Okabe and Ito's, and lighter ones), which stand out on a picture; after the last comes the first again."""
NOBODY = "#ffffff"
"""Of whoever is not told apart."""


def person_place(person: int) -> int | None:
    """Which of PERSONS a person has; None for nobody known."""
    return (person - 1) % len(PERSONS) if person > 0 else None


def person_colour(person: int) -> tuple[int, int, int]:
    """A person's colour as red, green, blue (0..255)."""
    place = person_place(person)
    digits = NOBODY if place is None else PERSONS[place]
    red, green, blue = (int(digits[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue
