"""Chat templates in the manner of the model families, written for these tests from what is publicly known of their formats. They use the
constructs that published templates use, each in its own way; they are not the families' own files. SPDX-License-Identifier: Apache-2.0"""

ALTERNATE = ("{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
             "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\n")
SPLIT = """{% if messages[0]['role'] == 'system' %}
{% set loop_messages = messages[1:] %}
{% set system_message = messages[0]['content'] %}
{% else %}
{% set loop_messages = messages %}
{% set system_message = DEFAULT %}
{% endif %}
"""


def llama2(default="false", user="bos_token + '[INST] ' + content.strip() + ' [/INST]'", answer="' ' + content.strip() + ' ' + eos_token"):
    return (SPLIT.replace("DEFAULT", default) + "{% for message in loop_messages %}\n" + ALTERNATE + """{% if loop.index0 == 0 and system_message != false %}
{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}
{% else %}
{% set content = message['content'] %}
{% endif %}
{% if message['role'] == 'user' %}
{{- """ + user + """ -}}
{% elif message['role'] == 'system' %}
{{- '<<SYS>>\\n' + content.strip() + '\\n<</SYS>>\\n\\n' -}}
{% elif message['role'] == 'assistant' %}
{{- """ + answer + """ -}}
{% endif %}
{% endfor %}
""")


def chatml(default=None, end="<|im_end|>", trim=False, bos=False, prompt="assistant"):
    content = "message['content'] | trim" if trim else "message['content']"
    head = "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}" + ("{{ bos_token }}" if bos else "")
    if default:
        head += ("{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\n" + default + end + "\\n' }}{% endif %}")
    return (head + "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + " + content + " + '" + end + "' + '\\n'}}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>" + prompt + "\\n' }}{% endif %}")


def tagged(user, assistant, system, end="eos_token", prompt=None, before="", after_each=""):
    """<|user|> text </s> and the like."""
    return (before + "{% for message in messages %}\n"
            "{% if message['role'] == 'user' %}\n{{ '" + user + "' + message['content'] + " + end + " }}\n"
            "{% elif message['role'] == 'system' %}\n{{ '" + system + "' + message['content'] + " + end + " }}\n"
            "{% elif message['role'] == 'assistant' %}\n{{ '" + assistant + "'  + message['content'] + " + end + " }}\n{% endif %}\n" + after_each +
            "{% if loop.last and add_generation_prompt %}\n{{ '" + (prompt or assistant.rstrip("n").rstrip("\\")) + "' }}\n{% endif %}\n{% endfor %}")


LLAMA3_TURN = "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"


