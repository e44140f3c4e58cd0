/* jinja_braces: "{0.name!r:>5}".format(…), through the sandbox's attribute access. SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>

#include "text/jinja_format.h"

enum { SPEC_NESTING_MAX = 2 };

struct braces {
  struct jinja_run *r;
  const struct jargs *args;
  int64_t next_auto; /* -1: fields are numbered by hand */
  bool markup;
};

static void format_text(struct braces *b, struct jinja_sb *sb, const struct jstr *format, int nesting);

/* ---- the field's specification ---- */

static bool is_align(char c) { return c && strchr("<>^=", c); }

static char take(struct slice *s, const char *any) {
  if (!s->len || !strchr(any, s->data[0]) || !s->data[0]) return 0;
  char c = s->data[0];
  *s = slice_from(*s, 1);
  return c;
}

static int64_t take_number(struct slice *s) {
  int64_t n = 0;
  for (; s->len && s->data[0] >= '0' && s->data[0] <= '9'; *s = slice_from(*s, 1))
    if (n < INT_MAX) n = 10 * n + (s->data[0] - '0');
  return n;
}

static void parse_spec(struct jinja_run *r, const struct jstr *text, struct jinja_spec *out) {
  *out = (struct jinja_spec){.precision = -1};
  size_t first = 0;
  if (text->len) jinja_char_next(text, &first);
  struct slice s = jinja_str_slice(text);
  if (first < text->len && is_align(text->data[first])) {
    out->fill = jinja_str_sub(r, text, 0, first);
    s = slice_from(s, first);
  }
  out->align = take(&s, "<>^=");
  out->sign = take(&s, "+- ");
  out->no_negative_zero = take(&s, "z") != 0;
  out->alternate = take(&s, "#") != 0;
  out->zero = take(&s, "0") != 0;
  out->width = take_number(&s);
  out->grouping = take(&s, ",_");
  if (take(&s, ".")) {
    if (!s.len || s.data[0] < '0' || s.data[0] > '9') jinja_run_fail(r, "Format specifier missing precision");
    int64_t precision = take_number(&s);
    if (precision > 1000) jinja_run_fail(r, "a precision over 1000 is not supported");
    out->precision = (int)(precision > 1000 ? 1000 : precision);
  }
  out->type = take(&s, "bcdeEfFgGnosxX%");
  if (s.len) jinja_run_fail(r, "Invalid format specifier");
}

static void format_int(struct jinja_run *r, struct jinja_sb *sb, struct jinja_spec *s, struct jval v) {
  struct jinja_sb one;
  int64_t i = 0;
  jv_as_int(v, &i);
  if (s->type && strchr("eEfFgG%", s->type)) {
    jinja_format_float(r, sb, s, (double)i);
    return;
  }
  if (s->no_negative_zero) jinja_run_fail(r, "Negative zero coercion (z) not allowed in format specifier with integer format code");
  if (s->type == 's') jinja_run_fail(r, "Unknown format code 's' for object of type 'int'");
  if (s->precision >= 0) jinja_run_fail(r, "Precision not allowed in integer format specifier");
  if (s->grouping == ',' && s->type && strchr("boxXn", s->type)) jinja_run_fail(r, "Cannot specify ',' with '%c'.", s->type);
  if (s->type == 'n') s->type = 'd';
  if (s->type != 'c') {
    jinja_format_int(r, sb, s, i);
    return;
  }
  if (s->sign || s->alternate) jinja_run_fail(r, "Sign and alternate form are not allowed with integer format specifier 'c'");
  if (i < 0 || i > 0x10FFFF || (i >= 0xD800 && i <= 0xDFFF)) jinja_run_fail(r, "%%c arg is no character");
  jinja_sb_init(&one, r);
  jinja_sb_char(&one, (uint32_t)i, false);
  if (!s->align) s->align = '>';
  jinja_format_str(r, sb, s, jinja_sb_done(r, &one));
}

