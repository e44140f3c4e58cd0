"""Random templates: expressions, and statements with all their scopes. The same seed gives the same templates.

SPDX-License-Identifier: Apache-2.0
"""
import random

CONTEXT = {'x': 'Hello World',
 'n': 5,
 'm': -3,
 'f': 2.5,
 'l': [3, 1, 2],
 'd': {'b': 1, 'a': [1, 2, {'z': None}], 'items': 7, 'x y': 'q'},
 't': True,
 'no': None,
 's': ['b', 'A', 'c', 'a'],
 'u': 'Straße ǆ ﬁ ΑΣ é\t😀',
 'users': [{'name': 'bob', 'age': 3, 'tags': ['x']}, {'name': 'Al', 'age': 1, 'tags': []}, {'name': 'bob', 'age': 2}],
 'e': '',
 'w': '  a  b\nc \n\n d-e f  ',
 'big': 123456789012,
 'h': '<a href="x">&amp; it\'s</a>',
 'nested': [[1, 2], [3], []],
 'mix': [1, 'a', None, 2.5, True, [1]],
 'html': '<b>x</b> y'}
STRINGS = ["'a'", "'b c'", "''", "'l'", "'Hello'", "' '", "'é'", "'\\n'", "'%s'", "'%d-%s'", "'{}'", "'{0}'", "'{:>8}'", "'{:.2f}'", "'{:,}'", "'name'",
 "'age'", "'x'", "'o W'", "'<'", "'1'", "'12'", "'3.7'", "'-4'", "'1e3'", "'abc def ghi'"]
FILTERS = ['upper', 'lower', 'title', 'capitalize', 'trim', 'length', 'list', 'string', 'int', 'float', 'abs', 'first', 'last', 'reverse', 'sort',
 'unique|list', 'join', "join(',')", 'join({s})', 'tojson', 'tojson(indent=2)', 'tojson(indent=0)', 'default({s})', 'default({e},true)',
 'replace({s},{s})', 'replace({s},{s},1)', 'items|list', 'dictsort', "map('upper')|list", "map(attribute='name')|list", 'map(attribute=0)|list',
 "map('default',1)|list", "selectattr('age')|list", "selectattr('age','gt',1)|list", "select('string')|list", "reject('number')|list", 'select|list',
 'batch(2)|list', 'batch(2,{e})|list', 'slice(2)|list', 'slice(3,{e})|list', 'sum', 'min', 'max', 'round', 'round(1)', "round(1,'floor')",
 'round(-1)', 'indent', 'indent(2,true)', 'indent(1,first=true,blank=true)', 'truncate(5)', 'truncate(7,true)', "truncate(4,false,'',0)", 'wordcount',
 'wordwrap(5)', 'wordwrap(8,false)', "wordwrap(6,true,'|')", 'center(20)', 'e', 'safe', 'forceescape', 'striptags', 'urlencode', 'filesizeformat',
 'count', 'd', 'pprint', 'format({e})', 'format(1,2)', 'attr({s})', "groupby('name')", "groupby('age')", "sort(attribute='age')",
 'sort(reverse=true)', 'xmlattr', 'items|first', "map('length')|list", "map('int')|list", "map('tojson')|join", "join(', ', attribute='name')",
 "rejectattr('tags')|list", "sum(attribute='age')", 'sum(start=2)', "max(attribute='age')", 'int(7)', 'int(base=16)', 'int(2,8)', 'float(1)',
 'sort(case_sensitive=true)', 'trim({s})', 'capitalize|trim']
TESTS = ['defined', 'undefined', 'none', 'string', 'number', 'integer', 'float', 'boolean', 'true', 'false', 'mapping', 'sequence', 'iterable', 'callable',
 'odd', 'even', 'divisibleby(2)', 'divisibleby 3', 'eq({e})', 'ne({e})', 'lt({e})', 'gt({e})', 'ge(1)', 'le 2', 'in({e})', 'sameas(none)', 'upper',
 'lower', 'escaped', 'filter', 'test', '== {p}', 'in {p}']
METHODS = ['strip()', 'strip({s})', 'lstrip()', 'rstrip()', 'lstrip({s})', 'upper()', 'lower()', 'title()', 'capitalize()', 'swapcase()', 'casefold()',
 'split()', 'split({s})', 'split({s},1)', 'rsplit({s},1)', 'rsplit()', 'rsplit(none,1)', 'split(none,1)', 'split(maxsplit=1)', 'splitlines()',
 'splitlines(true)', 'startswith({s})', 'endswith({s})', 'startswith(({s},{s}))', 'startswith({s},2)', 'find({s})', 'rfind({s})', 'find({s},1,-1)',
 'index({s})', 'count({s})', 'count({s},2)', 'replace({s},{s})', 'replace({s},{s},1)', 'partition({s})', 'rpartition({s})', "center(15,'*')",
 'center(14)', 'ljust(15)', "rjust(15,'-')", 'zfill(8)', 'join(s)', 'join({e})', 'format({e})', 'format({e},{e})', 'isalpha()', 'isdigit()',
 'isalnum()', 'isspace()', 'isupper()', 'islower()', 'istitle()', 'isnumeric()', 'isdecimal()', 'isascii()', 'isidentifier()', 'isprintable()',
 'removeprefix({s})', 'removesuffix({s})', 'expandtabs(4)', 'items()', 'keys()', 'values()', 'get({s})', 'get({s},{e})', "get('b')", 'copy()',
 'index(1)', 'count(1)', 'append(1)', 'pop()', 'items', 'name', 'age', 'b', 'a', 'real', 'format_map(d)', "translate({{97:'Z',98:none}})",
 'is_integer()', 'bit_length()', '0', 'foo', '__class__', '_x', "fromkeys('ab')"]
