"""JSON Schemas of strangers, evaluated safely: bounded in size, in recursion and in work.

A schema is of draft 2020-12 and its own whole world: it refers to nothing outside itself, its patterns match
in linear time, and what would make an evaluation grow faster than the value it is for is refused beforehand.
"""

from service_common.json_schema.schema import Schema, compile_schema
from service_common.json_schema.subschemas import SchemaRefusedError

__all__ = ["Schema", "SchemaRefusedError", "compile_schema"]
