"""The text of a group's ``forward``, as a person would write it: one call a line, a variable freed after its last use.

What no longer has a name is freed while the rest runs, as in hand-written networks; an interpreter that kept every
value by name would hold all feature maps at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import count
from keyword import iskeyword

from resnet_spec_torch.emitters import EXPRESSIONS, IN_PLACE, NEW_VALUE
from resnet_spec_torch.grouping import Call, Group, Path


def forward_source(group: Group) -> str:
    """Source text of ``def forward(self, x)`` for a group."""
    uses = Counter(name for call in group.calls for name in call.inputs) + Counter(group.outputs)
    makers = {call.value: call for call in group.calls}
    variables = {group.input: "x"}
    lines = ["def forward(self, x):"]
    left = uses.copy()
    for call in group.calls:
        text = _expression(call, variables, uses, makers)
        left.subtract(call.inputs)
        released = [variables[name] for name in call.inputs if not left[name]]
        for name in call.inputs:
            if not left[name]:
                variables.pop(name, None)
        variable = released[0] if released else _free(variables.values())
        if (call.value,) == group.outputs and call is group.calls[-1]:
            return "\n".join([*lines, f"    return {text}", ""])
        variables[call.value] = variable
        lines.append(f"    {variable} = {text}")
    results = [variables[name] for name in group.outputs]
    returned = results[0] if len(results) == 1 else f"[{', '.join(results)}]"
    return "\n".join([*lines, f"    return {returned}", ""])


def _expression(call: Call, variables: dict[str, str], uses: Counter[str], makers: dict[str, Call]) -> str:
    arguments = [variables[name] for name in call.inputs]
    operation = call.node.operation if call.node else None
    producer = _overwritable(call, uses, makers)
    if call.path:
        module = module_text(call.path)
        if operation and operation.op in IN_PLACE and producer:
            return f"{IN_PLACE[operation.op]}({', '.join([module, *arguments, *_maker_text(producer)])})"
        return f"{module}({', '.join(arguments)})"
    assert operation is not None
    if operation.op in IN_PLACE and producer and len(arguments) == 2:
        return f"{IN_PLACE[operation.op]}({', '.join([*arguments, *_maker_text(producer)])})"
    return EXPRESSIONS[operation.op](operation, *arguments)
