/* decoder: see decoder.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/decoder.h"

#include <stdlib.h>

#include "base/mem.h"
#include "text/archive.h"
#include "base/utf8.h"
#include "text/bytelevel.h"
#include "text/option.h"
#include "text/uclass.h"

void decoder_add(struct decoder *d, struct decoder_step step) {
  d->steps = mem_realloc(d->steps, d->n_steps + 1, sizeof d->steps[0]);
  d->steps[d->n_steps++] = step;
}

void decoder_deinit(struct decoder *d) {
  for (size_t i = 0; i < d->n_steps; i++) {
    regex_free(d->steps[i].pattern);
    free((char *)d->steps[i].content.data);
  }
  free(d->steps);
  *d = (struct decoder){0};
}

/* ---- from tokenizer.json ---- */

static struct slice own(struct slice s) { return slice_make(mem_dup(s.data, s.len), s.len); }

static int read_char(const struct js *json, const char *key, uint32_t *ret, struct error *err) {
  struct slice text;
  if (option_str(json, key, &text, err) < 0) return -1;
  if (text.len && uclass_get(text, ret) == text.len) return 0;
  return error_set(err, ERROR_CORRUPT, "The decoder's '%s' must be one character and is '%.*s'.", key, SLICE_ARG(text));
}

static int add_replace(struct decoder *d, const struct js *json, struct error *err) {
  struct slice content;
  if (option_str(json, "content", &content, err) < 0) return -1;
  struct regex *pattern = option_pattern(json, err);
  if (!pattern) return -1;
  decoder_add(d, (struct decoder_step){.kind = DECODER_REPLACE, .pattern = pattern, .content = own(content)});
  return 0;
}

static int add_wordpiece(struct decoder *d, const struct js *json, struct error *err) {
  struct slice prefix;
  bool cleanup;
  if (option_str(json, "prefix", &prefix, err) < 0 || option_bool(json, "cleanup", true, &cleanup, err) < 0) return -1;
  decoder_add(d, (struct decoder_step){.kind = DECODER_WORDPIECE, .content = own(prefix), .cleanup = cleanup});
  return 0;
}

static int add_metaspace(struct decoder *d, const struct js *json, struct error *err) {
  struct decoder_step step = {.kind = DECODER_METASPACE};
  struct slice scheme;
  bool legacy;
  if (read_char(json, "replacement", &step.character, err) < 0 || option_str_maybe(json, "prepend_scheme", &scheme, err) < 0 ||
      option_bool(json, "add_prefix_space", true, &legacy, err) < 0)
    return -1;
  step.prepended = scheme.len ? !slice_eq(scheme, SLICE("never")) : legacy;
  decoder_add(d, step);
  return 0;
}

static int add_strip(struct decoder *d, const struct js *json, struct error *err) {
  struct decoder_step step = {.kind = DECODER_STRIP};
  if (read_char(json, "content", &step.character, err) < 0 || option_int(json, "start", 0, 0, INT32_MAX, &step.start, err) < 0 ||
      option_int(json, "stop", 0, 0, INT32_MAX, &step.stop, err) < 0)
    return -1;
  if (!d->fused) {
    decoder_add(d, step);
    return 0;
  }
  if (step.stop > 0 || d->strip_start > 0)
    return error_set(err, ERROR_UNSUPPORTED, "The decoder 'Strip' at the end of a text, or twice, is not supported.");
  d->strip_character = step.character;
  d->strip_start = step.start;
  return 0;
}

static int add_one(struct decoder *d, const struct js *json, struct error *err);

static int add_sequence(struct decoder *d, const struct js *json, struct error *err) {
  const struct js *list = js_get(json, "decoders");
  if (js_type(list) != JS_ARRAY) return error_set(err, ERROR_CORRUPT, "The decoder 'Sequence' has no list 'decoders'.");
  for (size_t i = 0; i < js_len(list); i++)
    if (add_one(d, js_at(list, i), err) < 0) return -1;
  return 0;
}

