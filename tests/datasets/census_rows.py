"""Made-up rows in the official Census-Income format."""

# One row as in the official files: a leading space before each value but the first, a
# period after the last, `NA` and `?` as values.
ROW = (
    "{age}, Private, 37, 26, High school graduate, 0, Not in universe, {marital}, "
    "Retail trade, Sales, White, NA, Female, No, Not in universe, "
    "Children or Armed Forces, 5178, 0, 12.5, Single, South, ?, Householder, "
    "Householder, 1081.52, ?, ?, ?, No, ?, 6, Not in universe, Mexico, ?, "
    "United-States, Native- Born in the United States, 2, Not in universe, 0, 52, 94, "
    "{income}\n"
)


def make_row(age=30, marital="Never married", income="- 50000."):
    return ROW.format(age=age, marital=marital, income=income)


def make_rows(num_rows, first_age=0):
    """Every third row is never married, every fifth has a high income."""
    return "".join(
        make_row(
            first_age + i,
            "Never married" if i % 3 == 0 else "Married-A F spouse present",
            "50000+." if i % 5 == 0 else "- 50000.",
        )
        for i in range(num_rows)
    )
