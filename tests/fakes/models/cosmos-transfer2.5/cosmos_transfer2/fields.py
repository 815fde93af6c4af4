"""Declared fields with the real classes' leniency: 3.0 and "3" are ints, 3.5 is none."""

import json
import os
from pathlib import Path

REQUIRED = object()
TRUE, FALSE = ("true", "1", "yes", "on", "y", "t"), ("false", "0", "no", "off", "n", "f")


class ValidationError(ValueError):
    """All problems of the values that a class was given."""

    def __init__(self, title, problems):
        self.problems = problems
        count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''}"
        lines = (f"{name}\n  {problem}" for name, problem in problems)
        super().__init__("\n".join([f"{count} for {title}", *lines]))


def text(value):
    if not isinstance(value, str):
        raise ValueError(f"Input should be a valid string [input_value={value!r}]")
    return value


def whole(low=None, high=None):
    def check(value):
        try:
            number = float(value) if isinstance(value, (int, float, str)) else None
        except ValueError:
            number = None
        if number is None or number != number or int(number) != number:
            raise ValueError(f"Input should be a valid integer [input_value={value!r}]")
        return _within(int(number), low, high)

    return check


def real(low=None, high=None):
    def check(value):
        try:
            number = float(value) if isinstance(value, (int, float, str)) else None
        except ValueError:
            number = None
        if number is None:
            raise ValueError(f"Input should be a valid number [input_value={value!r}]")
        return _within(number, low, high)

    return check


def _within(number, low, high):
    # Written so that NaN is refused.
    if low is not None and not number >= low:
        raise ValueError(f"Input should be greater than or equal to {low} [input_value={number}]")
    if high is not None and not number <= high:
        raise ValueError(f"Input should be less than or equal to {high} [input_value={number}]")
    return number


def flag(value):
    if isinstance(value, bool):
        return value
    if str(value).lower() in TRUE:
        return True
    if str(value).lower() in FALSE:
        return False
    raise ValueError(f"Input should be a valid boolean [input_value={value!r}]")


def one_of(*values):
    def check(value):
        if value not in values or type(value) is not type(values[0]):
            allowed = ", ".join(repr(each) for each in values)
            raise ValueError(f"Input should be {allowed} [input_value={value!r}]")
        return value

    return check


def file(value):
    if not isinstance(value, (str, Path)) or not os.path.isfile(value):
        raise ValueError(f"Path does not point to a file [input_value={value!r}]")
    return Path(value).expanduser().absolute()


def file_or_folder(value):
    if not isinstance(value, (str, Path)) or not os.path.exists(value):
        raise ValueError(f"Path does not point to a file or directory [input_value={value!r}]")
    return Path(value).expanduser().absolute()


def folder(value):
    return Path(value)


def whole_list(value):
    if not isinstance(value, list):
        raise ValueError(f"Input should be a valid list [input_value={value!r}]")
    return [whole()(each) for each in value]


def pair(value):
    return tuple(whole()(each) for each in value)


def optional(check):
    return lambda value: None if value is None else check(value)


class Model:
    """Values checked against FIELDS, a table of check and default by name."""

    FIELDS = {}
    FORBID = True

    def __init__(self, **given):
        problems = []
        values = {}
        for name, (check, default) in self.FIELDS.items():
            if name not in given:
                if default is REQUIRED:
                    problems.append((name, "Field required"))
                else:
                    values[name] = default
                continue
            try:
                values[name] = check(given[name])
            except ValidationError as error:
                problems += [(f"{name}.{where}", problem) for where, problem in error.problems]
            except ValueError as error:
                problems.append((name, str(error)))
        if self.FORBID:
            unknown = [name for name in given if name not in self.FIELDS]
            problems += [(name, "Extra inputs are not permitted") for name in unknown]
        if problems:
            raise ValidationError(type(self).__name__, problems)
        self.__dict__.update(values)

    @classmethod
    def model_validate(cls, data):
        return data if isinstance(data, cls) else cls(**data)

    def model_dump(self, mode="python"):
        dumped = {}
        for name in self.FIELDS:
            value = getattr(self, name)
            if isinstance(value, Model):
                value = value.model_dump(mode)
            dumped[name] = str(value) if mode == "json" and isinstance(value, Path) else value
        return dumped

    def model_dump_json(self):
        return json.dumps(self.model_dump("json"))