static int add_one(struct decoder *d, const struct js *json, struct error *err) {
  struct slice type;
  if (option_type(json, "decoder", &type, err) < 0) return -1;
  if (slice_eq(type, SLICE("Sequence"))) return add_sequence(d, json, err);
  if (slice_eq(type, SLICE("Fuse"))) {
    d->fused = true;
    return 0;
  }
  if (slice_eq(type, SLICE("Strip"))) return add_strip(d, json, err);
  /* What works on tokens must come before what needs several of them. */
  bool late = d->fused || d->bytes != DECODER_NO_BYTES;
  if (!late && slice_eq(type, SLICE("ByteFallback"))) {
    d->bytes = DECODER_SOME_BYTES;
    return 0;
  }
  if (!late && d->n_steps == 0 && slice_eq(type, SLICE("ByteLevel"))) {
    d->bytes = DECODER_ALL_BYTES;
    return 0;
  }
  if (!late && slice_eq(type, SLICE("Replace"))) return add_replace(d, json, err);
  if (!late && slice_eq(type, SLICE("WordPiece"))) return add_wordpiece(d, json, err);
  if (!late && slice_eq(type, SLICE("Metaspace"))) return add_metaspace(d, json, err);
  return option_unknown(late ? "late decoder" : "decoder", type, err);
}

int decoder_read_json(struct decoder *d, const struct js *json, struct error *err) {
  if (option_is_null(json)) {
    decoder_add(d, (struct decoder_step){.kind = DECODER_SPACE});
    return 0;
  }
  if (add_one(d, json, err) < 0) return -1;
  for (size_t i = 0; i < d->n_steps; i++)
    if (d->steps[i].kind == DECODER_STRIP && d->bytes != DECODER_NO_BYTES)
      return error_set(err, ERROR_UNSUPPORTED, "The decoder 'Strip' on single tokens beside 'ByteFallback' is not supported.");
  return 0;
}

/* ---- at work ---- */

static void replace_all(struct slice text, struct slice from, struct slice to, struct buf *out) {
  for (;;) {
    const char *hit = text.len ? memmem(text.data, text.len, from.data, from.len) : NULL;
    if (!hit) break;
    buf_add(out, text.data, (size_t)(hit - text.data));
    buf_add_slice(out, to);
    text = slice_from(text, (size_t)(hit - text.data) + from.len);
  }
  buf_add_slice(out, text);
}