OPERATORS = ['+', '-', '*', '/', '//', '%', '**', '~', '==', '!=', '<', '<=', '>', '>=', 'and', 'or', 'in', 'not in']
VALUES = ['a', 'b', 'c', 'e', 'i', 'x', 'q', '1', '2', "'s'", 'a ~ b', 'c ~ i', 'x|default(9)', 'c is defined', 'i is defined', 'not a', 'a if c else b',
 'range(2)', 'q ~ x', '[a, c]', 'd.items()|list', 'msgs[0].role', 'a == c', 'e|default(a)']
LOOP_VALUES = ["loop.index", "loop.first", "loop.last", "loop.index0", "loop.length", "loop.previtem", "loop.nextitem", "loop.depth",
               "loop.revindex", "loop.changed(a)", "loop.cycle(1, 2)"]
STATEMENT_CONTEXT = {"a": 1, "l": [3, 1, 2], "b": "B", "d": {"k": "v", "z": [1]},
                     "msgs": [{"role": "user", "c": "x"}, {"role": "assistant", "c": "y"}, {"role": "user", "c": "z"}]}
MACROS = ("{% set ns = namespace(p=0) %}{% macro m1() %}[{{ a }}{{ caller() if caller else 'nc' }}]{% endmacro %}"
          "{% macro m2(q) %}<{{ q }}{{ c }}{{ varargs }}{{ kwargs }}>{% endmacro %}")


