import pytest

from tests.parity.table import BOUND, rows


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--missing", action="store_true", help="of the architectures, compare those without a good row in the table"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--missing", default=False):
        return
    done = {f"test_logits_are_timms[{row.name}]" for row in rows().values() if float(row.relative) <= BOUND}
    config.hook.pytest_deselected(items=[item for item in items if item.name in done])
    items[:] = [item for item in items if item.name not in done]


@pytest.fixture(scope="module", autouse=True)
def as_users_compile(optimised: None) -> None:
    """What is compared is what users get."""
