/* jinja_strmethod: the methods of strings. SPDX-License-Identifier: Apache-2.0
 * Results keep the marks of what they were made of, and stay markup where markupsafe's do. */
#include "text/jinja_call.h"

#define METHOD(name) static struct jval name(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest)
#define UNUSED (void)r, (void)self, (void)a, (void)rest

static struct jval with_markup(struct jinja_run *r, const struct jstr *s, struct jval self) {
  return jv_str(jinja_str_markup(r, s, self.str->markup));
}

/* ---- case and kind ---- */

METHOD(do_upper) {
  UNUSED;
  return jv_str(jinja_char_convert(r, self.str, JINJA_UPPER));
}
METHOD(do_lower) {
  UNUSED;
  return jv_str(jinja_char_convert(r, self.str, JINJA_LOWER));
}
METHOD(do_casefold) {
  UNUSED;
  return jv_str(jinja_char_convert(r, self.str, JINJA_FOLD));
}
METHOD(do_capitalize) {
  UNUSED;
  return jv_str(jinja_char_capitalize(r, self.str));
}
METHOD(do_title) {
  UNUSED;
  return jv_str(jinja_char_titlecase(r, self.str));
}
METHOD(do_swapcase) {
  UNUSED;
  return jv_str(jinja_char_swapcase(r, self.str));
}

static struct jval all(struct jinja_run *r, struct jval self, bool (*is)(uint32_t c), bool when_empty) {
  if (!jinja_run_chars(r, self.str->len)) return jv_bool(false);
  for (size_t at = 0; at < self.str->len;)
    if (!is(jinja_char_next(self.str, &at))) return jv_bool(false);
  return jv_bool(self.str->len || when_empty);
}

static bool is_ascii(uint32_t c) { return c < 0x80; }
static bool is_decimal(uint32_t c) { return jinja_char_decimal(c, NULL); }

METHOD(do_isalnum) {
  UNUSED;
  return all(r, self, jinja_char_alnum, false);
}
METHOD(do_isalpha) {
  UNUSED;
  return all(r, self, jinja_char_alpha, false);
}
METHOD(do_isascii) {
  UNUSED;
  return all(r, self, is_ascii, true);
}
METHOD(do_isdecimal) {
  UNUSED;
  return all(r, self, is_decimal, false);
}
METHOD(do_isdigit) {
  UNUSED;
  return all(r, self, jinja_char_digit, false);
}
METHOD(do_isnumeric) {
  UNUSED;
  return all(r, self, jinja_char_numeric, false);
}
METHOD(do_isprintable) {
  UNUSED;
  return all(r, self, jinja_char_printable, true);
}
METHOD(do_isspace) {
  UNUSED;
  return all(r, self, jinja_char_space, false);
}

METHOD(do_isidentifier) {
  UNUSED;
  for (size_t at = 0; at < self.str->len && jinja_run_step(r, 1);) {
    bool first = at == 0;
    if (!jinja_char_id(jinja_char_next(self.str, &at), first)) return jv_bool(false);
  }
  return jv_bool(self.str->len != 0);
}

bool jinja_strmethod_is_case(const struct jstr *s, bool upper) {
  bool any = false;
  for (size_t at = 0; at < s->len;) {
    uint32_t c = jinja_char_next(s, &at);
    bool is_upper = jinja_char_upper(c), is_lower = jinja_char_lower(c);
    if (jinja_char_title(c) || (upper ? is_lower : is_upper)) return false;
    any = any || is_upper || is_lower;
  }
  return any;
}

METHOD(do_isupper) {
  UNUSED;
  return jv_bool(jinja_run_chars(r, self.str->len) && jinja_strmethod_is_case(self.str, true));
}
METHOD(do_islower) {
  UNUSED;
  return jv_bool(jinja_run_chars(r, self.str->len) && jinja_strmethod_is_case(self.str, false));
}

