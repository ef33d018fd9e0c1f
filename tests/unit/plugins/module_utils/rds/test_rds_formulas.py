"""RDS's expressions: what they come to, and what is none."""

from __future__ import annotations

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import formulas

VALUES = {"DBInstanceClassMemory": 8 << 30, "DBInstanceVCPU": 2}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("{DBInstanceClassMemory/32768}", 262144),
        ("{DBInstanceClassMemory*3/32768}", 786432),
        ("{ DBInstanceClassMemory / 32768 }", 262144),
        ("LEAST({DBInstanceClassMemory/9531392},5000)", 901),
        ("greatest({DBInstanceClassMemory*1024/63963136}, 65536)", 137518),
        ("GREATEST({DBInstanceClassMemory/63963136*1024},65536)", 137216),
        ("GREATEST({log(DBInstanceClassMemory/2147483648)*600},200)", 1200),
        ("SUM({DBInstanceClassMemory/12038},-50003)", 663565),
        ("GREATEST(${DBInstanceVCPU*2},3)", 4),
        ("LEAST({DBInstanceClassMemory/32768},GREATEST({DBInstanceVCPU},7))", 7),
    ],
)
def test_expressions_are_worked_out_step_by_step(text, number):
    assert formulas.evaluate(text, VALUES) == number


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{Memory/4}", "no variable of RDS"),
        ("{DBInstanceClassMemory/0}", "divides by 0"),
        ("{}", "no variable"),
        ("{DBInstanceClassMemory", "was expected"),
        ("{DBInstanceClassMemory/32768}}", "goes on after its end"),
        ("{DBInstanceClassMemory+1}", "have not"),
        ("{DBInstanceClassMemory/32.5}", "have not"),
        ("MEDIAN({AllocatedStorage},1)", "GREATEST, LEAST or SUM"),
        ("GREATEST({AllocatedStorage};1)", "have not"),
        ("GREATEST()", "was expected"),
        ("{DBInstanceClassMemory/32768}kB", "goes on after its end"),
    ],
)
def test_what_is_no_expression_is_refused(text, reason):
    with pytest.raises(formulas.FormulaError, match=reason):
        formulas.evaluate(text, VALUES)
