#!/usr/bin/env python3
"""Every line of a journal, by others' judgement: feed_lines.py SCHEMA JOURNAL...

Exit code 77 and one line on stdout where the packages `cloudevents` and `jsonschema` are not there."""

import json
import sys

try:
    from jsonschema import Draft202012Validator
except ImportError:
    print("the Python package jsonschema is not there")
    sys.exit(77)
from_json = None
try:
    from cloudevents.http import from_json
except ImportError:
    try:
        from cloudevents.v1.http import from_json
    except ImportError:
        print("the Python package cloudevents is not there")
        sys.exit(77)

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
count = 0
for path in sys.argv[2:]:
    with open(path, "rb") as file:
        for raw in file.read().split(b"\n")[:-1]:
            line = json.loads(raw)
            validator.validate(line)
            event = from_json(raw)
            assert event["id"] == line["id"] and event["type"] == line["type"], raw
            assert event["time"] == line["time"] and event.data == line["data"], raw
            for name in event.get_attributes():
                assert name.isalnum() and name == name.lower() and len(name) <= 20, name
            count += 1
print(f"{count} lines")