METHOD(do_istitle) {
  UNUSED;
  bool any = false, after_cased = false;
  jinja_run_chars(r, self.str->len);
  for (size_t at = 0; at < self.str->len;) {
    uint32_t c = jinja_char_next(self.str, &at);
    bool capital = jinja_char_upper(c) || jinja_char_title(c), small = jinja_char_lower(c);
    if ((capital && after_cased) || (small && !after_cased)) return jv_bool(false);
    after_cased = capital || small;
    any = any || after_cased;
  }
  return jv_bool(any);
}

/* ---- stripping and padding ---- */

static struct jval strip(struct jinja_run *r, struct jval self, struct jval chars, bool left, bool right) {
  const struct jstr *set = jv_given(chars) && chars.type != JV_NONE ? jinja_call_str(r, chars) : NULL;
  return jv_str(jinja_str_strip(r, self.str, set, left, right));
}

METHOD(do_strip) {
  UNUSED;
  return strip(r, self, a[0], true, true);
}
METHOD(do_lstrip) {
  UNUSED;
  return strip(r, self, a[0], true, false);
}
METHOD(do_rstrip) {
  UNUSED;
  return strip(r, self, a[0], false, true);
}

METHOD(do_removeprefix) {
  UNUSED;
  const struct jstr *prefix = jinja_call_str(r, a[0]);
  bool there = slice_starts(jinja_str_slice(self.str), jinja_str_slice(prefix));
  return jv_str(jinja_str_sub(r, self.str, there ? prefix->len : 0, self.str->len));
}

METHOD(do_removesuffix) {
  UNUSED;
  const struct jstr *suffix = jinja_call_str(r, a[0]);
  bool there = slice_ends(jinja_str_slice(self.str), jinja_str_slice(suffix));
  return jv_str(jinja_str_sub(r, self.str, 0, self.str->len - (there ? suffix->len : 0)));
}

/* The string between left and right copies of fill. */
static const struct jstr *surround(struct jinja_run *r, const struct jstr *s, const struct jstr *fill, int64_t left, int64_t right) {
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  if (left > (int64_t)sb.max || right > (int64_t)sb.max) sb.over = true;
  else jinja_run_bytes(r, (size_t)(left + right));
  jinja_sb_fill(&sb, fill, left);
  jinja_sb_str(&sb, s);
  jinja_sb_fill(&sb, fill, right);
  return jinja_sb_done(r, &sb);
}

static const struct jstr *fill_argument(struct jinja_run *r, struct jval v, struct jval self) {
  const struct jstr *fill = jv_given(v) ? jinja_call_str(r, v) : jinja_str_cstr(r, " ").str;
  if (self.str->markup) fill = jinja_str_escape(r, fill);
  if (fill->n_chars != 1) jinja_run_fail(r, "The fill character must be exactly one character long");
  return fill;
}

static int64_t missing(const struct jstr *s, int64_t width) { return width > (int64_t)s->n_chars ? width - (int64_t)s->n_chars : 0; }

const struct jstr *jinja_strmethod_center(struct jinja_run *r, const struct jstr *s, int64_t width, const struct jstr *fill) {
  int64_t pad = missing(s, width), left = pad / 2 + (pad & width & 1);
  return pad ? jinja_str_markup(r, surround(r, s, fill, left, pad - left), s->markup) : s;
}

METHOD(do_center) {
  UNUSED;
  const struct jstr *fill = fill_argument(r, a[1], self);
  return jv_str(jinja_strmethod_center(r, self.str, jinja_call_int(r, a[0], 0, false), fill));
}
METHOD(do_ljust) {
  UNUSED;
  const struct jstr *fill = fill_argument(r, a[1], self);
  return with_markup(r, surround(r, self.str, fill, 0, missing(self.str, jinja_call_int(r, a[0], 0, false))), self);
}
METHOD(do_rjust) {
  UNUSED;
  const struct jstr *fill = fill_argument(r, a[1], self);
  return with_markup(r, surround(r, self.str, fill, missing(self.str, jinja_call_int(r, a[0], 0, false)), 0), self);
}

