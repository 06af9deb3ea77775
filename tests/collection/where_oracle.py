"""What a filter expression means, in the plainest Python: the oracle of the SQL that the collection makes of it."""

from __future__ import annotations

from typing import Any

MISSING = object()


def holds(expression: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """Whether a record with this metadata satisfies a `where` expression."""
    return all(_entry(key, item, metadata) for key, item in expression.items())


def holds_text(expression: dict[str, Any], document: str | None) -> bool:
    """Whether a record with this text satisfies a `where_document` expression ($match for ASCII words only)."""
    return all(_text_entry(key, item, document) for key, item in expression.items())


def _entry(key: str, item: Any, metadata: dict[str, Any]) -> bool:
    if key == "$and":
        return all(holds(part, metadata) for part in item)
    if key == "$or":
        return any(holds(part, metadata) for part in item)
    if key == "$not":
        return not holds(item, metadata)
    value = look_up(key, metadata)
    operators = item if isinstance(item, dict) else {"$eq": item}
    return all(_operator(operator, value, operand) for operator, operand in operators.items())


def look_up(key: str, metadata: dict[str, Any]) -> Any:
    value: Any = metadata
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return MISSING
        value = value[part]
    return value


def kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    return "text" if isinstance(value, str) else "other"


def equal(a: Any, b: Any) -> bool:
    return kind(a) == kind(b) != "other" and bool(a == b)


def _operator(operator: str, value: Any, operand: Any) -> bool:
    if operator == "$exists":
        return (value is not MISSING) == operand
    if operator == "$empty":
        return (value is MISSING or value is None or value in ("", [], {})) == operand
    if operator == "$icontains":
        return isinstance(value, str) and operand.lower() in value.lower()
    if operator == "$eq":
        return equal(value, operand)
    if operator == "$contains":
        if isinstance(value, list):
            return any(equal(one, operand) for one in value)
        return isinstance(value, str) and isinstance(operand, str) and operand in value
    if operator == "$not_contains":
        return not _operator("$contains", value, operand)
    if operator == "$ne":
        return not equal(value, operand)
    if operator == "$in":
        return any(equal(value, one) for one in operand)
    if operator == "$nin":
        return not any(equal(value, one) for one in operand)
    if kind(value) != kind(operand):
        return False
    return bool(
        {"$gt": value > operand, "$gte": value >= operand, "$lt": value < operand, "$lte": value <= operand}[operator]
    )


def _text_entry(key: str, item: Any, document: str | None) -> bool:
    if key == "$and":
        return all(holds_text(part, document) for part in item)
    if key == "$or":
        return any(holds_text(part, document) for part in item)
    if key == "$not":
        return not holds_text(item, document)
    if key == "$contains":
        return document is not None and item in document
    if key == "$not_contains":
        return not (document is not None and item in document)
    words = "".join(c if c.isalnum() else " " for c in (document or "").lower()).split()
    return all(word in words for word in "".join(c if c.isalnum() else " " for c in item.lower()).split())
