/* jinja_char: characters as Python's str methods see them. SPDX-License-Identifier: Apache-2.0
 *
 * Categories and simple case mappings come from utf8proc; what Python knows beyond them is in jinja_char_data.h. */
#include "text/jinja_char_data.h"

#include <utf8proc.h>

#include "base/utf8.h"
#include "text/jinja_val.h"

#define COUNT(table) (sizeof(table) / sizeof(table)[0])

uint32_t jinja_char_next(const struct jstr *s, size_t *pos) {
  uint32_t c = UTF8_REPLACEMENT;
  size_t n = utf8_get(slice_from(jinja_str_slice(s), *pos), &c);
  *pos += n ? n : 1;
  return c;
}

static bool in_table(const struct range *table, size_t n, uint32_t c) {
  size_t low = 0, high = n;
  while (low < high) {
    size_t mid = (low + high) / 2;
    if (table[mid].last < c) low = mid + 1;
    else high = mid;
  }
  return low < n && table[low].first <= c;
}

static int category(uint32_t c) { return utf8proc_category((utf8proc_int32_t)c); }

bool jinja_char_space(uint32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

bool jinja_char_linebreak(uint32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool jinja_char_alpha(uint32_t c) {
  int cat = category(c);
  return cat >= UTF8PROC_CATEGORY_LU && cat <= UTF8PROC_CATEGORY_LO;
}

bool jinja_char_decimal(uint32_t c, int *ret_digit) {
  if (c < 0x80) {
    if (c < '0' || c > '9') return false;
    if (ret_digit) *ret_digit = (int)c - '0';
    return true;
  }
  if (category(c) != UTF8PROC_CATEGORY_ND) return false;
  if (ret_digit) {
    /* Decimal digits stand in runs of ten; only the mathematical ones (U+1D7CE …) join several runs. */
    uint32_t zero = c;
    while (c - zero < 50 && category(zero - 1) == UTF8PROC_CATEGORY_ND) zero--;
    *ret_digit = (int)((c - zero) % 10);
  }
  return true;
}

bool jinja_char_digit(uint32_t c) { return jinja_char_decimal(c, NULL) || in_table(digit_extra, COUNT(digit_extra), c); }

bool jinja_char_numeric(uint32_t c) {
  int cat = category(c);
  return (cat >= UTF8PROC_CATEGORY_ND && cat <= UTF8PROC_CATEGORY_NO) || in_table(numeric_extra, COUNT(numeric_extra), c);
}

bool jinja_char_alnum(uint32_t c) { return jinja_char_alpha(c) || jinja_char_numeric(c); }

bool jinja_char_upper(uint32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z';
  return category(c) == UTF8PROC_CATEGORY_LU || in_table(upper_extra, COUNT(upper_extra), c);
}

bool jinja_char_lower(uint32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z';
  return category(c) == UTF8PROC_CATEGORY_LL || in_table(lower_extra, COUNT(lower_extra), c);
}

bool jinja_char_title(uint32_t c) { return category(c) == UTF8PROC_CATEGORY_LT; }

bool jinja_char_printable(uint32_t c) {
  int cat = category(c);
  return c == ' ' || !(cat == UTF8PROC_CATEGORY_CN || cat >= UTF8PROC_CATEGORY_ZS);
}

bool jinja_char_id(uint32_t c, bool first) {
  if (c < 0x80) return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (!first && c >= '0' && c <= '9');
  if (first ? in_table(id_start_extra, COUNT(id_start_extra), c) : in_table(id_extra, COUNT(id_extra), c)) return true;
  if (first ? in_table(id_start_not, COUNT(id_start_not), c) : in_table(id_not, COUNT(id_not), c)) return false;
  int cat = category(c);
  if ((cat >= UTF8PROC_CATEGORY_LU && cat <= UTF8PROC_CATEGORY_LO) || cat == UTF8PROC_CATEGORY_NL) return true;
  return !first &&
         (cat == UTF8PROC_CATEGORY_MN || cat == UTF8PROC_CATEGORY_MC || cat == UTF8PROC_CATEGORY_ND || cat == UTF8PROC_CATEGORY_PC);
}

/* ---- case ---- */

static const struct special_case *special_case(uint32_t c) {
  size_t low = 0, high = COUNT(special_cases);
  while (low < high) {
    size_t mid = (low + high) / 2;
    if (special_cases[mid].c < c) low = mid + 1;
    else high = mid;
  }
  return low < COUNT(special_cases) && special_cases[low].c == c ? &special_cases[low] : NULL;
}

static void put_fold(struct jinja_sb *sb, uint32_t c, bool marked) {
  utf8proc_int32_t out[8];
  int class = UTF8PROC_BOUNDCLASS_START;
  utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, out, 8, UTF8PROC_CASEFOLD, &class);
  for (utf8proc_ssize_t i = 0; i < n && i < 8; i++) jinja_sb_char(sb, (uint32_t)out[i], marked);
  if (n <= 0) jinja_sb_char(sb, c, marked);
}

void jinja_char_put(struct jinja_sb *sb, uint32_t c, enum jinja_case to, bool marked) {
  const struct special_case *special = c >= 0x80 && (to == JINJA_UPPER || to == JINJA_TITLE) ? special_case(c) : NULL;
  if (special) {
    const uint32_t *seq = to == JINJA_UPPER ? special->upper : special->title;
    for (int i = 0; i < 3 && seq[i]; i++) jinja_sb_char(sb, seq[i], marked);
    return;
  }
  utf8proc_int32_t u = (utf8proc_int32_t)c;
  switch (to) {
    case JINJA_UPPER: jinja_sb_char(sb, (uint32_t)utf8proc_toupper(u), marked); break;
    case JINJA_TITLE: jinja_sb_char(sb, (uint32_t)utf8proc_totitle(u), marked); break;
    case JINJA_FOLD: put_fold(sb, c, marked); break;
    case JINJA_SAME: jinja_sb_char(sb, c, marked); break;
    case JINJA_LOWER:
      jinja_sb_char(sb, c == 0x130 ? 'i' : (uint32_t)utf8proc_tolower(u), marked);
      if (c == 0x130) jinja_sb_char(sb, 0x307, marked);
      break;
  }
}

static bool cased(uint32_t c) { return jinja_char_upper(c) || jinja_char_lower(c) || jinja_char_title(c); }

/* Unicode's Case_Ignorable, as far as the sigma rule meets it. */
static bool case_ignorable(uint32_t c) {
  int cat = category(c);
  return cat == UTF8PROC_CATEGORY_MN || cat == UTF8PROC_CATEGORY_ME || cat == UTF8PROC_CATEGORY_CF || cat == UTF8PROC_CATEGORY_LM ||
         cat == UTF8PROC_CATEGORY_SK || c == '\'' || c == '.' || c == ':' || c == 0xB7 || c == 0x2018 || c == 0x2019 || c == 0x2024 ||
         c == 0x2027 || c == 0x387 || c == 0x55F || c == 0x5F4 || c == 0xFE13 || c == 0xFE52 || c == 0xFE55 || c == 0xFF07 || c == 0xFF0E ||
         c == 0xFF1A;
}

/* Is the capital sigma at bytes [begin, end) the last letter of a word? (Unicode 3.13, Final_Sigma) */
static bool final_sigma(const struct jstr *s, size_t begin, size_t end) {
  uint32_t c = 0;
  bool before = false;
  for (size_t at = begin; at > 0;) {
    do at--;
    while (at > 0 && ((unsigned char)s->data[at] & 0xC0) == 0x80);
    size_t next = at;
    c = jinja_char_next(s, &next);
    if (case_ignorable(c)) continue;
    before = cased(c);
    break;
  }
  while (before && end < s->len) {
    c = jinja_char_next(s, &end);
    if (!case_ignorable(c)) return !cased(c);
  }
  return before;
}

enum { CAPITAL_SIGMA = 0x3A3, SMALL_SIGMA = 0x3C3, FINAL_SIGMA = 0x3C2 };

/* Puts the character at bytes [begin, end) of s in lower case. */
static void put_lower(struct jinja_sb *sb, const struct jstr *s, uint32_t c, size_t begin, size_t end, bool marked) {
  if (c == CAPITAL_SIGMA) jinja_sb_char(sb, final_sigma(s, begin, end) ? FINAL_SIGMA : SMALL_SIGMA, marked);
  else jinja_char_put(sb, c, JINJA_LOWER, marked);
}

/* One pass over s; pick says, from the character and whether the one before was cased, which case it gets. */
typedef enum jinja_case pick_fn(uint32_t c, bool after_cased, bool first);

/* The same for ASCII, in place. */
static const struct jstr *convert_ascii(struct jinja_run *r, const struct jstr *s, pick_fn *pick, enum jinja_case fixed) {
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  if (!jinja_run_chars(r, s->len)) return s;
  jinja_sb_str(&sb, s);
  bool after_cased = false;
  for (size_t i = 0; i < sb.buf.len; i++) {
    unsigned char c = (unsigned char)sb.buf.data[i];
    bool upper = c >= 'A' && c <= 'Z', lower = c >= 'a' && c <= 'z';
    enum jinja_case to = pick ? pick(c, after_cased, i == 0) : fixed;
    bool wants_upper = to == JINJA_UPPER || to == JINJA_TITLE, wants_lower = to == JINJA_LOWER || to == JINJA_FOLD;
    if ((lower && wants_upper) || (upper && wants_lower)) sb.buf.data[i] = (char)(c ^ 0x20);
    after_cased = upper || lower;
  }
  return jinja_str_markup(r, jinja_sb_done(r, &sb), s->markup);
}

static const struct jstr *convert(struct jinja_run *r, const struct jstr *s, pick_fn *pick, enum jinja_case fixed) {
  struct jinja_sb sb;
  if (s->n_chars == s->len) return convert_ascii(r, s, pick, fixed);
  jinja_sb_init(&sb, r);
  bool after_cased = false;
  if (!jinja_run_bytes(r, 16 * s->len)) return s; /* a character takes longer than a byte */
  for (size_t at = 0; at < s->len && !sb.over;) {
    size_t begin = at;
    uint32_t c = jinja_char_next(s, &at);
    bool marked = s->n_marks && jinja_str_marked_at(s, begin);
    enum jinja_case to = pick ? pick(c, after_cased, begin == 0) : fixed;
    if (to == JINJA_LOWER) put_lower(&sb, s, c, begin, at, marked);
    else jinja_char_put(&sb, c, to, marked);
    if (pick) after_cased = cased(c);
  }
  return jinja_str_markup(r, jinja_sb_done(r, &sb), s->markup);
}

const struct jstr *jinja_char_convert(struct jinja_run *r, const struct jstr *s, enum jinja_case to) { return convert(r, s, NULL, to); }

static enum jinja_case pick_capitalize(uint32_t c, bool after_cased, bool first) {
  (void)c, (void)after_cased;
  return first ? JINJA_TITLE : JINJA_LOWER;
}

static enum jinja_case pick_title(uint32_t c, bool after_cased, bool first) {
  (void)c, (void)first;
  return after_cased ? JINJA_LOWER : JINJA_TITLE;
}

static enum jinja_case pick_swap(uint32_t c, bool after_cased, bool first) {
  (void)after_cased, (void)first;
  return jinja_char_upper(c) ? JINJA_LOWER : jinja_char_lower(c) ? JINJA_UPPER : JINJA_SAME;
}

const struct jstr *jinja_char_capitalize(struct jinja_run *r, const struct jstr *s) { return convert(r, s, pick_capitalize, JINJA_LOWER); }

const struct jstr *jinja_char_titlecase(struct jinja_run *r, const struct jstr *s) { return convert(r, s, pick_title, JINJA_LOWER); }

const struct jstr *jinja_char_swapcase(struct jinja_run *r, const struct jstr *s) { return convert(r, s, pick_swap, JINJA_LOWER); }
