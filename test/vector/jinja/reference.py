"""jinja2 in the settings of transformers: what the vectors hold. SPDX-License-Identifier: Apache-2.0

One oddity is left out: jinja2 folds slices of constants when it compiles, and then a slice of something that has none is undefined
("{{ 1[:2] }}" prints nothing), while the same slice of a variable fails. Ours fails always.
"""
import copy
import datetime

import jinja2.nodes
from transformers.utils import chat_template_utils

NOW_S = 1700000000


class FixedTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(NOW_S)


chat_template_utils.datetime = FixedTime
fold_item = jinja2.nodes.Getitem.as_const


def fold_item_but_no_slice(node, eval_ctx=None):
    if isinstance(node.arg, jinja2.nodes.Slice):
        raise jinja2.nodes.Impossible()
    return fold_item(node, eval_ctx)


jinja2.nodes.Getitem.as_const = fold_item_but_no_slice


def render(template, context):
    """The text, or None where the template is wrong or fails."""
    compiled = chat_template_utils._compile_jinja_template.__wrapped__ if hasattr(
        chat_template_utils._compile_jinja_template, "__wrapped__") else chat_template_utils._compile_jinja_template
    try:
        text = compiled(template).render(**copy.deepcopy(context))  # a copy: the filter indent changes lists in place
        text.encode()
        return text
    except Exception:
        return None


def continue_final(template, context):
    """The text that ends inside the last message; None where transformers refuses."""
    context = {**copy.deepcopy(context), "add_generation_prompt": False}
    try:
        return chat_template_utils.render_jinja_template([context.pop("messages")], chat_template=template, continue_final_message=True, **context)[0][0]
    except Exception:
        return None
