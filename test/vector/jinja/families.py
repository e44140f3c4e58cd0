"""Templates in the manner of the model families, written for these tests, with the texts that the families' own templates give for the same
conversation; and the conversations of the default chat model. SPDX-License-Identifier: Apache-2.0"""

S, U1 = {"role": "system", "content": "S"}, {"role": "user", "content": "U1 "}
A1, U2 = {"role": "assistant", "content": " A1"}, {"role": "user", "content": "U2"}
CONVERSATIONS = [
    [S, U1, A1, U2],
    [U1],
    [U1, A1, U2],
    [S],
    [],
    [{"role": "system", "content": ""}, {"role": "user", "content": "  two\n\nlines\t"}],
    [{"role": "user", "content": "é 😀 \u200b <|im_end|> {{ x }} {% if %}"}],
    [{"role": "tool", "content": "42"}, U2],
    [U1, U2, A1, A1],
    [{"role": "user"}],
    [{"content": "no role"}],
    [{"role": "user", "content": None}],
    [{"role": "user", "content": [{"type": "text", "text": "part"}]}],
]

LLAMA2 = """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system = messages[0]['content'] %}
{% else %}{% set loop_messages = messages %}{% set system = false %}{% endif %}
{% for message in loop_messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}
{% set content = message['content'] %}
{% if loop.first and system != false %}{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}{% endif %}
{% if message['role'] == 'user' %}
{{- bos_token + '[INST] ' + content.strip() + ' [/INST]' -}}
{% elif message['role'] == 'assistant' %}
{{- ' ' + content.strip() + ' ' + eos_token -}}
{% endif %}
{% endfor %}"""

LLAMA3 = """{% for message in messages %}
{%- set turn = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' -%}
{{ bos_token + turn if loop.index0 == 0 else turn }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

MISTRAL3 = """{%- set rest = messages[1:] if messages[0].role == 'system' else messages -%}
{%- set last_user = namespace(index=-1) -%}
{%- for m in rest if m.role == 'user' %}{% set last_user.index = loop.index0 %}{% endfor -%}
{{- bos_token }}{% set seen = namespace(n=-1) -%}
{%- for m in rest -%}
  {%- if m.role == 'user' -%}
    {%- set seen.n = seen.n + 1 -%}
    {{- '[INST] ' }}{{ messages[0].content + '\\n\\n' if seen.n == last_user.index and messages[0].role == 'system' else '' -}}
    {{- m.content + ('[/INST]' if seen.n == last_user.index else ' [/INST]') -}}
  {%- else -%}
    {{- ' ' + m.content|trim + eos_token -}}
  {%- endif -%}
{%- endfor %}"""

DBRX = """{% for m in messages -%}
{{ '\\n' if not loop.first }}<|im_start|>{{ m.role }}{{ '\\n' + m['content'].strip() if m.role != 'assistant' else '\\n' ~ m.content }}<|im_end|>
{%- if loop.last and add_generation_prompt %}{{ '\\n<|im_start|>assistant\\n' }}{% endif -%}
{% endfor %}"""

TOOLS = """{%- macro kind(p) -%}
  {%- if p.type is string -%}{{ p.type }}{%- elif p.type is iterable -%}{{ p.type | join(' or ') }}{%- else -%}any{%- endif -%}
  {%- if p.enum is defined %} of {{ p.enum | map('tojson') | join(', ') }}{% endif -%}
{%- endmacro -%}
{%- for t in tools -%}
{{ t.function.name }}(
{%- for name, p in t.function.parameters.properties.items() -%}
{{ name }}: {{ kind(p) }}{{ '' if name in t.function.parameters.required | default([]) else ' = ' ~ (p.default | tojson if 'default' in p else '?') -}}
{{ ', ' if not loop.last }}
{%- endfor %})
{{ t | tojson(indent=2) }}
{% endfor %}
{%- for m in messages if m.tool_calls -%}
{%- for call in m.tool_calls %}[{{ call.function.name }} {{ call.function.arguments | tojson }}]{% endfor -%}
{%- endfor %}"""

TOOL_CONTEXT = {
    "tools": [{"type": "function", "function": {"name": "f", "description": "d <é> & 'q'", "parameters": {
        "type": "object", "required": ["a"],
        "properties": {"a": {"type": "string", "enum": ["x", "y\""]}, "b": {"type": ["integer", "null"], "default": 3}, "c": {}}}}}],
    "messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "tool_calls": [
        {"function": {"name": "f", "arguments": {"a": "é<", "b": 1.0, "c": [True, None, 1e-05]}}}]}],
}
TOOL_TEXT = """f(a: string of "x", "y\\"", b: integer or null = 3, c:  = ?)
{
  "type": "function",
  "function": {
    "name": "f",
    "description": "d <é> & 'q'",
    "parameters": {
      "type": "object",
      "required": [
        "a"
      ],
      "properties": {
        "a": {
          "type": "string",
          "enum": [
            "x",
            "y\\""
          ]
        },
        "b": {
          "type": [
            "integer",
            "null"
          ],
          "default": 3
        },
        "c": {}
      }
    }
  }
}
[f {"a": "é<", "b": 1.0, "c": [true, null, 1e-05]}]"""


def golden():
    chat = {"messages": [S, U1, A1, U2], "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>"}
    llama3 = dict(chat, bos_token="<|begin_of_text|>")
    head = "<|start_header_id|>{}<|end_header_id|>\n\n{}"
    yield "llama-2", LLAMA2, chat, "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU1 [/INST] A1 </s><s>[INST] U2 [/INST]"
    yield "llama-2, wrong order", LLAMA2, dict(chat, messages=[S, A1]), None
    yield "llama-3", LLAMA3, llama3, "<|begin_of_text|>" + "".join(
        head.format(m["role"], m["content"].strip()) + "<|eot_id|>" for m in chat["messages"]) + head.format("assistant", "")
    yield "mistral v0.3", MISTRAL3, chat, "<s>[INST] U1  [/INST] A1</s>[INST] S\n\nU2[/INST]"
    yield "dbrx", DBRX, chat, ("<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU1<|im_end|>\n<|im_start|>assistant\n A1<|im_end|>\n"
                               "<|im_start|>user\nU2<|im_end|>\n<|im_start|>assistant\n")
    yield "tools", TOOLS, TOOL_CONTEXT, TOOL_TEXT