static void format_str(struct jinja_run *r, struct jinja_sb *sb, struct jinja_spec *s, const struct jstr *text) {
  if (s->type && s->type != 's') jinja_run_fail(r, "Unknown format code '%c' for object of type 'str'", s->type);
  if (s->sign || s->alternate || s->no_negative_zero || s->grouping || s->align == '=')
    jinja_run_fail(r, "this format is not allowed for strings");
  jinja_format_str(r, sb, s, text);
}

static void format_value(struct braces *b, struct jinja_sb *sb, struct jval v, const struct jstr *spec_text) {
  struct jinja_run *r = b->r;
  struct jinja_spec s;
  if (spec_text->len == 0) {
    const struct jstr *text = jinja_repr_str(r, v);
    jinja_sb_str(sb, b->markup ? jinja_str_escape(r, text) : text);
    return;
  }
  if (b->markup && jv_is_str(v) && v.str->markup) jinja_run_fail(r, "Unsupported format specification for Markup.");
  parse_spec(r, spec_text, &s);
  struct jinja_sb part;
  jinja_sb_init(&part, r);
  if (r->failed) {
  } else if (v.type == JV_INT || v.type == JV_BOOL) {
    format_int(r, &part, &s, v);
  } else if (v.type == JV_FLOAT) {
    if (s.type && strchr("bcdosxX", s.type)) jinja_run_fail(r, "Unknown format code '%c' for object of type 'float'", s.type);
    else jinja_format_float(r, &part, &s, v.f);
  } else if (jv_is_str(v)) {
    format_str(r, &part, &s, v.str);
  } else {
    jinja_run_fail(r, "unsupported format string passed to %s.__format__", jinja_val_type_name(v));
  }
  const struct jstr *text = jinja_sb_done(r, &part);
  jinja_sb_str(sb, b->markup ? jinja_str_escape(r, text) : text);
}

/* ---- the field's name ---- */

static bool all_digits(struct slice s) {
  for (size_t i = 0; i < s.len; i++)
    if (s.data[i] < '0' || s.data[i] > '9') return false;
  return s.len > 0 && s.len < 10;
}

static struct jval argument(struct braces *b, struct slice name) {
  int64_t i = 0;
  if (name.len == 0) {
    if (b->next_auto < 0) jinja_run_fail(b->r, "cannot switch from manual field specification to automatic field numbering");
    i = b->next_auto < 0 ? 0 : b->next_auto++;
  } else if (all_digits(name)) {
    if (b->next_auto > 0) jinja_run_fail(b->r, "cannot switch from automatic field numbering to manual field specification");
    b->next_auto = -1;
    i = take_number(&name);
  } else {
    for (size_t k = 0; k < b->args->n_kw; k++)
      if (slice_eq(jinja_str_slice(b->args->kw[k].key.str), name)) return b->args->kw[k].value;
    jinja_run_fail(b->r, "the format's key '%.*s' is missing", (int)(name.len < 80 ? name.len : 80), name.data);
    return jv_undefined();
  }
  if ((size_t)i < b->args->n_pos) return b->args->pos[i];
  jinja_run_fail(b->r, "Replacement index %lld out of range for positional args tuple", (long long)i);
  return jv_undefined();
}

/* "0.name[key]" */
static struct jval field_value(struct braces *b, struct slice name) {
  size_t end = 0;
  while (end < name.len && name.data[end] != '.' && name.data[end] != '[') end++;
  struct jval v = argument(b, slice_make(name.data, end));
  for (struct slice rest = slice_from(name, end); rest.len && !b->r->failed;) {
    bool item = rest.data[0] == '[';
    rest = slice_from(rest, 1);
    end = 0;
    while (end < rest.len && (item ? rest.data[end] != ']' : rest.data[end] != '.' && rest.data[end] != '[')) end++;
    struct slice part = slice_make(rest.data, end), digits = part;
    if (end == 0 || (item && end == rest.len)) jinja_run_fail(b->r, "the format's field has an empty or open part");
    const struct jstr *key = jinja_str_borrow(&b->r->arena, part);
    if (!item) v = jinja_attr_get(b->r, v, key);
    else v = jinja_attr_item(b->r, v, all_digits(part) ? jv_int(take_number(&digits)) : jv_str(key));
    rest = slice_from(rest, end + item);
    if (item && rest.len && rest.data[0] != '.' && rest.data[0] != '[')
      jinja_run_fail(b->r, "only '.' or '[' may follow ']' in a format's field");
  }
  return v;
}

