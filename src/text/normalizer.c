/* normalizer: see normalizer.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/normalizer.h"

#include <stdlib.h>

#include "base/mem.h"
#include "text/archive.h"
#include "text/base64.h"
#include "text/bytelevel.h"
#include "text/normalizer_bert.h"
#include "text/option.h"
#include "text/uclass.h"

void normalizer_add(struct normalizer *n, struct normalizer_step step) {
  n->steps = mem_realloc(n->steps, n->n_steps + 1, sizeof n->steps[0]);
  n->steps[n->n_steps++] = step;
}

void normalizer_deinit(struct normalizer *n) {
  for (size_t i = 0; i < n->n_steps; i++) {
    regex_free(n->steps[i].pattern);
    free((char *)n->steps[i].content.data);
    charsmap_free(n->steps[i].map);
  }
  free(n->steps);
  *n = (struct normalizer){0};
}

/* ---- from tokenizer.json ---- */

static struct slice own(struct slice s) { return slice_make(mem_dup(s.data, s.len), s.len); }

static int add_bert(struct normalizer *n, const struct js *json, struct error *err) {
  struct normalizer_step step = {.kind = NORMALIZER_BERT};
  if (option_bool(json, "clean_text", true, &step.clean_text, err) < 0 ||
      option_bool(json, "handle_chinese_chars", true, &step.cjk, err) < 0 ||
      option_bool(json, "lowercase", true, &step.lowercase, err) < 0 ||
      option_bool(json, "strip_accents", step.lowercase, &step.strip_accents, err) < 0)
    return -1;
  normalizer_add(n, step);
  return 0;
}

static int add_replace(struct normalizer *n, const struct js *json, struct error *err) {
  struct slice content;
  if (option_str(json, "content", &content, err) < 0) return -1;
  struct regex *pattern = option_pattern(json, err);
  if (!pattern) return -1;
  normalizer_add(n, (struct normalizer_step){.kind = NORMALIZER_REPLACE, .pattern = pattern, .content = own(content)});
  return 0;
}

static int add_prepend(struct normalizer *n, const struct js *json, struct error *err) {
  struct slice content;
  if (option_str(json, "prepend", &content, err) < 0) return -1;
  normalizer_add(n, (struct normalizer_step){.kind = NORMALIZER_PREPEND, .content = own(content)});
  return 0;
}

static int add_strip(struct normalizer *n, const struct js *json, struct error *err) {
  struct normalizer_step step = {.kind = NORMALIZER_STRIP};
  if (option_bool(json, "strip_left", true, &step.strip_left, err) < 0 ||
      option_bool(json, "strip_right", true, &step.strip_right, err) < 0)
    return -1;
  normalizer_add(n, step);
  return 0;
}

static int add_precompiled(struct normalizer *n, const struct js *json, struct error *err) {
  struct slice text;
  struct buf table = {0};
  if (option_str(json, "precompiled_charsmap", &text, err) < 0) return -1;
  struct charsmap *map = NULL;
  if (base64_decode(text, &table)) map = charsmap_open(buf_view(&table), err);
  else error_set(err, ERROR_CORRUPT, "The normalizer's 'precompiled_charsmap' is no base64 text.");
  buf_free(&table);
  if (!map) return -1;
  normalizer_add(n, (struct normalizer_step){.kind = NORMALIZER_PRECOMPILED, .map = map});
  return 0;
}

static int add_sequence(struct normalizer *n, const struct js *json, struct error *err) {
  const struct js *list = js_get(json, "normalizers");
  if (js_type(list) != JS_ARRAY) return error_set(err, ERROR_CORRUPT, "The normalizer 'Sequence' has no list 'normalizers'.");
  for (size_t i = 0; i < js_len(list); i++)
    if (normalizer_add_json(n, js_at(list, i), err) < 0) return -1;
  return 0;
}