METHOD(do_zfill) {
  UNUSED;
  int64_t pad = missing(self.str, jinja_call_int(r, a[0], 0, false));
  if (!pad) return self;
  size_t sign = self.str->len && (self.str->data[0] == '+' || self.str->data[0] == '-');
  const struct jstr *body = jinja_str_sub(r, self.str, sign, self.str->len), *head = jinja_str_sub(r, self.str, 0, sign);
  return with_markup(r, jinja_str_concat(r, head, surround(r, body, jinja_str_cstr(r, "0").str, pad, 0)), self);
}

METHOD(do_expandtabs) {
  UNUSED;
  int64_t size = jinja_call_int(r, a[0], 8, false), column = 0;
  const struct jstr *blank = jinja_str_cstr(r, " ").str;
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  for (size_t at = 0; at < self.str->len && jinja_run_step(r, 1) && !sb.over;) {
    size_t begin = at;
    uint32_t c = jinja_char_next(self.str, &at);
    if (c == '\t') {
      int64_t n = size > 0 ? size - column % size : 0;
      if (n > (int64_t)sb.max) sb.over = true;
      else jinja_sb_fill(&sb, blank, jinja_run_bytes(r, (size_t)n) ? n : 0);
      column += n;
    } else {
      jinja_sb_sub(&sb, self.str, begin, at);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
  }
  return with_markup(r, jinja_sb_done(r, &sb), self);
}

/* ---- searching ---- */

/* Bytes [begin, end) of s between the optional start and stop; false when start lies behind the end, where nothing is found. */
static bool window(struct jinja_run *r, const struct jstr *s, const struct jval *a, size_t *begin, size_t *end) {
  int64_t n = (int64_t)s->n_chars, from = jinja_call_int(r, a[0], 0, true), to = jinja_call_int(r, a[1], n, true);
  if (from < 0) from = from + n < 0 ? 0 : from + n;
  if (to < 0) to = to + n < 0 ? 0 : to + n;
  if (to > n) to = n;
  if (from > to) return false;
  *begin = jinja_str_offset(s, (size_t)from);
  *end = jinja_str_offset(s, (size_t)to);
  return jinja_run_bytes(r, s->len);
}

static int64_t search(struct jinja_run *r, struct jval self, const struct jval *a, bool from_right) {
  size_t begin, end;
  const struct jstr *needle = jinja_call_str(r, a[0]);
  if (r->failed || !window(r, self.str, a + 1, &begin, &end)) return -1;
  size_t hit = from_right ? jinja_str_rfind(self.str, begin, end, jinja_str_slice(needle))
                          : jinja_str_find(self.str, begin, end, jinja_str_slice(needle));
  return hit == SIZE_MAX ? -1 : (int64_t)jinja_str_index(self.str, hit);
}

static struct jval found(struct jinja_run *r, int64_t index) {
  if (index < 0) jinja_run_fail(r, "substring not found");
  return jv_int(index);
}

METHOD(do_find) {
  UNUSED;
  return jv_int(search(r, self, a, false));
}
METHOD(do_rfind) {
  UNUSED;
  return jv_int(search(r, self, a, true));
}
METHOD(do_index) {
  UNUSED;
  return found(r, search(r, self, a, false));
}
METHOD(do_rindex) {
  UNUSED;
  return found(r, search(r, self, a, true));
}

METHOD(do_count) {
  UNUSED;
  size_t begin, end;
  const struct jstr *needle = jinja_call_str(r, a[0]);
  if (r->failed || !window(r, self.str, a + 1, &begin, &end)) return jv_int(0);
  if (needle->len == 0) return jv_int((int64_t)jinja_str_index(self.str, end) - (int64_t)jinja_str_index(self.str, begin) + 1);
  int64_t n = 0;
  for (size_t hit; !r->failed && (hit = jinja_str_find(self.str, begin, end, jinja_str_slice(needle))) != SIZE_MAX;
       begin = hit + needle->len)
    n += jinja_run_step(r, 1);
  return jv_int(n);
}

static bool touches(struct jinja_run *r, struct slice s, struct jval what, bool at_end) {
  if (!jv_is_str(what)) {
    jinja_run_fail(r, "the argument must be a string or a tuple of strings, not %s", jinja_val_type_name(what));
    return false;
  }
  return at_end ? slice_ends(s, jinja_str_slice(what.str)) : slice_starts(s, jinja_str_slice(what.str));
}

static struct jval starts_or_ends(struct jinja_run *r, struct jval self, const struct jval *a, bool at_end) {
  size_t begin, end;
  if (!window(r, self.str, a + 1, &begin, &end)) return jv_bool(false);
  struct slice s = slice_make(self.str->data + begin, end - begin);
  if (a[0].type != JV_TUPLE) return jv_bool(touches(r, s, a[0], at_end));
  for (size_t i = 0; i < a[0].list->n && jinja_run_step(r, 1); i++)
    if (touches(r, s, a[0].list->items[i], at_end)) return jv_bool(true);
  return jv_bool(false);
}

METHOD(do_startswith) {
  UNUSED;
  return starts_or_ends(r, self, a, false);
}
METHOD(do_endswith) {
  UNUSED;
  return starts_or_ends(r, self, a, true);
}

METHOD(do_replace) {
  UNUSED;
  const struct jstr *old = jinja_call_str(r, a[0]), *new = jinja_call_str(r, a[1]);
  int64_t count = jinja_call_int(r, a[2], -1, false);
  if (self.str->markup) new = jinja_str_escape(r, new);
  return r->failed ? self : with_markup(r, jinja_str_replace(r, self.str, old, new, count), self);
}

/* ---- splitting and joining ---- */

static void push_part(struct jinja_run *r, struct jlist *l, const struct jstr *s, size_t begin, size_t end) {
  jinja_val_push(r, l, jv_str(jinja_str_sub(r, s, begin, end)));
}

static void split_at_space(struct jinja_run *r, const struct jstr *s, int64_t max, struct jlist *out) {
  size_t at = 0;
  while (jinja_run_step(r, 1)) {
    size_t next = at;
    while (at < s->len && jinja_char_space(jinja_char_next(s, &next))) at = next;
    if (at == s->len) return;
    size_t begin = at, end = s->len;
    if (max >= 0 && (int64_t)out->n >= max) {
      push_part(r, out, s, begin, end);
      return;
    }
    while (at < s->len) {
      next = at;
      if (jinja_char_space(jinja_char_next(s, &next))) {
        end = at;
        break;
      }
      at = next;
    }
    push_part(r, out, s, begin, end);
  }
}

/* The character in front of byte offset at; *begin: where it starts. */
static uint32_t char_before(const struct jstr *s, size_t at, size_t *begin) {
  do at--;
  while (at > 0 && ((unsigned char)s->data[at] & 0xC0) == 0x80);
  *begin = at;
  return jinja_char_next(s, &at);
}

/* From the right, parts in reverse order. */
static void rsplit_at_space(struct jinja_run *r, const struct jstr *s, int64_t max, struct jlist *out) {
  size_t at = s->len, before;
  while (jinja_run_step(r, 1)) {
    while (at > 0 && jinja_char_space(char_before(s, at, &before))) at = before;
    if (at == 0) return;
    size_t end = at;
    if (max >= 0 && (int64_t)out->n >= max) {
      push_part(r, out, s, 0, end);
      return;
    }
    while (at > 0 && !jinja_char_space(char_before(s, at, &before))) at = before;
    push_part(r, out, s, at, end);
  }
}

static void split_at(struct jinja_run *r, const struct jstr *s, struct slice separator, int64_t max, struct jlist *out) {
  size_t from = 0, hit;
  while ((max < 0 || (int64_t)out->n < max) && (hit = jinja_str_find(s, from, s->len, separator)) != SIZE_MAX && !r->failed) {
    push_part(r, out, s, from, hit);
    from = hit + separator.len;
  }
  push_part(r, out, s, from, s->len);
}

static void rsplit_at(struct jinja_run *r, const struct jstr *s, struct slice separator, int64_t max, struct jlist *out) {
  size_t end = s->len, hit;
  while ((max < 0 || (int64_t)out->n < max) && !r->failed) {
    jinja_run_bytes(r, end);
    if ((hit = jinja_str_rfind(s, 0, end, separator)) == SIZE_MAX) break;
    push_part(r, out, s, hit + separator.len, end);
    end = hit;
  }
  push_part(r, out, s, 0, end);
}

struct jval jinja_strmethod_split(struct jinja_run *r, const struct jstr *s, const struct jstr *separator, int64_t max, bool from_right) {
  struct jlist *out = jinja_val_list(r, 0);
  if (separator) jinja_run_bytes(r, s->len);
  else jinja_run_chars(r, s->len);
  if (separator && separator->len == 0) jinja_run_fail(r, "empty separator");
  else if (separator && from_right && max >= 0) rsplit_at(r, s, jinja_str_slice(separator), max, out);
  else if (separator) split_at(r, s, jinja_str_slice(separator), max, out);
  else if (from_right && max >= 0) rsplit_at_space(r, s, max, out);
  else split_at_space(r, s, max, out);
  if (from_right && max >= 0)
    for (size_t i = 0; i < out->n / 2; i++) {
      struct jval swapped = out->items[i];
      out->items[i] = out->items[out->n - 1 - i];
      out->items[out->n - 1 - i] = swapped;
    }
  return jv_list(out);
}

static struct jval split_method(struct jinja_run *r, struct jval self, const struct jval *a, bool from_right) {
  const struct jstr *separator = jv_given(a[0]) && a[0].type != JV_NONE ? jinja_call_str(r, a[0]) : NULL;
  int64_t max = jinja_call_int(r, a[1], -1, false);
  if (r->failed) return self;
  return jinja_strmethod_split(r, self.str, separator, max, from_right);
}

METHOD(do_split) {
  UNUSED;
  return split_method(r, self, a, false);
}
METHOD(do_rsplit) {
  UNUSED;
  return split_method(r, self, a, true);
}

struct jlist *jinja_strmethod_lines(struct jinja_run *r, const struct jstr *s, bool keep_ends) {
  struct jlist *out = jinja_val_list(r, 0);
  size_t from = 0;
  jinja_run_chars(r, s->len);
  for (size_t at = 0; at < s->len && !r->failed;) {
    size_t end = at;
    uint32_t c = jinja_char_next(s, &at);
    if (!jinja_char_linebreak(c)) continue;
    if (c == '\r' && at < s->len && s->data[at] == '\n') at++;
    push_part(r, out, s, from, keep_ends ? at : end);
    from = at;
  }
  if (from < s->len) push_part(r, out, s, from, s->len);
  return out;
}

METHOD(do_splitlines) {
  UNUSED;
  return jv_list(jinja_strmethod_lines(r, self.str, jinja_val_true(a[0])));
}

static struct jval partition(struct jinja_run *r, struct jval self, const struct jval *a, bool from_right) {
  const struct jstr *separator = jinja_call_str(r, a[0]), *s = self.str;
  if (separator->len == 0) jinja_run_fail(r, "empty separator");
  if (!jinja_run_bytes(r, s->len)) return self;
  size_t hit =
      from_right ? jinja_str_rfind(s, 0, s->len, jinja_str_slice(separator)) : jinja_str_find(s, 0, s->len, jinja_str_slice(separator));
  struct jlist *out = jinja_val_list(r, 0);
  size_t begin = hit != SIZE_MAX ? hit : from_right ? 0 : s->len, end = hit != SIZE_MAX ? hit + separator->len : begin;
  push_part(r, out, s, 0, begin);
  push_part(r, out, s, begin, end);
  push_part(r, out, s, end, s->len);
  return jv_tuple(out);
}

METHOD(do_partition) {
  UNUSED;
  return partition(r, self, a, false);
}
METHOD(do_rpartition) {
  UNUSED;
  return partition(r, self, a, true);
}

METHOD(do_join) {
  UNUSED;
  struct jiter *it = jinja_iter_open(r, a[0]);
  struct jval item;
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  for (bool first = true; it && jinja_iter_next(r, it, &item) && !sb.over; first = false) {
    const struct jstr *text = self.str->markup ? jinja_str_escape(r, jinja_repr_str(r, item)) : jinja_call_str(r, item);
    if (!first) jinja_sb_str(&sb, self.str);
    jinja_sb_str(&sb, text);
    jinja_run_bytes(r, text->len + self.str->len);
  }
  return with_markup(r, jinja_sb_done(r, &sb), self);
}

/* ---- formatting and translating ---- */

METHOD(do_format) {
  UNUSED;
  return jinja_braces_format(r, self.str, rest);
}

METHOD(do_format_map) {
  UNUSED;
  struct jargs args = {0};
  if (a[0].type != JV_DICT) jinja_run_fail(r, "format_map() needs a mapping, not '%s'", jinja_val_type_name(a[0]));
  else {
    struct jkeyword *kw = jinja_run_alloc(r, a[0].dict->n, sizeof *kw);
    for (size_t i = 0; kw && i < a[0].dict->n; i++)
      if (jv_is_str(a[0].dict->entries[i].key)) kw[args.n_kw++] = (struct jkeyword){a[0].dict->entries[i].key, a[0].dict->entries[i].value};
    args.kw = kw;
  }
  return r->failed ? self : jinja_braces_format(r, self.str, &args);
}

/* One character of a key or of a pair: its code point. */
static struct jval code_of(const struct jstr *s, size_t *at) { return jv_int(jinja_char_next(s, at)); }

static void make_pairs(struct jinja_run *r, struct jdict *d, const struct jstr *from, const struct jstr *to) {
  if (from->n_chars != to->n_chars) jinja_run_fail(r, "the first two maketrans arguments must have equal length");
  for (size_t i = 0, j = 0; i < from->len && j < to->len && jinja_run_step(r, 1);) {
    struct jval key = code_of(from, &i);
    jinja_val_set(r, d, key, code_of(to, &j));
  }
}

static void make_from_mapping(struct jinja_run *r, struct jdict *d, const struct jdict *mapping) {
  for (size_t i = 0; i < mapping->n && jinja_run_step(r, 1); i++) {
    struct jval key = mapping->entries[i].key;
    size_t at = 0;
    if (jv_is_str(key)) {
      if (key.str->n_chars != 1) jinja_run_fail(r, "string keys in translate table must be of length 1");
      else key = code_of(key.str, &at);
    } else if (key.type != JV_INT && key.type != JV_BOOL) {
      jinja_run_fail(r, "keys in translate table must be strings or integers");
    }
    if (!r->failed) jinja_val_set(r, d, key, mapping->entries[i].value);
  }
}

METHOD(do_maketrans) {
  UNUSED;
  struct jdict *d = jinja_val_dict(r);
  if (!d) return jv_undefined();
  if (!jv_given(a[1])) {
    if (a[0].type == JV_DICT) make_from_mapping(r, d, a[0].dict);
    else jinja_run_fail(r, "if you give only one argument to maketrans it must be a dict");
    return jv_dict(d);
  }
  for (size_t i = 0; i < 3; i++)
    if ((i < 2 || jv_given(a[2])) && !jv_is_str(a[i])) {
      jinja_run_fail(r, "maketrans() takes strings, not '%s'", jinja_val_type_name(a[i]));
      return jv_undefined();
    }
  make_pairs(r, d, a[0].str, a[1].str);
  for (size_t at = 0; jv_given(a[2]) && at < a[2].str->len && jinja_run_step(r, 1);) {
    struct jval key = code_of(a[2].str, &at);
    jinja_val_set(r, d, key, jv_none());
  }
  return jv_dict(d);
}

METHOD(do_translate) {
  UNUSED;
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  if (a[0].type != JV_DICT) jinja_run_fail(r, "translate() needs a mapping, not '%s'", jinja_val_type_name(a[0]));
  for (size_t at = 0; at < self.str->len && a[0].type == JV_DICT && jinja_run_step(r, 1) && !sb.over;) {
    size_t begin = at;
    struct jval *to = jinja_val_get(r, a[0].dict, jv_int(jinja_char_next(self.str, &at)));
    int64_t c;
    if (!to) jinja_sb_sub(&sb, self.str, begin, at);
    else if (jv_is_str(*to)) jinja_sb_str(&sb, to->str);
    else if (jv_as_int(*to, &c) && c >= 0 && c <= 0x10FFFF) jinja_sb_char(&sb, (uint32_t)c, jinja_str_marked_at(self.str, begin));
    else if (to->type != JV_NONE) jinja_run_fail(r, "character mapping must return integer, None or str");
  }
  return with_markup(r, jinja_sb_done(r, &sb), self);
}

const struct jinja_builtin jinja_strmethod_table[] = {
    {"strip", "_chars?", do_strip},
    {"split", "sep? maxsplit?", do_split},
    {"lstrip", "_chars?", do_lstrip},
    {"rstrip", "_chars?", do_rstrip},
    {"startswith", "_prefix _start? _end?", do_startswith},
    {"endswith", "_suffix _start? _end?", do_endswith},
    {"replace", "_old _new _count?", do_replace},
    {"upper", "", do_upper},
    {"lower", "", do_lower},
    {"title", "", do_title},
    {"capitalize", "", do_capitalize},
    {"casefold", "", do_casefold},
    {"swapcase", "", do_swapcase},
    {"join", "_iterable", do_join},
    {"find", "_sub _start? _end?", do_find},
    {"rfind", "_sub _start? _end?", do_rfind},
    {"index", "_sub _start? _end?", do_index},
    {"rindex", "_sub _start? _end?", do_rindex},
    {"count", "_sub _start? _end?", do_count},
    {"format", "* **", do_format},
    {"format_map", "_mapping", do_format_map},
    {"splitlines", "keepends?", do_splitlines},
    {"rsplit", "sep? maxsplit?", do_rsplit},
    {"partition", "_sep", do_partition},
    {"rpartition", "_sep", do_rpartition},
    {"removeprefix", "_prefix", do_removeprefix},
    {"removesuffix", "_suffix", do_removesuffix},
    {"center", "_width _fillchar?", do_center},
    {"ljust", "_width _fillchar?", do_ljust},
    {"rjust", "_width _fillchar?", do_rjust},
    {"zfill", "_width", do_zfill},
    {"expandtabs", "tabsize?", do_expandtabs},
    {"translate", "_table", do_translate},
    {"maketrans", "_x _y? _z?", do_maketrans},
    {"isalnum", "", do_isalnum},
    {"isalpha", "", do_isalpha},
    {"isascii", "", do_isascii},
    {"isdecimal", "", do_isdecimal},
    {"isdigit", "", do_isdigit},
    {"isidentifier", "", do_isidentifier},
    {"islower", "", do_islower},
    {"isnumeric", "", do_isnumeric},
    {"isprintable", "", do_isprintable},
    {"isspace", "", do_isspace},
    {"istitle", "", do_istitle},
    {"isupper", "", do_isupper},
    {NULL, NULL, NULL},
};