/* The clean-up of the WordPiece decoder, in its order. */
static void cleanup(struct buf *text, struct buf *spare) {
  static const char *const pairs[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                         {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                         {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  if (!text->len || !memchr(text->data, ' ', text->len)) return;
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    buf_clear(spare);
    replace_all(buf_view(text), slice_cstr(pairs[i][0]), slice_cstr(pairs[i][1]), spare);
    struct buf swap = *text;
    *text = *spare;
    *spare = swap;
  }
}

static void metaspace(const struct decoder_step *step, struct slice text, bool first, struct buf *out) {
  for (size_t n; text.len; text = slice_from(text, n)) {
    uint32_t c;
    n = uclass_get(text, &c);
    if (c != step->character) buf_add(out, text.data, n);
    else if (!first || !step->prepended) buf_add_byte(out, ' ');
  }
}

static void strip(const struct decoder_step *step, struct slice text, struct buf *out) {
  uint32_t c;
  size_t n;
  for (int64_t i = 0; i < step->start && text.len && (n = uclass_get(text, &c), c == step->character); i++) text = slice_from(text, n);
  for (int64_t i = 0; i < step->stop && text.len && (n = uclass_get_last(text, &c), c == step->character); i++) text.len -= n;
  buf_add_slice(out, text);
}

static void replace(const struct decoder_step *step, struct slice text, struct buf *out) {
  struct regex_walk walk;
  size_t begin, end, done = 0;
  regex_begin(&walk, step->pattern, text, NULL);
  while (out->len <= DECODER_TOKEN_BYTES_MAX && regex_next(&walk, &begin, &end, NULL) > 0) {
    buf_add(out, text.data + done, begin - done);
    buf_add_slice(out, step->content);
    done = end;
  }
  regex_finish(&walk);
  buf_add_slice(out, slice_from(text, done));
}

static void apply(const struct decoder_step *step, struct slice text, bool first, struct buf *out, struct buf *spare) {
  switch (step->kind) {
    case DECODER_REPLACE: replace(step, text, out); break;
    case DECODER_METASPACE: metaspace(step, text, first, out); break;
    case DECODER_STRIP: strip(step, text, out); break;
    case DECODER_SPACE:
      if (!first) buf_add_byte(out, ' ');
      buf_add_slice(out, text);
      break;
    case DECODER_WORDPIECE:
      if (!first && slice_starts(text, step->content)) {
        text = slice_from(text, step->content.len);
      } else if (!first) {
        buf_add_byte(out, ' ');
      }
      buf_add_slice(out, text);
      if (step->cleanup) cleanup(out, spare);
      break;
  }
}

int decoder_byte_token(struct slice t) {
  if (t.len != 6 || memcmp(t.data, "<0x", 3) != 0 || t.data[5] != '>') return -1;
  int value = 0;
  for (int i = 3; i < 5; i++) {
    char c = t.data[i];
    int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

void decoder_token(const struct decoder *d, struct slice token, bool first, struct buf *out) {
  if (d->bytes == DECODER_ALL_BYTES) {
    bytelevel_unmap(token, out);
    return;
  }
  struct buf work[3] = {{0}, {0}, {0}};
  for (size_t i = 0; i < d->n_steps && token.len <= DECODER_TOKEN_BYTES_MAX; i++) {
    buf_clear(&work[i % 2]);
    apply(&d->steps[i], token, first, &work[i % 2], &work[2]);
    token = buf_view(&work[i % 2]);
  }
  int byte = d->bytes == DECODER_SOME_BYTES ? decoder_byte_token(token) : -1;
  if (byte >= 0) buf_add_byte(out, (unsigned char)byte);
  else buf_add_slice(out, token);
  for (int i = 0; i < 3; i++) buf_free(&work[i]);
}

void decoder_strip_start(const struct decoder *d, size_t begin, struct buf *out) {
  struct slice text = slice_from(buf_view(out), begin);
  size_t cut = 0, n;
  uint32_t c;
  for (int64_t i = 0; i < d->strip_start && (n = utf8_get(slice_from(text, cut), &c)) > 0 && c == d->strip_character; i++) cut += n;
  if (cut == 0) return;
  memmove(out->data + begin, out->data + begin + cut, text.len - cut);
  out->len -= cut;
  out->data[out->len] = '\0';
}

void decoder_lossy(struct slice bytes, struct buf *out) {
  while (bytes.len) {
    size_t good = 0, n;
    uint32_t c;
    while (good < bytes.len && (n = utf8_get(slice_from(bytes, good), &c))) good += n;
    buf_add(out, bytes.data, good);
    bytes = slice_from(bytes, good);
    if (bytes.len == 0) break;
    buf_add_utf8(out, UTF8_REPLACEMENT);
    bytes = slice_from(bytes, utf8_invalid_len(bytes));
  }
}

/* ---- kept ---- */

void decoder_archive(struct archive *a, struct decoder *d) {
  archive_count(a, &d->n_steps);
  if (!a->out) d->steps = mem_zalloc(d->n_steps, sizeof d->steps[0]);
  for (size_t i = 0; i < d->n_steps; i++) {
    struct decoder_step *s = &d->steps[i];
    ARCHIVE(a, s->kind);
    archive_regex(a, &s->pattern);
    archive_slice(a, &s->content);
    ARCHIVE(a, s->character);
    ARCHIVE(a, s->prepended);
    ARCHIVE(a, s->start);
    ARCHIVE(a, s->stop);
    ARCHIVE(a, s->cleanup);
  }
  ARCHIVE(a, d->bytes);
  ARCHIVE(a, d->fused);
  ARCHIVE(a, d->strip_character);
  ARCHIVE(a, d->strip_start);
}
