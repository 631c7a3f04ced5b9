"""Published rows are those of the papers, figure by figure, as transcribed here a second time."""

import re

import pytest

from experiments import papers
from experiments.compare import Published

TEXT = {  # rows in the order of the papers, figures as printed there
    "MAIN": """0.1220 0.3125 0.2820 | 0.1231 0.3176 0.2883 | 0.1268 0.3071 0.2909 | 0.1655 - 0.2033 | 0.4235 - 0.0717
        | 0.1052 0.3381 0.3137""",
    "ACTIONBENCH": """0.104 0.152 0.265 | 0.089 0.126 0.243 | 0.068 0.340 0.616 | 0.056 0.170 0.348 | 0.056 0.184 -
        | 0.105 0.120 - | 0.096 0.141 - | 0.068 0.114 - | 0.051 0.093 - | 0.055 0.088 0.154 | 0.053 0.081 0.148""",
    "COMPONENTS": """0.1128 0.3375 0.3380 186.3 | 0.1051 0.3396 0.3342 186.3 | 0.1005 0.3408 0.3369 186.3
        | 0.0986 0.3442 0.3375 169.8 | 0.2071 0.1972 0.1833 60.2 | 0.1124 0.3298 0.3306 167.1
        | 0.0958 0.3466 0.3402 425.7 | 0.0972 0.3451 0.3383 186.3""",
    "A1": """0.0986 0.3442 0.3375 169.8 | 0.1124 0.3298 0.3306 167.1 | 0.0991 0.3420 0.3365 145.0
        | 0.0968 0.3454 0.3388 233.6 | 0.0958 0.3466 0.3402 425.7 | 0.0972 0.3451 0.3383 186.3""",
    "A2": "84.5 123.2 68.6 58.11 | 186.3 425.7 43.8 35.23 | 425.0 1584.9 26.8 21.50",
    "A3": """0.131 0.803 1276.2 24 | 0.145 0.835 914.9 45 | 0.152 0.827 952.0 45 | 0.098 0.916 483.1 7
        | 0.094 0.919 477.8 16""",
    "A4": "0.099 0.338 0.315 | 0.102 0.339 0.315 | 0.106 0.334 0.314 | 0.114 0.326 0.310",
    "SHAPEGEN4D": """0.1356 0.3033 0.2617 3.0 | 0.1576 - 0.1932 0.4 | 0.1233 0.3023 0.2814 30.0 | 0.3978 - 0.0699 10.0
        | 0.1220 0.3276 0.2934 3.0 | 0.0827 0.4155 0.3971 15.0""",
    "SHAPEGEN4D_RENDERING": """0.1524 0.9040 940 0.1106 | 0.0988 0.9397 302 0.0487 | 0.1691 0.8601 916 0.1467
        | 0.1359 0.9009 796 0.0966""",
    "SHAPEGEN4D_ABLATION": """0.1348 0.3230 0.3002 | 0.1186 0.3137 0.2962 | 0.2118 0.1503 0.1462
        | 0.1196 0.3332 0.3084 | 0.1374 0.3087 0.2861 | 0.1096 0.3346 0.3190""",
}
TABLES = {name: value for name, value in vars(papers).items() if isinstance(value, Published)}


def test_every_published_table_is_checked():
    assert TABLES.keys() == TEXT.keys()


@pytest.mark.parametrize("name", TEXT)
def test_a_published_table_prints_as_in_the_paper(name: str):
    table = TABLES[name]
    quantities = list(dict.fromkeys(quantity for row in table.rows.values() for quantity in row))
    printed = [
        " ".join(f"{row[q]:.{table.decimals.get(q, table.digits)}f}" if q in row else "-" for q in quantities)
        for row in table.rows.values()
    ]
    assert printed == [re.sub(r"\s+", " ", row).strip() for row in TEXT[name].split("|")]


def test_the_masks_are_the_same_runs_as_in_the_ablation_of_components():
    pairs = {
        "A: w/o attention sink": "w/o attention sink",
        "B: Fixed stride": "Fixed stride",
        "E: Full attention": "Full attention",
        "F: Ours": "Ours",
    }
    for mask, component in pairs.items():
        assert papers.A1.rows[mask] == papers.COMPONENTS.rows[component]
