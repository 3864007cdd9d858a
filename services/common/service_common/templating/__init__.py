"""Templates of strangers, rendered safely: bounded in size, work and output, and deterministic.

A template sees its variables, `if`, `for`, comparisons, `+` and `-` of numbers, and a short list of filters
and tests. It cannot call anything, reach attributes of Python objects, import, include or define. Values are
inserted as they are: never escaped, never read as template. Whatever a template tries, it ends soon, in text
or in a `ServiceError`.
"""

from service_common.templating.template import Template, Value, compile_template

__all__ = ["Template", "Value", "compile_template"]