def llama31(date, system_extra="", parallel=False):
    return """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    """ + date + """
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The system turn is taken out, so that it can be put where it belongs. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code_interpreter') | join(", ") + "\\n\\n" }}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}""" + system_extra + """
{%- if tools is not none and not tools_in_user_message %}
    {{- "You can call these functions, as JSON with name and parameters.\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}

{#- Tools stand in the first user turn. #}
{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content'] | trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("There is no first user message to put the tools into!") }}
    {%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\n' -}}
    {{- "Answer with a call of one of these functions. " }}
    {{- 'Write {"name": function name, "parameters": dictionary of argument name and its value}. Use no variables.\\n\\n' }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot_id|>" }}
{%- endif %}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- """ + LLAMA3_TURN + """ + message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        """ + ("""{%- for call in message.tool_calls %}
        {%- set tool_call = call.function %}
        {{- '; ' if not loop.first }}{{ '{"name": "' ~ tool_call.name ~ '", "parameters": ' ~ tool_call.arguments | tojson ~ '}' }}
        {%- endfor %}
        {{- "<|eot_id|>" }}""" if parallel else """{%- if not message.tool_calls | length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {%- if builtin_tools is defined and tool_call.name in builtin_tools %}
            {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
            {{- "<|python_tag|>" + tool_call.name + ".call(" }}
            {%- for arg_name, arg_val in tool_call.arguments | items %}
                {{- arg_name + '="' + arg_val + '"' }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- endif %}
                {%- endfor %}
            {{- ")" }}
        {%- else  %}
            {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
            {{- '{"name": "' + tool_call.name + '", ' }}
            {{- '"parameters": ' }}
            {{- tool_call.arguments | tojson }}
            {{- "}" }}
        {%- endif %}
        {{- "<|eom_id|>" if builtin_tools is defined else "<|eot_id|>" }}""") + """
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""


def mistral(user=" [INST] ", close=" [/INST]", answer="' ' + message['content']|trim + eos_token", tools=True, system_last=True, ids=True):
    place = "loop.last" if system_last else "loop.first"
    tool = """
{%- if tools is not none and message is sameas(last_user.message) %}
{{- '[AVAILABLE_TOOLS] [' }}
{%- for tool in tools %}{%- set tool = tool.function %}
{{- '{"type": "function", "function": {' }}
{%- for key, val in tool.items() if key != 'return' %}
{%- if val is string %}{{- '"' + key + '": "' + val + '"' }}{%- else %}{{- '"' + key + '": ' + val|tojson }}{%- endif %}
{%- if not loop.last %}{{- ', ' }}{%- endif %}
{%- endfor %}
{{- '}}' }}{{- ', ' if not loop.last else ']' }}
{%- endfor %}{{- '[/AVAILABLE_TOOLS]' }}
{%- endif %}""" if tools else ""
    check = """{%- if not tool_call.id is defined or tool_call.id|length != 9 %}
{{- raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{%- endif %}""" if ids else ""
    return """{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}{%- set rest = messages[1:] %}
{%- else %}{%- set rest = messages %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- set users = rest | selectattr('role', 'equalto', 'user') | list %}
{%- set last_user = namespace(message=users[-1]) %}
{%- set ns = namespace(index=0) %}
{%- for message in rest if not (message.role == 'tool' or message.role == 'tool_results' or (message.tool_calls is defined and message.tool_calls is not none)) %}
{%- if (message['role'] == 'user') != (ns.index % 2 == 0) %}{{- raise_exception('Roles must alternate.') }}{%- endif %}
{%- set ns.index = ns.index + 1 %}
{%- endfor %}
{{- bos_token }}
{%- for message in rest %}
{%- if message['role'] == 'user' %}""" + tool + """
{%- if """ + place + """ and system_message is defined %}
{{- '""" + user + """' + system_message + '\\n\\n' + message['content'] + '""" + close + """' }}
{%- else %}
{{- '""" + user + """' + message['content'] + '""" + close + """' }}
{%- endif %}
{%- elif message.tool_calls is defined and message.tool_calls is not none and message.tool_calls|length > 0 %}
{{- '[TOOL_CALLS] [' }}
{%- for tool_call in message.tool_calls %}
{%- set out = tool_call.function|tojson %}
{{- out[:-1] }}""" + check + """
{{- ', "id": "' + tool_call.id + '"}' }}{{- ', ' if not loop.last else ']' + eos_token }}
{%- endfor %}
{%- elif message['role'] == 'assistant' %}
{{- """ + answer + """ }}
{%- elif message['role'] == 'tool_results' or message['role'] == 'tool' %}
{%- set content = message.content.content if message.content.content is defined else message.content %}
{{- '[TOOL_RESULTS] {"content": ' + content|string + ', ' }}
{{- '"call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
{%- else %}
{{- raise_exception('Only user and assistant roles are supported, with the exception of an initial optional system message!') }}
{%- endif %}
{%- endfor %}
"""


def guard(categories, who="loop.index % 2 == 1", header=True):
    return """{%- if messages|length % 2 == 0 %}{% set role = 'Agent' %}{% else %}{% set role = 'User' %}{% endif -%}
""" + ("<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n" if header else "[INST] ") + """Task: Check if there is unsafe content in '{{ role }}' messages in conversations according to our safety policy with the below categories.

<BEGIN UNSAFE CONTENT CATEGORIES>
{%- set names = """ + repr(categories) + """ %}
{%- for name in names %}
S{{ loop.index }}: {{ name }}.
{%- endfor %}
<END UNSAFE CONTENT CATEGORIES>

<BEGIN CONVERSATION>

{% for message in messages -%}
{%- if (message['role'] == 'user') != (""" + who + """) -%}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{%- endif -%}
{%- set content = message['content'] -%}
{%- if message['role'] == 'user' %}{%- set who = 'User' %}{%- elif message['role'] == 'assistant' %}{%- set who = 'Agent' %}{%- endif %}
{{- who }}: {{ content.strip() }}

{% endfor -%}
<END CONVERSATION>

Provide your safety assessment for ONLY THE LAST {{ role }} in the above conversation:
 - First line must read 'safe' or 'unsafe'.
 - If unsafe, a second line must include a comma-separated list of violated categories.""" + (
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n" if header else " [/INST]")


def hermes(open_call="<tool_call>", close_call="</tool_call>", default="You are a helpful assistant."):
    return """{%- macro describe(p) -%}
{%- if p.type is string %}{{ p.type }}{% elif p.type is iterable %}{{ p.type | join(' | ') }}{% else %}any{% endif -%}
{%- if p.enum is defined %} (one of {{ p.enum | join(', ') }}){% endif -%}
{%- endmacro -%}
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content }}{%- else %}{{- '""" + default + """' }}{%- endif %}
    {{- "\\n\\n# Tools\\n\\nFunction signatures are between <tools></tools>:\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}{{- tool | tojson }}
        {%- for name, p in tool.function.parameters.properties.items() %}
            {{- "\\n# " ~ name ~ ": " ~ describe(p) }}{{ ' required' if name in tool.function.parameters.required | default([]) }}
        {%- endfor %}
    {%- endfor %}
    {{- "\\n</tools>\\n\\nCall with """ + open_call + """ and """ + close_call + """.<|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\n""" + default + """<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}{%- set tool_call = tool_call.function %}{%- endif %}
            {{- '\\n""" + open_call + """\\n{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}
            {{- tool_call.arguments if tool_call.arguments is string else tool_call.arguments | tojson }}{{- '}\\n""" + close_call + """' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' }}{{- message.content }}{{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
"""


QWEN3 = """{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}{%- else %}{%- set content = '' %}{%- endif %}
    {%- if message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and not enable_thinking %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}"""

DEEPSEEK_R1 = """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}
{%- set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='') -%}
{%- for message in messages -%}{%- if message['role'] == 'system' -%}{%- set ns.system_prompt = message['content'] -%}{%- endif -%}{%- endfor -%}
{{ bos_token }}{{ ns.system_prompt }}
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}{%- set ns.is_tool = false -%}{{ '<|User|>' + message['content'] }}{%- endif -%}
{%- if message['role'] == 'assistant' and message['tool_calls'] -%}
{%- set ns.is_tool = false -%}
{%- for tool in message['tool_calls'] -%}
{%- if not ns.is_first -%}
{{ '<|Assistant|><|tool_calls_begin|><|tool_call_begin|>' + tool['type'] + '<|tool_sep|>' + tool['function']['name'] + '\\n' + '```json' + '\\n' + tool['function']['arguments']|tojson + '\\n' + '```' + '<|tool_call_end|>' }}
{%- set ns.is_first = true -%}
{%- else -%}
{{ '\\n' + '<|tool_call_begin|>' + tool['type'] + '<|tool_sep|>' + tool['function']['name'] + '<|tool_call_end|>' }}{{ '<|tool_calls_end|><|end|>' }}
{%- endif -%}
{%- endfor -%}
{%- elif message['role'] == 'assistant' -%}
{%- if ns.is_tool -%}{{ '<|tool_outputs_end|>' + message['content'] + '<|end|>' }}{%- set ns.is_tool = false -%}
{%- else -%}{%- set content = message['content'] -%}
{%- if '</think>' in content -%}{%- set content = content.split('</think>')[-1] -%}{%- endif -%}{{ '<|Assistant|>' + content + '<|end|>' }}{%- endif -%}
{%- endif -%}
{%- if message['role'] == 'tool' -%}
{%- set ns.is_tool = true -%}
{%- if ns.is_output_first -%}{{ '<|tool_outputs_begin|><|tool_output_begin|>' + message['content'] + '<|tool_output_end|>' }}{%- set ns.is_output_first = false %}
{%- else -%}{{ '\\n<|tool_output_begin|>' + message['content'] + '<|tool_output_end|>' }}{%- endif -%}
{%- endif -%}
{%- endfor -%}
{% if ns.is_tool %}{{ '<|tool_outputs_end|>' }}{% endif %}{% if add_generation_prompt and not ns.is_tool %}{{ '<|Assistant|><think>\\n' }}{% endif %}"""

GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}""" + ALTERNATE.strip() + \
    """{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"""

GEMMA3 = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}{%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}{%- set first_user_prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}{%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}{%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception("Roles must alternate") }}{%- endif -%}
    {%- if (message['role'] == 'assistant') -%}{%- set role = "model" -%}{%- else -%}{%- set role = message['role'] -%}{%- endif -%}
    {{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}{{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}{%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}
        {%- endfor -%}
    {%- else -%}{{ raise_exception("Invalid content type") }}{%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}
"""

COMMAND_R = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% elif false == true %}{% set loop_messages = messages %}{% set system_message = 'Never.' %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% if system_message != false %}{{ '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' + system_message + '<|END_OF_TURN_TOKEN|>' }}{% endif %}{% for message in loop_messages %}""" + ALTERNATE.strip() + \
    """{% set content = message['content'] %}{% if message['role'] == 'user' %}{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + content.strip() + '<|END_OF_TURN_TOKEN|>' }}{% elif message['role'] == 'assistant' %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>'  + content.strip() + '<|END_OF_TURN_TOKEN|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}"""

COMMAND_R_TOOLS = """{%- macro json_to_python_type(json_spec) %}
{%- set types = {"string": "str", "number": "float", "integer": "int", "boolean": "bool"} %}
{%- if json_spec.type is defined and json_spec.type is string and types[json_spec.type] is defined %}{{- types[json_spec.type] }}
{%- elif json_spec.type == "array" %}{{- "List[" + json_to_python_type(json_spec['items']) + "]" }}
{%- elif json_spec.type == "object" %}
{%- if json_spec.additionalProperties is defined %}{{- "Dict[str, " + json_to_python_type(json_spec.additionalProperties) + ']' }}{%- else %}{{- "Dict" }}{%- endif %}
{%- elif json_spec.type is iterable and json_spec.type is not string %}
{{- "Union[" }}{%- for t in json_spec.type %}{{- json_to_python_type({"type": t}) }}{%- if not loop.last %}{{- "," }}{%- endif %}{%- endfor %}{{- "]" }}
{%- else %}{{- "Any" }}{%- endif %}
{%- endmacro %}
{%- macro tool_parser(tools) %}
{%- for tool in tools %}
{%- if loop.first %}{{- "\\n" }}{%- endif %}
{{- "```python\\ndef " + tool.function.name + "(" }}
{%- for param_name, param_fields in tool.function.parameters.properties|items %}
{%- if loop.index0 != 0 %}{{- ", " }}{%- endif %}
{{- param_name + ": " }}
{%- if not param_name in tool.function.parameters.required|default([]) %}{{- "Optional[" + json_to_python_type(param_fields) + "] = None" }}{%- else %}{{- json_to_python_type(param_fields) }}{%- endif %}
{%- endfor %}
{{- ') -> List[Dict]:\\n    \\"\\"\\"' }}{{- tool.function.description }}
{%- if tool.function.parameters.properties|length != 0 %}{{- "\\n\\n    Args:\\n        " }}
{%- for param_name, param_fields in tool.function.parameters.properties|items %}
{%- if loop.index0 != 0 %}{{- "\\n        " }}{%- endif %}{{- param_name + " (" + json_to_python_type(param_fields) + "): " + param_fields.description|default('') }}
{%- endfor %}{%- endif %}
{{- '\\n    \\"\\"\\"\\n    pass\\n```' }}
{%- endfor %}
{%- endmacro %}
{{- bos_token }}{{- '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' }}
{%- if messages[0]['role'] == 'system' %}{{- messages[0]['content'] }}{%- else %}{{- '## Task and Context\\nYou help.' }}{%- endif %}
{{- tool_parser(tools) if tools }}{{- '<|END_OF_TURN_TOKEN|>' }}
{%- for message in messages %}
{%- if message.role == 'system' and loop.first %}{% continue %}{%- endif %}
{%- if message.role == 'user' %}{{- '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + message['content'].strip() + '<|END_OF_TURN_TOKEN|>' }}
{%- elif message.role == 'assistant' %}
{{- '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{%- if message.content %}{{ message.content }}{%- endif %}
{%- if message.tool_calls %}{{- '\\nAction: ```json\\n[\\n' }}
{%- for tool_call in message.tool_calls %}{{- '{\\n'|indent(4, first=true) }}{{- ('"tool_name": "' + tool_call.function.name + '",\\n')|indent(8, first=true) }}
{{- '"parameters": '|indent(8, first=true) }}{{- (tool_call.function.arguments|tojson(indent=4)|indent(8)) }}{{- '\\n    }' }}{{- ',' if not loop.last }}{{- '\\n' }}
{%- endfor %}{{- ']```' }}{%- endif %}{{- '<|END_OF_TURN_TOKEN|>' }}
{%- elif message.role == 'tool' %}
{{- '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|><results>\\n' }}{{- message.content ~ '</results><|END_OF_TURN_TOKEN|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{%- endif %}"""

COMMAND_R_DOCUMENTS = """{{ bos_token }}<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>{{ messages[0].content if messages[0].role == 'system' else '' }}
{%- if documents %}<results>
{% for document in documents %}{{ '\\nDocument: ' }}{{ loop.index0 }}
{% for key, value in document.items() %}{{ key }}: {{ value }}
{% endfor %}{% endfor %}</results>{% endif %}<|END_OF_TURN_TOKEN|>{% for m in messages if m.role in ['user', 'assistant'] %}
{{- '<|START_OF_TURN_TOKEN|>' ~ {'user': '<|USER_TOKEN|>', 'assistant': '<|CHATBOT_TOKEN|>'}[m.role] ~ m.content ~ '<|END_OF_TURN_TOKEN|>' }}{% endfor %}
{%- if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}"""

GRANITE3 = """{%- if messages[0]['role'] == 'system' %}
     {%- set system_message = messages[0]['content'] %}
     {%- set loop_messages = messages[1:] %}
 {%- else %}
     {%- set system_message = "Knowledge Cutoff Date: April 2024.\\nToday's Date: " + strftime_now('%B %d, %Y') + ".\\nYou are an assistant." %}
     {%- if tools and documents %}
         {%- set system_message = system_message + " Tools and documents." %}
     {%- elif tools %}
         {%- set system_message = system_message + " Tools." %}
     {%- elif documents %}
         {%- set system_message = system_message + " Documents." %}
    {%- elif thinking %}
    {%- set system_message = system_message + " Think." %}
    {%- endif %}
     {%- set loop_messages = messages %}
 {%- endif %}
 {{- '<|start_of_role|>system<|end_of_role|>' + system_message + '<|end_of_text|>\\n' }}
 {%- if tools %}
     {{- '<|start_of_role|>tools<|end_of_role|>' }}
     {{- tools | tojson(indent=4) }}
     {{- '<|end_of_text|>\\n' }}
 {%- endif %}
 {%- if documents %}
     {{- '<|start_of_role|>documents<|end_of_role|>' }}
     {%- for document in documents %}
         {{- 'Document ' + loop.index0 | string + '\\n' }}
         {{- document['text'] }}
         {%- if not loop.last %}
              {{- '\\n\\n'}}
         {%- endif%}
     {%- endfor %}
     {{- '<|end_of_text|>\\n' }}
 {%- endif %}
 {%- for message in loop_messages %}
     {{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content'] + '<|end_of_text|>\\n' }}
     {%- if loop.last and add_generation_prompt %}
         {{- '<|start_of_role|>assistant' }}
             {%- if controls %}
                 {{- ' ' + controls | tojson()}}
             {%- endif %}
         {{- '<|end_of_role|>' }}
     {%- endif %}
 {%- endfor %}"""

PHI3 = """{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') %}{{'<|user|>' + '\n' + message['content'] + '<|end|>' + '\n' + '<|assistant|>' + '\n'}}{% elif (message['role'] == 'assistant') %}{{message['content'] + '<|end|>' + '\n'}}{% endif %}{% endfor %}"""
PHI35 = """{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"""
PHI4 = """{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and message['tools'] is not none %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>' }}{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"""

CODELLAMA70 = """{% if messages[0]['role'] == 'system' %}{% set user_index = 1 %}{% else %}{% set user_index = 0 %}{% endif %}
{% for message in messages %}
{% if (message['role'] == 'user') != ((loop.index0 + user_index) % 2 == 0) and message['role'] != 'system' %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}
{% if loop.index0 == 0 %}{{ bos_token }}{% endif %}
{% set content = 'Source: ' + message['role'] + '\\n\\n ' + message['content'] | trim %}
{{ content + ' <step> ' }}
{%- endfor %}
{{ 'Source: assistant\\nDestination: user\\n\\n ' }}"""

OLMO = """{{ eos_token }}{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>
' + message['content'] }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>
'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

TULU = """{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|system|>\n' + message['content'] + '\n' }}{% elif message['role'] == 'user' %}{{ '<|user|>\n' + message['content'] + '\n' }}{% elif message['role'] == 'assistant' %}{% if not loop.last %}{{ '<|assistant|>\n'  + message['content'] + eos_token + '\n' }}{% else %}{{ '<|assistant|>\n'  + message['content'] + eos_token }}{% endif %}{% endif %}{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"""

FALCON = """{% for message in messages %}{% if not loop.first %}{{ '\\n' }}{% endif %}{% if message['role'] == 'system' %}{{ 'System: ' }}{% elif message['role'] == 'user' %}{{ 'User: ' }}{% elif message['role'] == 'assistant' %}{{ 'Falcon: ' }}{% endif %}{{ message['content'].replace('\\r\\n', '\\n').replace('\\n\\n', '\\n') }}{% endfor %}{% if add_generation_prompt %}{{ '\\n' + 'Falcon:' }}{% endif %}"""

ALPACA = """{{ (messages|selectattr('role', 'equalto', 'system')|list|last).content|trim if (messages|selectattr('role', 'equalto', 'system')|list) else 'Below is an instruction that describes a task. Write a response that appropriately completes the request.' }}

{% for message in messages %}
{% if message['role'] == 'user' %}
### Instruction:
{{ message['content']|trim -}}
{% if not loop.last %}


{% endif %}
{% elif message['role'] == 'assistant' %}
### Response:
{{ message['content']|trim -}}
{% if not loop.last %}


{% endif %}
{% elif message['role'] == 'user_context' %}
### Input:
{{ message['content']|trim -}}
{% endif %}
{% endfor %}
{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}


### Response:
{% endif %}"""

VICUNA = """{{ bos_token }}{% if messages[0].role == 'system' %}{{ messages[0].content.strip() + ' ' }}{% endif %}{% for m in messages if m.role != 'system' %}{{ 'USER: ' + m.content.strip() + ' ' if m.role == 'user' else 'ASSISTANT: ' + m.content.strip() + eos_token }}{% else %}{{ raise_exception('No turns') }}{% endfor %}{{ 'ASSISTANT:' if add_generation_prompt }}"""
OPENCHAT = """{{ bos_token }}{% for message in messages %}{{ 'GPT4 Correct ' + message['role'].title() + ': ' + message['content'] + '<|end_of_turn|>'}}{% endfor %}{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}"""
STARLING = """{{ bos_token }}{% for message in messages %}{% set role = 'Code ' ~ message.role|capitalize %}{{ role }}: {{ message.content }}<|end_of_turn|>{% endfor %}{% if add_generation_prompt %}Code Assistant:{% endif %}"""
BAICHUAN = """{% for m in messages %}{% if m.role == 'user' %}{{ '<reserved_106>' ~ m.content }}{% elif m.role == 'assistant' %}{{ '<reserved_107>' ~ m.content ~ eos_token }}{% else %}{{ m.content }}{% endif %}{% endfor %}{{ '<reserved_107>' if add_generation_prompt else '' }}"""
CHATGLM = """[gMASK]<sop>{% for item in messages %}{% if item['role'] == 'assistant' and item['metadata'] %}<|assistant|>{{ item['metadata'] }}
{{ item['content'] }}{% else %}<|{{ item['role'] }}|>
{{ item['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""
ORION = """{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}{% if message['role'] == 'user' %}{{ 'Human: ' + message['content'] + '\\n\\nAssistant: ' + eos_token }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"""
SOLAR = """{% for message in messages %}{% if message['role'] == 'system' %}{% if message['content']%}{{'### System:\\n' + message['content']+'\\n\\n'}}{% endif %}{% elif message['role'] == 'user' %}{{'### User:\\n' + message['content']+'\\n\\n'}}{% elif message['role'] == 'assistant' %}{{'### Assistant:\\n'  + message['content']}}{% endif %}{% if loop.last and add_generation_prompt %}{{ '### Assistant:\\n' }}{% endif %}{% endfor %}"""
AMBERCHAT = """{% set sep = {'user': '### Human: ', 'assistant': '### Assistant: '} %}{{ bos_token }}{% for m in messages %}{{ sep.get(m.role, '') ~ m.content|trim }}{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '\\n### Assistant:' }}{% endif %}"""
DBRX = """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% elif 'system' not in messages[0]['role'] %}{% set loop_messages = messages %}{% set system_message = 'You are a model. You were last updated in December 2023.' ~ '\\nYOUR ANSWERS ARE SHORT.' %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if loop.index0 == 0 %}{% if system_message != false %}{{ '<|im_start|>system\\n' + system_message | trim + '<|im_end|>\\n'}}{% endif %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}{% else %}{{ '\\n' + '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}{% endif %}{% if (add_generation_prompt == true and loop.last) %}{{ '\\n' + '<|im_start|>' + 'assistant' + '\\n' }}{% endif %}{% endfor %}"""
MPT = """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% elif not 'system' in messages[0]['role'] %}{% set loop_messages = messages %}{% set system_message = 'A conversation between a user and an LLM-based AI assistant.' %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if loop.index0 == 0 %}{% if system_message != false %}{{ '<|im_start|>system\\n' + system_message.strip() + '\\n'}}{% endif %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}{% else %}{{ '\\n' + '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}{% endif %}{% if (add_generation_prompt == true) %}{{ '\\n' + '<|im_start|>' + 'assistant' + '\\n' }}{% elif (message['role'] == 'assistant') %}{{ eos_token }}{% endif %}{% endfor %}"""
GENERATION = """{%- for message in messages %}
{%- if message.role == 'assistant' %}
<|im_start|>assistant
{% generation %}{{ message.content }}<|im_end|>{% endgeneration %}

{% else %}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
HARMONY = """{%- macro render_content(c) -%}{%- if c is string -%}{{ c }}{%- else -%}{%- for p in c if p.type == 'text' -%}{{ p.text }}{%- endfor -%}{%- endif -%}{%- endmacro -%}
{%- macro turn(role, channel='', to=none) -%}
<|start|>{{ role }}{% if to %} to={{ to }}{% endif %}{% if channel %}<|channel|>{{ channel }}{% endif %}<|message|>{{ caller() }}<|{{ kwargs.end | default('end') }}|>
{%- endmacro -%}
{%- call turn('system') -%}You are a model.
Current date: {{ strftime_now("%Y-%m-%d") }}

Reasoning: {{ reasoning_effort | default("medium") }}{%- endcall -%}
{%- if tools -%}{%- call turn('developer') -%}# Tools

namespace functions {
{% for tool in tools %}
// {{ tool.function.description }}
type {{ tool.function.name }} = (_: {
{%- for name, p in tool.function.parameters.properties | dictsort %}
{{ name }}{{ '?' if name not in tool.function.parameters.required | default([]) }}: {{ p.enum | map('tojson') | join(' | ') if p.enum else p.type }},{% if p.default is defined %} // default: {{ p.default }}{% endif %}
{%- endfor %}

}) => any;
{% endfor %}
} // namespace functions{%- endcall -%}{%- endif -%}
{%- set last = namespace(call=none) -%}
{%- for m in messages -%}
{%- if m.role == 'assistant' and m.tool_calls -%}
{%- set last.call = m.tool_calls[0].function.name -%}
{%- call turn('assistant', 'commentary json', 'functions.' ~ last.call, end='call') -%}{{ m.tool_calls[0].function.arguments | tojson }}{%- endcall -%}
{%- elif m.role == 'assistant' -%}
{%- if m.thinking and loop.last -%}{%- call turn('assistant', 'analysis') -%}{{ m.thinking }}{%- endcall -%}{%- endif -%}
{%- call turn('assistant', 'final') -%}{{ render_content(m.content) }}{%- endcall -%}
{%- elif m.role == 'tool' -%}
{%- if last.call is none -%}{{ raise_exception('A tool result without a call') }}{%- endif -%}
{%- call turn('functions.' ~ last.call, 'commentary', 'assistant') -%}{{ m.content | tojson }}{%- endcall -%}
{%- else -%}{%- call turn(m.role) -%}{{ render_content(m.content) }}{%- endcall -%}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|start|>assistant{%- endif -%}"""
FUNCTIONARY = """{{ bos_token }}{% if tools %}{% filter indent(2) %}tools:
{% for t in tools -%}
- {{ t.function.name }}({{ t.function.parameters.properties.keys() | sort | join(', ') }})
{% endfor %}{% endfilter %}
{% endif %}{% for m in messages %}{% set text %}{% if m.content is string %}{{ m.content }}{% elif m.content %}{{ m.content | map(attribute='text') | select | join(' ') }}{% endif %}{% endset %}<|{{ m.role | upper }}|>{{ text | trim }}{% for c in m.tool_calls or [] %}<function={{ c.function.name }}>{{ c.function.arguments | tojson(separators=(',', ':')) }}</function>{% endfor %}<|eot|>{% endfor %}{% if add_generation_prompt %}<|ASSISTANT|>{% endif %}"""
EXAONE = """{% for message in messages %}{% if loop.first and message['role'] != 'system' %}{{ '[|system|][|endofturn|]\\n' }}{% endif %}{{ '[|' + message['role'] + '|]' + message['content'] }}{% if message['role'] == 'user' %}{{ '\\n' }}{% else %}{{ '[|endofturn|]\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}"""
NEMOTRON = """{{'<extra_id_0>System'}}{% for message in messages %}{% if message['role'] == 'system' %}{{'\n' + message['content'].strip()}}{% if tools or contexts %}{{'\n'}}{% endif %}{% endif %}{% endfor %}{% if tools %}{% for tool in tools %}{{ '\n<tool> ' + tool|tojson + ' </tool>' }}{% endfor %}{% endif %}{{'\n\n'}}{% for message in messages %}{% if message['role'] == 'user' %}{{ '<extra_id_1>User\n' + message['content'].strip() + '\n' }}{% elif message['role'] == 'assistant' %}{{ '<extra_id_1>Assistant\n' + message['content'].strip() + '\n' }}{% elif message['role'] == 'tool' %}{{ '<extra_id_1>Tool\n' + message['content'].strip() + '\n' }}{% endif %}{% endfor %}{%- if add_generation_prompt %}{{'<extra_id_1>Assistant\n'}}{%- endif %}"""
PREVIOUS = """{% for m in messages %}{% if loop.previtem is not defined or loop.previtem.role != m.role %}{{ '\\n' if not loop.first }}{{ '@' ~ m.role ~ ': ' }}{% else %}{{ ' / ' }}{% endif %}{{ m.content }}{% if loop.nextitem is defined and loop.nextitem.role == m.role %},{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '\\n@assistant: ' }}{% endif %}"""
BREAKS = """{%- for m in messages -%}{%- if m.role == 'tool' -%}{%- break -%}{%- endif -%}{%- if not m.content -%}{%- continue -%}{%- endif -%}[{{ loop.index }}/{{ loop.length }}:{{ m.role[0] | upper }}] {{ m.content | replace('\\n', '\\\\n') | truncate(20, true) }}
{% else -%}nothing{%- endfor -%}{{ '>' if add_generation_prompt }}"""
JSONL = """{% for m in messages %}{{ m | tojson }}
{% endfor %}{{ {'role': 'assistant', 'content': none, 'n': messages | length, 'ok': true} | tojson(indent=2) if add_generation_prompt }}"""
COUNTED = """{%- set ns = namespace(turns=0, chars=0, roles=[]) -%}
{%- for m in messages -%}{%- set ns.turns = ns.turns + (m.role == 'user') -%}{%- set ns.chars = ns.chars + (m.content or '') | length -%}{%- set ns.roles = ns.roles + [m.role] -%}{%- endfor -%}
turns {{ ns.turns }}, characters {{ ns.chars }}, roles {{ ns.roles | unique | sort | join('+') }}, last {{ ns.roles | last | default('none', true) }}
{% for role, group in messages | groupby('role') %}{{ role }}: {{ group | map(attribute='content') | reject('none') | map('trim') | join(' | ') }}
{% endfor %}{{ 'go' if add_generation_prompt else 'stop' }}"""

POLICY = ["Violent Crimes", "Non-Violent Crimes", "Sex Crimes", "Child Exploitation", "Specialized Advice", "Privacy", "Intellectual Property"]

TEMPLATES = {
    "llama-2": llama2(),
    "llama-2 default system": llama2("'You are a helpful, respectful and honest assistant.'"),
    "codellama": llama2(user="bos_token ~ '[INST] ' ~ content | trim ~ ' [/INST]'", answer="' '  ~ content | trim ~ ' ' ~ eos_token"),
    "codellama-70b": CODELLAMA70,
    "llama-2 chinese": llama2(user="'<s>Human: ' + content.strip() + '\\n'", answer="'</s><s>Assistant: ' + content + '\\n</s>'"),
    "llama-3": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = " + LLAMA3_TURN + "+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "llama-3 old": "{% for message in messages %}{{ (bos_token if loop.first else '') ~ '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\\n\\n' ~ message.content | trim ~ '<|eot_id|>' }}{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}",
    "llama-3.1": llama31('{%- set date_string = "26 Jul 2024" %}'),
    "llama-3.2": llama31('{%- if strftime_now is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- else %}{%- set date_string = "26 Jul 2024" %}{%- endif %}'),
    "llama-3.3": llama31('{%- set date_string = "26 Jul 2024" %}', system_extra='\n{{- "Answer in the language of the question.\\n" if not tools }}'),
    "llama-3.x parallel": llama31('{%- set date_string = strftime_now("%d %B %Y") %}', parallel=True),
    "llama-guard-2": guard(POLICY, header=False),
    "llama-guard-3": guard(POLICY + ["Hate", "Elections"]),
    "llama-guard-3-1b": guard(POLICY[:3], who="loop.index0 % 2 == 0"),
    "mistral-v0.1": "{{ bos_token }}{% for message in messages %}" + ALTERNATE.strip() + "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
    "mistral-v0.2": mistral(user=" [INST] ", close=" [/INST]", answer="' ' + message['content'] + eos_token", tools=False, system_last=False),
    "mistral-v0.3": mistral(user="[INST] ", close="[/INST]"),
    "mistral-nemo": mistral(user="[INST]", close="[/INST]", answer="message['content'] + eos_token"),
    "mixtral": mistral(user=" [INST] ", close="  [/INST]", answer="'  ' + message['content'] + eos_token", tools=False, system_last=False),
    "mixtral-8x22b": mistral(user="[INST] ", close=" [/INST]", ids=False),
    "dbrx": DBRX,
    "mpt-chat": MPT,
    "smollm2": chatml("You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
    "smollm": chatml(),
    "zephyr": tagged("<|user|>\\n", "<|assistant|>\\n", "<|system|>\\n", prompt="<|assistant|>"),
    "tinyllama": tagged("<|user|>\\n", "<|assistant|>\\n", "<|system|>\\n", end="eos_token ~ ''", prompt="<|assistant|>"),
    "stablelm-2": "{% for message in messages %}{{'<|' + message['role'] + '|>\n' + message['content'] + '<|endoftext|>\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
    "tulu-2": TULU,
    "tulu-3": TULU.replace("{{ bos_token }}", "", 1).replace("eos_token + '\n'", "eos_token ~ '\\n'"),
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "hermes-2": chatml("You are Hermes.", trim=True),
    "hermes-2-pro tool_use": hermes(),
    "hermes-3 tool_use": hermes(default="You are a function calling AI model."),
    "qwen-1.5": chatml("You are a helpful assistant", bos=False),
    "qwen-2": chatml("You are a helpful assistant."),
    "qwen-2.5": hermes(default="You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    "qwen-3": QWEN3,
    "yi": chatml(trim=False).replace("{% if not add_generation_prompt is defined %}", "{% if not add_generation_prompt %}"),
    "internlm-2": chatml(bos=True),
    "internlm": "{{ bos_token }}{% for m in messages %}{{ {'user': '<|User|>:', 'assistant': '<|Bot|>:', 'system': '<|System|>:'}[m.role] + m.content + ('<eoh>\\n' if m.role == 'user' else '<eoa>\\n') }}{% endfor %}{{ '<|Bot|>:' if add_generation_prompt else '' }}",
    "phi-3": PHI3,
    "phi-3.5": PHI35,
    "phi-4-mini": PHI4,
    "phi-4": "{% for message in messages %}{% if (message['role'] == 'system') %}{{'<|im_start|>system<|im_sep|>' + message['content'] + '<|im_end|>'}}{% elif (message['role'] == 'user') %}{{'<|im_start|>user<|im_sep|>' + message['content'] + '<|im_end|>'}}{% elif (message['role'] == 'assistant') %}{{'<|im_start|>assistant<|im_sep|>' + message['content'] + '<|im_end|>'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
    "gemma": GEMMA,
    "gemma-2": GEMMA.replace("'System role not supported'", '"No system turns"'),
    "gemma-3": GEMMA3,
    "command-r": COMMAND_R,
    "command-r tool_use": COMMAND_R_TOOLS,
    "command-r rag": COMMAND_R_DOCUMENTS,
    "deepseek": "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\n\n' }}{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + eos_token }}{% elif message['role'] == 'system' %}{{ message['content'] + '\n\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}",
    "deepseek-coder": "{% if not add_generation_prompt is defined %}\n{% set add_generation_prompt = false %}\n{% endif %}\n{%- set ns = namespace(found=false) -%}\n{%- for message in messages -%}\n    {%- if message['role'] == 'system' -%}\n        {%- set ns.found = true -%}\n    {%- endif -%}\n{%- endfor -%}\n{{bos_token}}{%- if not ns.found -%}\n{{'You are a programming assistant.\\n'}}\n{%- endif %}\n{%- for message in messages %}\n    {%- if message['role'] == 'system' %}\n{{ message['content'] }}\n    {%- else %}\n        {%- if message['role'] == 'user' %}\n{{'### Instruction:\\n' + message['content'] + '\\n'}}\n        {%- else %}\n{{'### Response:\\n' + message['content'] + '\\n<|EOT|>\\n'}}\n        {%- endif %}\n    {%- endif %}\n{%- endfor %}\n{% if add_generation_prompt %}\n{{'### Response:'}}\n{% endif %}",
    "deepseek-r1": DEEPSEEK_R1,
    "granite-3": GRANITE3,
    "granite-code": tagged("Question:\\n", "Answer:\\n", "System:\\n", end="'\\n\\n'", prompt="Answer:\\n"),
    "olmo": OLMO,
    "falcon": FALCON,
    "falcon-3": tagged("<|user|>\\n", "<|assistant|>\\n", "<|system|>\\n", end="'\\n'", prompt="<|assistant|>\\n"),
    "alpaca": ALPACA,
    "vicuna": VICUNA,
    "openchat": OPENCHAT,
    "openchat code": STARLING,
    "baichuan-2": BAICHUAN,
    "chatglm": CHATGLM,
    "orion": ORION,
    "solar": SOLAR,
    "amberchat": AMBERCHAT,
    "exaone": EXAONE,
    "nemotron": NEMOTRON,
    "harmony": HARMONY,
    "functionary": FUNCTIONARY,
    "generation marks": GENERATION,
    "neighbours": PREVIOUS,
    "loop controls": BREAKS,
    "json lines": JSONL,
    "counted": COUNTED,
}