/* ---- the text ---- */

/* The end of the field that begins behind "{": the offset of its "}"; SIZE_MAX: there is none. */
static size_t field_end(const struct jstr *f, size_t at) {
  int depth = 1;
  bool bracket = false;
  for (; at < f->len; at++) {
    char c = f->data[at];
    if (c == '[' && depth == 1) bracket = true;
    if (c == ']') bracket = false;
    if (c == '{' && !bracket) depth++;
    if (c == '}' && !bracket && --depth == 0) return at;
  }
  return SIZE_MAX;
}

/* A field's text between its braces. */
static void format_field(struct braces *b, struct jinja_sb *sb, const struct jstr *f, size_t begin, size_t end, int nesting) {
  size_t name_end = begin;
  bool bracket = false;
  for (; name_end < end; name_end++) {
    char c = f->data[name_end];
    if (c == '[') bracket = true;
    if (c == ']') bracket = false;
    if (!bracket && (c == ':' || c == '!')) break;
    if (!bracket && c == '{') jinja_run_fail(b->r, "unexpected '{' in field name");
  }
  struct jval v = field_value(b, slice_make(f->data + begin, name_end - begin));
  size_t spec = name_end;
  if (spec < end && f->data[spec] == '!') {
    char conversion = spec + 1 < end ? f->data[spec + 1] : 0;
    if (!conversion || !strchr("rsa", conversion) || (spec + 2 < end && f->data[spec + 2] != ':'))
      jinja_run_fail(b->r, "Unknown conversion specifier in a format's field");
    v = conversion == 's' ? jv_str(jinja_repr_str(b->r, v)) : jinja_repr_repr(b->r, v);
    spec += 2;
  }
  struct jinja_sb spec_text;
  jinja_sb_init(&spec_text, b->r);
  if (spec < end && nesting >= SPEC_NESTING_MAX) jinja_run_fail(b->r, "Max string recursion exceeded");
  else if (spec < end) format_text(b, &spec_text, jinja_str_sub(b->r, f, spec + 1, end), nesting + 1);
  const struct jstr *text = jinja_sb_done(b->r, &spec_text);
  if (!b->r->failed) format_value(b, sb, v, text);
}

static void format_text(struct braces *b, struct jinja_sb *sb, const struct jstr *f, int nesting) {
  size_t from = 0;
  for (size_t at = 0; at < f->len && jinja_run_step(b->r, 1) && !sb->over; at++) {
    char c = f->data[at];
    if (c != '{' && c != '}') continue;
    jinja_sb_sub(sb, f, from, at);
    if (at + 1 < f->len && f->data[at + 1] == c) {
      jinja_sb_sub(sb, f, at, at + 1);
      at++;
    } else if (c == '}') {
      jinja_run_fail(b->r, "Single '}' encountered in format string");
    } else {
      size_t end = field_end(f, at + 1);
      if (end == SIZE_MAX) {
        jinja_run_fail(b->r, "expected '}' before end of string");
        return;
      }
      format_field(b, sb, f, at + 1, end, nesting);
      at = end;
    }
    from = at + 1;
  }
  jinja_sb_sub(sb, f, from, f->len);
}

struct jval jinja_braces_format(struct jinja_run *r, const struct jstr *format, const struct jargs *args) {
  struct braces b = {.r = r, .args = args, .markup = format->markup};
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  format_text(&b, &sb, format, 1);
  return jv_str(jinja_str_markup(r, jinja_sb_done(r, &sb), format->markup));
}
