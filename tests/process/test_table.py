import re
from pathlib import Path

from tests.process.conftest import rows


def test_every_row_of_what_breaks_says_what_a_test_saw_and_none_is_missing() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    seen = set(re.findall(r'documented\("([^"]+)"', tests)) | set(re.findall(r'"(the [^"]+)", id=', tests))
    assert seen == rows().keys()
    assert all(len(row) == 3 for row in rows().values())