int normalizer_add_json(struct normalizer *n, const struct js *json, struct error *err) {
  static const struct {
    const char *type;
    enum normalizer_kind kind;
  } plain[] = {{"NFC", NORMALIZER_NFC},
               {"NFD", NORMALIZER_NFD},
               {"NFKC", NORMALIZER_NFKC},
               {"NFKD", NORMALIZER_NFKD},
               {"Lowercase", NORMALIZER_LOWERCASE},
               {"StripAccents", NORMALIZER_STRIP_ACCENTS},
               {"ByteLevel", NORMALIZER_BYTE_LEVEL},
               {"Nmt", NORMALIZER_NMT}};
  if (option_is_null(json)) return 0;
  struct slice type;
  if (option_type(json, "normalizer", &type, err) < 0) return -1;
  if (slice_eq(type, SLICE("Sequence"))) return add_sequence(n, json, err);
  if (slice_eq(type, SLICE("BertNormalizer"))) return add_bert(n, json, err);
  if (slice_eq(type, SLICE("Replace"))) return add_replace(n, json, err);
  if (slice_eq(type, SLICE("Prepend"))) return add_prepend(n, json, err);
  if (slice_eq(type, SLICE("Strip"))) return add_strip(n, json, err);
  if (slice_eq(type, SLICE("Precompiled"))) return add_precompiled(n, json, err);
  for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
    if (!slice_eq(type, slice_cstr(plain[i].type))) continue;
    normalizer_add(n, (struct normalizer_step){.kind = plain[i].kind});
    return 0;
  }
  return option_unknown("normalizer", type, err);
}

/* ---- at work ---- */

enum { GROWTH_ALWAYS = 64 << 10 }; /* bytes that a text may grow by however short it is */

static void lowercase(struct slice text, struct buf *out) {
  for (size_t n; text.len; text = slice_from(text, n)) {
    uint32_t c, low[2];
    n = uclass_get(text, &c);
    size_t n_low = uclass_lower(c, low);
    for (size_t i = 0; i < n_low; i++) buf_add_utf8(out, low[i]);
  }
}

static void strip_marks(struct slice text, struct buf *out) {
  for (size_t n; text.len; text = slice_from(text, n)) {
    uint32_t c;
    n = uclass_get(text, &c);
    if (!(uclass_of(c) & UCLASS_MARK)) buf_add(out, text.data, n);
  }
}

