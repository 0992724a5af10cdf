"""Print how many tests of a JUnit report passed and how many failed; a skipped test is neither."""

import sys
from xml.etree import ElementTree

passed = failed = 0
for case in ElementTree.parse(sys.argv[1]).iter("testcase"):
    outcomes = {child.tag for child in case}
    failed += bool(outcomes & {"failure", "error"})
    passed += not outcomes & {"failure", "error", "skipped"}
print(passed, failed)