class Expressions:
    """Expressions over CONTEXT; some of them fail, and must fail everywhere."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def primary(self):
        r = self.r
        kind = r.random()
        if kind < 0.45:
            return r.choice([*CONTEXT, "missing", "missing2"])
        if kind < 0.65:
            return r.choice(STRINGS)
        if kind < 0.8:
            return str(r.choice([0, 1, 2, 3, -1, 7, 10, 255, 1.5, -2.5, 1e20, 0.1, 1e-7, 100]))
        if kind < 0.85:
            return r.choice(["true", "false", "none"])
        if kind < 0.9:
            return "[" + ", ".join(self.primary() for _ in range(r.randint(0, 3))) + "]"
        if kind < 0.94:
            return "(" + ", ".join(self.primary() for _ in range(r.randint(2, 3))) + ")"
        if kind < 0.98:
            keys = ["'k'", "1", "'z'", "true", "none", "2.5"]
            return "{" + ", ".join(r.choice(keys) + ": " + self.primary() for _ in range(r.randint(0, 3))) + "}"
        return f"range({r.randint(0, 6)})"

    def fill(self, text, depth):
        while "{s}" in text or "{e}" in text or "{p}" in text:
            text = text.replace("{s}", self.r.choice(STRINGS), 1)
            text = text.replace("{e}", self.expression(depth - 1), 1).replace("{p}", self.primary(), 1)
        return text.replace("{{", "{").replace("}}", "}") if "translate" in text else text

    def operand(self, depth):
        text = self.expression(depth - 1)
        return text if self.r.random() < 0.3 else "(" + text + ")"

    def subscript(self, depth):
        r = self.r
        return r.choice(["[" + self.expression(depth - 1) + "]", f"[{r.randint(-3, 3)}:]", f"[:{r.randint(-3, 3)}]", "[::-1]",
                         f"[{r.randint(-4, 4)}:{r.randint(-4, 4)}:{r.choice([-2, -1, 1, 2, 3])}]", "[0]", "[-1]", "['name']"])

    def expression(self, depth):
        r = self.r
        kind = r.random()
        if depth <= 0 or kind < 0.15:
            return self.primary()
        if kind < 0.4:
            return self.operand(depth) + "|" + self.fill(r.choice(FILTERS), depth)
        if kind < 0.55:
            return self.operand(depth) + "." + self.fill(r.choice(METHODS), depth)
        if kind < 0.62:
            return self.operand(depth) + " is " + r.choice(["", "not "]) + self.fill(r.choice(TESTS), depth)
        if kind < 0.85:
            pattern = r.choice(["({} {} {})", "{} {} {}"])
            return pattern.format(self.expression(depth - 1), r.choice(OPERATORS), self.expression(depth - 1))
        if kind < 0.9:
            return self.operand(depth) + self.subscript(depth)
        if kind < 0.94:
            return "({} if {} else {})".format(*(self.expression(depth - 1) for _ in range(3)))
        return "not " + self.expression(depth - 1) if kind < 0.97 else "-" + self.operand(depth)

    def template(self):
        return "{{ " + self.expression(self.r.randint(1, 4)) + " }}"


class Statements:
    """Nested statements over STATEMENT_CONTEXT that read and set the same few names."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.loops = 0
        self.macros = False
        self.blocks = 0

    def value(self):
        r = self.r
        if self.loops and r.random() < 0.3:
            return r.choice(LOOP_VALUES)
        if self.macros and r.random() < 0.2:
            return r.choice(["m1()", "m2(1)", "m2(c, 3, z=4)", "ns.p", "ns.q", "m1() ~ a"])
        return r.choice(VALUES) if r.random() < 0.9 else r.choice(["varargs", "kwargs", "caller()", "loop(l)", "loop.index", "self.bl()"])

    def tag(self, text):
        begin, end = "{% ", " %}"
        if self.r.random() < 0.4:
            begin, end = self.r.choice([("{%- ", " %}"), ("{% ", " -%}"), ("{%- ", " -%}"), ("{%+ ", " %}"), ("{% ", " +%}")])
        return begin + text + end

    def output(self):
        begin, end = self.r.choice([("{{ ", " }}"), ("{{ ", " }}"), ("{{- ", " -}}"), ("{{-", " }}")])
        return begin + self.value() + end

    def text(self):
        return self.r.choice(["T", "\n", " ", "  \n", "x\n  ", "\t", "{# c #}", "{#- c -#}", "{# c #}\n", "a{", "%}", "", "\n\n"])

    def body(self, depth, n=None):
        return "".join(self.statement(depth) + self.r.choice(["", "", "\n", " "]) for _ in range(n or self.r.randint(1, 4)))

    def block(self, opening, depth, end):
        return self.tag(opening) + self.body(depth - 1) + self.tag(end)

    def branch(self, depth):
        text = self.tag("if " + self.value()) + self.body(depth - 1)
        if self.r.random() < 0.4:
            text += self.tag("elif " + self.value()) + self.body(depth - 1)
        if self.r.random() < 0.5:
            text += self.tag("else") + self.body(depth - 1)
        return text + self.tag("endif")

    def loop(self, depth):
        r = self.r
        self.loops += 1
        target = r.choice(["i", "x", "a", "c"]) if r.random() < 0.9 else "i, x"
        over = r.choice(["l", "range(3)", "[1, 2]", "[]", "msgs", "d", "d.items()", '"ab"'])
        text = self.tag(f"for {target} in {over}" + r.choice([""] * 4 + [" if i", " if a != 2", " recursive"])) + self.body(depth - 1)
        if r.random() < 0.15:
            text += self.tag("if " + self.value()) + self.tag(r.choice(["break", "continue"])) + self.tag("endif") + self.body(depth - 1)
        self.loops -= 1
        if r.random() < 0.3:
            text += self.tag("else") + self.body(depth - 1)
        return text + self.tag("endfor")

    def assignment(self):
        target = self.r.choice(["a", "b", "c", "e", "x", "i", "q", "ns.p" if self.macros else "a"])
        return self.tag(f"set {target} = " + self.value())

    def macro(self, depth):
        args = self.r.choice(["", "a", "a=1", "q=a", "a, q=2", "i, x=i", "caller=none", "a, c=q"])
        return self.block(f"macro {self.r.choice(['m1', 'm2', 'm3'])}({args})", depth, "endmacro")

    def statement(self, depth):
        r = self.r
        kind = r.random()
        if depth <= 0 or kind < 0.3:
            return r.choice([self.output, self.text])()
        if kind < 0.45:
            return self.assignment()
        if kind < 0.58:
            return self.branch(depth)
        if kind < 0.74:
            return self.loop(depth)
        if kind < 0.82:
            return self.macro(depth)
        if kind < 0.89:
            return self.block(r.choice(["set c", "set a", "set c | upper"]), depth, "endset")
        if kind < 0.92:
            return self.block("with " + r.choice(["a=2", "c=a, e=c", ""]), depth, "endwith")
        if kind < 0.95 and self.macros:
            return self.block(r.choice(["call m1()", "call(q) m2(3)", "call(c=1) m1()"]), depth, "endcall")
        if kind < 0.97:
            return self.block("filter " + r.choice(["upper", 'replace("T", "t")', "trim|upper", "join(a)"]), depth, "endfilter")
        if kind < 0.985:
            return self.block("generation", depth, "endgeneration")
        self.blocks += 1
        if self.blocks == 1:
            return self.block("block bl" + r.choice(["", " scoped"]), depth, "endblock")
        return self.tag("raw") + "{{ a }} {% x %}" + self.tag("endraw")

    def template(self):
        self.blocks = self.loops = 0
        self.macros = self.r.random() < 0.7
        return (MACROS if self.macros else "") + self.body(self.r.randint(1, 4), self.r.randint(2, 6))
