"""Conversations for whole chat templates: plain ones, with tools, with tool results, with reasoning, with documents, and odd ones.

Each context is what transformers' apply_chat_template hands to a template. SPDX-License-Identifier: Apache-2.0
"""


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


def call(name, arguments, call_id="abcdefghi"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(content, name="get_weather", call_id="abcdefghi"):
    return {"role": "tool", "content": content, "name": name, "tool_call_id": call_id}


WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather at a <place> & \"time\"; it's °C",
    "parameters": {"type": "object", "required": ["place"], "properties": {
        "place": {"type": "string", "description": "City, e.g. Zürich"},
        "unit": {"type": "string", "enum": ["c", "f"], "default": "c"},
        "days": {"type": ["integer", "null"], "minimum": 1}}},
    "return": {"type": "object", "properties": {"degrees": {"type": "number"}}}}}
ADD = {"type": "function", "function": {
    "name": "add", "description": "", "parameters": {"type": "object", "properties": {
        "numbers": {"type": "array", "items": {"type": "number"}}, "deep": {"type": "object", "properties": {"x": {"type": "boolean"}}}}}}}
TOOLS = [WEATHER, ADD]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}

PLAIN = [user("Hi")]
TURNS = [user("U1 "), assistant(" A1"), user("U2")]
SYSTEM = [system("S"), user("U1 "), assistant(" A1"), user("U2")]
CALLED = [user("Weather?"), assistant("", tool_calls=[call("get_weather", {"place": "Zürich", "days": 2, "unit": None})]), result("21.5 °C")]
CALLED_TEXT = [user("Weather?"), assistant(None, tool_calls=[call("get_weather", "{\"place\": \"Rome\"}")]), result("{\"degrees\": 30}")]
ANSWERED = [system("S")] + CALLED + [assistant("It is 21.5 °C."), user("Thanks")]
PARALLEL = [user("Both?"), assistant("I look.", tool_calls=[
    call("get_weather", {"place": "Bern"}), call("add", {"numbers": [1, 2.5, -1e-07], "deep": {"x": True}}, "ihgfedcba")]),
            result("8"), result("1.5", "add", "ihgfedcba"), assistant("Done"), user("More")]
THOUGHT = [user("Why?"), assistant("Because.", reasoning_content="First, think."), user("And?")]
TAGGED = [user("Why?"), assistant("<think>\nhm\n</think>\n\nBecause."), user("And?"), assistant("<think></think>So.")]
PARTS = [system([{"type": "text", "text": "S"}]), user([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}])]
ODD = [user("  two\n\nlines\t"), assistant(""), user("é 😀 \u200b <|im_end|> </s> [INST] {{ x }} {% if %} \u00a0")]
DOCUMENTS = [{"title": "T1", "text": "one <1>"}, {"title": "T2", "text": "two\nlines", "doc_id": "7"}]


def contexts():
    """(name, context) pairs."""
    for name, messages in (("plain", PLAIN), ("turns", TURNS), ("system", SYSTEM), ("odd", ODD)):
        for prompt in (True, False):
            yield f"{name} {prompt}", {"messages": messages, "add_generation_prompt": prompt}
    for name, messages in (("tools", SYSTEM), ("called", CALLED), ("called text", CALLED_TEXT), ("answered", ANSWERED), ("parallel", PARALLEL)):
        yield name, {"messages": messages, "tools": TOOLS, "add_generation_prompt": True}
    yield "unfinished", {"messages": SYSTEM[:3]}
    yield "unfinished, spaces", {"messages": [user("Hi"), assistant("It is \n")]}
    yield "tools, no prompt", {"messages": PLAIN, "tools": [WEATHER], "add_generation_prompt": False}
    yield "no tools", {"messages": PLAIN, "tools": [], "add_generation_prompt": True}
    yield "called without tools", {"messages": ANSWERED, "add_generation_prompt": True}
    yield "answer last", {"messages": ANSWERED[:-1], "tools": TOOLS, "add_generation_prompt": False}
    yield "reasoning", {"messages": THOUGHT, "add_generation_prompt": True}
    yield "tagged reasoning", {"messages": TAGGED, "add_generation_prompt": False}
    yield "no thinking", {"messages": TURNS, "add_generation_prompt": True, "enable_thinking": False, "thinking": False}
    yield "thinking", {"messages": TURNS, "add_generation_prompt": True, "enable_thinking": True, "thinking": True, "reasoning_effort": "low"}
    yield "documents", {"messages": SYSTEM, "documents": DOCUMENTS, "add_generation_prompt": True}
    yield "dates", {"messages": SYSTEM, "date_string": "1 Jan 2030", "builtin_tools": ["code_interpreter", "search"], "tools": TOOLS,
                    "tools_in_user_message": False, "add_generation_prompt": True}
    yield "parts", {"messages": PARTS, "add_generation_prompt": True}
    yield "system only", {"messages": [system("S")], "add_generation_prompt": True}
    yield "two users", {"messages": [user("a"), user("b")], "add_generation_prompt": True}
    yield "unknown role", {"messages": [{"role": "critic", "content": "x"}], "add_generation_prompt": True}
    yield "no content", {"messages": [{"role": "user"}], "add_generation_prompt": True}
    yield "empty", {"messages": [], "add_generation_prompt": True}


def whole(context):
    """As a template sees it: the special tokens, tools and documents are always there."""
    return {**TOKENS, "tools": None, "documents": None, "add_generation_prompt": False, **context}
