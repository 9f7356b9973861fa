"""The documentation's snippets run, in order, page by page; pages that are made are up to date."""

import dataclasses
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from docs import make_models
from jaxvision.registry import families, list_models
from tests.parity import table
from tests.parity.plan import NARROW, plan
from tests.reference.options import options

DOCS = Path(__file__).parents[1] / "docs"


def run_snippets(page: str, languages: str) -> None:
    """Runs a page's blocks in some languages: ``python``, or ``py`` for what needs PyTorch."""
    found = re.findall(rf"^```(?:{languages})\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    assert found
    namespace: dict = {}
    for number, code in enumerate(found, 1):
        exec(compile(code, f"{page}, snippet {number}", "exec"), namespace)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with what the snippets read."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save("cat.jpg")


@pytest.mark.parametrize("page", ["research.md", "coming-from.md"])
def test_snippets_run(page, folder):
    run_snippets(page, "python")


@pytest.mark.parity
def test_snippets_run_beside_those_of_other_libraries(folder):
    pytest.importorskip("transformers")
    run_snippets("coming-from.md", "python|py")


def test_links_between_pages_lead_somewhere():
    for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_page_of_models_is_up_to_date():
    """After a change to the catalogue or to the table of comparisons: ``make docs``."""
    assert (DOCS / "models.md").read_text() == make_models.page()


def test_several_comparisons_write_the_table_at_once(tmp_path):
    row = next(iter(table.rows().values()))
    many = [dataclasses.replace(row, name=f"net{number}") for number in range(100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda row: table.keep(row, tmp_path / "table.csv"), many))
    assert list(table.rows(tmp_path / "table.csv").values()) == many
    assert len(list(tmp_path.iterdir())) == 1


def test_every_comparison_with_timm_is_of_a_model_and_within_the_bound():
    rows = table.rows()
    assert rows.keys() <= set(list_models())
    assert [name for name, row in rows.items() if not float(row.relative) <= table.BOUND] == []


def test_every_option_is_compared_whole():
    """No option is only in a network that is compared with fewer blocks or fewer channels."""
    whole, reduced = set(), {}
    for name, family in families().items():
        for option in options(family.variants[name]):
            if plan(name).full or name in NARROW:
                whole.add((family.name, *option))
            else:
                reduced[family.name, *option] = name
    assert {option: name for option, name in reduced.items() if option not in whole} == {}


@pytest.mark.parity
def test_every_model_was_compared_with_timm():
    """The last of ``make parity``, whose sweep writes the table."""
    assert list(table.rows()) == list_models()