/* The cleaning of the NMT family, by its own short list. */
static void nmt(struct slice text, struct buf *out) {
  for (size_t n; text.len; text = slice_from(text, n)) {
    uint32_t c;
    n = uclass_get(text, &c);
    if ((c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F) continue;
    bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 ||
                 c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
    buf_add_utf8(out, space ? ' ' : c);
  }
}

static struct slice strip(const struct normalizer_step *step, struct slice text) {
  uint32_t c;
  while (step->strip_left && text.len) {
    size_t n = uclass_get(text, &c);
    if (!(uclass_of(c) & UCLASS_SPACE)) break;
    text = slice_from(text, n);
  }
  while (step->strip_right && text.len) {
    size_t n = uclass_get_last(text, &c);
    if (!(uclass_of(c) & UCLASS_SPACE)) break;
    text.len -= n;
  }
  return text;
}

static int too_long(struct error *err) {
  return error_set(err, ERROR_TOO_LARGE, "The model's tokenizer makes the text more than 64 times as long.");
}

static int replace(const struct normalizer_step *step, struct slice text, size_t max, struct regex_budget *budget, struct buf *out,
                   struct error *err) {
  struct regex_walk walk;
  size_t begin, end, done = 0;
  if (text.len == 0) return 0; /* the reference seeks nothing in no text, not even what is empty */
  regex_begin(&walk, step->pattern, text, budget);
  int rc = 0;
  while (out->len <= max && (rc = regex_next(&walk, &begin, &end, err)) > 0) {
    buf_add(out, text.data + done, begin - done);
    buf_add_slice(out, step->content);
    done = end;
  }
  regex_finish(&walk);
  if (out->len > max) return too_long(err);
  buf_add_slice(out, slice_from(text, done));
  return rc;
}

static int apply_step(const struct normalizer_step *step, struct slice text, size_t max, struct regex_budget *budget, struct buf *out,
                      struct error *err) {
  switch (step->kind) {
    case NORMALIZER_BERT: normalizer_bert(step, text, out); break;
    case NORMALIZER_NFC:
    case NORMALIZER_NFD:
    case NORMALIZER_NFKC:
    case NORMALIZER_NFKD: normalizer_unicode(step->kind, text, out); break;
    case NORMALIZER_LOWERCASE: lowercase(text, out); break;
    case NORMALIZER_STRIP: buf_add_slice(out, strip(step, text)); break;
    case NORMALIZER_STRIP_ACCENTS: strip_marks(text, out); break;
    case NORMALIZER_PREPEND:
      if (text.len) buf_add_slice(out, step->content);
      buf_add_slice(out, text);
      break;
    case NORMALIZER_REPLACE: return replace(step, text, max, budget, out, err);
    case NORMALIZER_BYTE_LEVEL: bytelevel_map(text, out); break;
    case NORMALIZER_NMT: nmt(text, out); break;
    case NORMALIZER_PRECOMPILED: charsmap_apply(step->map, text, out); break;
  }
  return 0;
}

/* ---- what comes of the first character ----
 *
 * The reference keeps for each character the place in the raw text that it stems from. Of these places one matters, the beginning: lead is the
 * number of bytes in front that stem from the first character. What replaces a match stems from the last character of the match. */

static int lead_of_replace(const struct normalizer_step *step, struct slice text, size_t lead, struct regex_budget *budget, size_t *ret,
                           struct error *err) {
  struct regex_walk walk;
  size_t begin, end, done = 0, kept = 0;
  regex_begin(&walk, step->pattern, text, budget);
  int rc;
  while ((rc = regex_next(&walk, &begin, &end, err)) > 0 && begin <= lead) {
    kept += begin - done;
    if (end <= lead) kept += step->content.len;
    done = end;
    if (end > lead) break;
  }
  regex_finish(&walk);
  *ret = kept + (done < lead ? lead - done : 0);
  return rc < 0 ? -1 : 0;
}

/* text becomes result by the step. */
static int follow_lead(const struct normalizer_step *step, struct slice text, struct slice result, struct regex_budget *budget,
                       size_t *lead, struct error *err) {
  if (step->kind == NORMALIZER_REPLACE) return lead_of_replace(step, text, *lead, budget, lead, err);
  if (*lead == 0) return 0;
  struct normalizer_step on_the_left = *step;
  on_the_left.strip_right = false;
  struct buf head = {0};
  int rc = apply_step(&on_the_left, slice_make(text.data, *lead), SIZE_MAX, budget, &head, err);
  *lead = head.len < result.len ? head.len : result.len;
  buf_free(&head);
  uint32_t c;
  if (step->kind == NORMALIZER_PRECOMPILED && *lead == 0 && result.len)
    *lead = uclass_get(result, &c);                                                         /* it forgets what it deletes there */
  while (*lead < result.len && ((unsigned char)result.data[*lead] & 0xC0) == 0x80) ++*lead; /* composed across */
  return rc;
}

static int run_steps(const struct normalizer *n, struct slice text, struct regex_budget *budget, struct buf out[2], size_t *lead,
                     struct slice *ret, struct error *err) {
  size_t max = 64 * text.len + GROWTH_ALWAYS;
  for (size_t i = 0; i < n->n_steps; i++) {
    struct buf *to = &out[i % 2];
    buf_clear(to);
    if (apply_step(&n->steps[i], text, max, budget, to, err) < 0) return -1;
    if (to->len > max) return too_long(err);
    if (lead && follow_lead(&n->steps[i], text, buf_view(to), budget, lead, err) < 0) return -1;
    text = buf_view(to);
  }
  *ret = text;
  return 0;
}

int normalizer_apply(const struct normalizer *n, struct slice text, struct regex_budget *budget, struct buf out[2], struct slice *ret,
                     struct error *err) {
  return run_steps(n, text, budget, out, NULL, ret, err);
}

int normalizer_apply_start(const struct normalizer *n, struct slice text, struct regex_budget *budget, struct buf out[2], struct slice *ret,
                           bool *ret_start, struct error *err) {
  uint32_t c;
  size_t lead = text.len ? uclass_get(text, &c) : 0;
  if (run_steps(n, text, budget, out, &lead, ret, err) < 0) return -1;
  *ret_start = lead > 0;
  return 0;
}

/* ---- kept ---- */

static void archive_map(struct archive *a, struct charsmap **map) {
  struct slice table = a->out && *map ? charsmap_table(*map) : slice_make(NULL, 0);
  struct error err;
  archive_slice(a, &table);
  if (a->out || !table.len) return;
  *map = charsmap_open(table, &err);
  a->broken |= !*map;
  free((char *)table.data);
}

void normalizer_archive(struct archive *a, struct normalizer *n) {
  archive_count(a, &n->n_steps);
  if (!a->out) n->steps = mem_zalloc(n->n_steps, sizeof n->steps[0]);
  for (size_t i = 0; i < n->n_steps; i++) {
    struct normalizer_step *s = &n->steps[i];
    ARCHIVE(a, s->kind);
    ARCHIVE(a, s->clean_text);
    ARCHIVE(a, s->cjk);
    ARCHIVE(a, s->strip_accents);
    ARCHIVE(a, s->lowercase);
    ARCHIVE(a, s->strip_left);
    ARCHIVE(a, s->strip_right);
    archive_regex(a, &s->pattern);
    archive_slice(a, &s->content);
    archive_map(a, &s->map);
  }
}
