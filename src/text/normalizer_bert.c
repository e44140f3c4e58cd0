/* normalizer_bert: see normalizer_bert.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/normalizer_bert.h"

#include "base/utf8.h"
#include "text/uclass.h"

/* CJK ideographs that are words of their own. The sixth range begins at 2B920 in the reference, not at 2B820 as its block does. */
static bool is_cjk(uint32_t c) {
  static const uint32_t ranges[][2] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},   {0x20000, 0x2A6DF},
                                       {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F}};
  for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
    if (c >= ranges[i][0] && c <= ranges[i][1]) return true;
  return false;
}

static void clean(const struct normalizer_step *step, struct slice text, struct buf *out) {
  for (size_t n; text.len; text = slice_from(text, n)) {
    uint32_t c;
    n = uclass_get(text, &c);
    if (step->clean_text) {
      unsigned classes = uclass_of(c);
      if (classes & UCLASS_CONTROL) continue;
      if (classes & UCLASS_SPACE) c = ' ';
    }
    if (step->cjk && is_cjk(c)) {
      buf_add_byte(out, ' ');
      buf_add_utf8(out, c);
      buf_add_byte(out, ' ');
    } else {
      buf_add_utf8(out, c);
    }
  }
}

static void strip_and_lower(const struct normalizer_step *step, struct slice text, struct buf *out) {
  for (size_t n; text.len; text = slice_from(text, n)) {
    uint32_t c, low[2];
    n = uclass_get(text, &c);
    if (step->strip_accents && (uclass_of(c) & UCLASS_NONSPACING)) continue;
    if (!step->lowercase) {
      buf_add_utf8(out, c);
      continue;
    }
    size_t n_low = uclass_lower(c, low);
    for (size_t i = 0; i < n_low; i++) buf_add_utf8(out, low[i]);
  }
}

/* ASCII has no accents and no ideographs: one pass does everything. False when the text is not ASCII. */
static bool ascii(const struct normalizer_step *step, struct slice text, struct buf *out) {
  char *to = buf_reserve(out, text.len);
  size_t n = 0;
  for (size_t i = 0; i < text.len; i++) {
    unsigned char c = (unsigned char)text.data[i];
    if (c >= 0x80) return false;
    if (step->clean_text) {
      if (c == '\t' || c == '\n' || c == '\r') c = ' ';
      else if (c < 0x20 || c == 0x7F) continue;
    }
    to[n++] = (char)(step->lowercase && c >= 'A' && c <= 'Z' ? c + 32 : c);
  }
  buf_advance(out, n);
  return true;
}

void normalizer_bert(const struct normalizer_step *step, struct slice text, struct buf *out) {
  if (ascii(step, text, out)) return;
  struct buf cleaned = {0}, decomposed = {0};
  clean(step, text, &cleaned);
  if (step->strip_accents) normalizer_unicode(NORMALIZER_NFD, buf_view(&cleaned), &decomposed);
  strip_and_lower(step, step->strip_accents ? buf_view(&decomposed) : buf_view(&cleaned), out);
  buf_free(&cleaned);
  buf_free(&decomposed);
}
