/* normalizer_spans: see normalizer_spans.h. SPDX-License-Identifier: Apache-2.0
 *
 * The text is normalized again, piece by piece between the ends of spans, and each piece is sought where the last one ended. Where it is
 * there, the end of the piece is known, and the next piece begins. Where it is not, something was made across the end: the end is put
 * around that character, and the next piece begins where this one did. */
#include "text/normalizer_spans.h"

#include <stdlib.h>

#include "base/mem.h"

struct aligner {
  struct normalizer steps; /* those that do the same to a piece as to the whole text */
  size_t n_first;          /* so many of them for the first piece */
  const struct normalizer *n;
  struct slice raw, normal;
  size_t raw_at, normal_at; /* they are the same place */
  size_t work, work_max;
  struct buf out[2];
};

/* What is put in front of the text is in front of its first piece only; what is cut from its ends is sought in the whole. */
static void take_steps(struct aligner *a, bool first) {
  a->steps.n_steps = 0;
  for (size_t i = 0; i < a->n->n_steps; i++) {
    struct normalizer_step step = a->n->steps[i];
    if (step.kind == NORMALIZER_STRIP) step.strip_right = false;
    if (!first && (step.kind == NORMALIZER_PREPEND || step.kind == NORMALIZER_STRIP)) continue;
    a->steps.steps[a->steps.n_steps++] = step;
  }
}

static bool continues(struct slice text, size_t at) { return at < text.len && ((unsigned char)text.data[at] & 0xC0) == 0x80; }

/* Where byte `at` of the raw text, not before the one of the last call, lies in the normal text. */
static int locate(struct aligner *a, size_t at, bool is_end, size_t *ret, struct error *err) {
  struct slice piece = slice_make(a->raw.data + a->raw_at, at - a->raw_at), rest = slice_from(a->normal, a->normal_at);
  a->work += piece.len;
  if (a->work > a->work_max)
    return error_set(err, ERROR_INVALID,
                     "The text cannot be told from the template: too often a character of the one joins a character of the other.");
  take_steps(a, a->raw_at == 0);
  if (normalizer_apply(&a->steps, piece, NULL, a->out, &piece, err) < 0) return -1;
  size_t same = 0;
  while (same < piece.len && same < rest.len && piece.data[same] == rest.data[same]) same++;
  if (same == piece.len && !continues(rest, same)) {
    a->raw_at = at;
    a->normal_at += same;
    *ret = a->normal_at;
    return 0;
  }
  while (continues(rest, same) && same > 0) same--;
  if (is_end && same < rest.len) same++;
  while (is_end && continues(rest, same)) same++;
  *ret = a->normal_at + same;
  return 0;
}

int normalizer_spans(const struct normalizer *n, struct slice raw, struct slice normal, const struct jinja_span *in, size_t n_in,
                     struct jinja_span **out, size_t *ret_n, struct error *err) {
  struct aligner a = {.n = n, .raw = raw, .normal = normal, .work_max = 8 * raw.len + 65536};
  struct jinja_span *spans = mem_alloc((n_in + 1) * sizeof *spans);
  size_t n_out = 0;
  int rc = 0;
  a.steps.steps = mem_alloc((n->n_steps + 1) * sizeof *a.steps.steps);
  for (size_t i = 0; i < n_in && rc == 0; i++) {
    struct jinja_span span = {0};
    rc = locate(&a, in[i].begin, false, &span.begin, err);
    if (rc == 0) rc = locate(&a, in[i].end, true, &span.end, err);
    if (n_out && span.begin < spans[n_out - 1].end) span.begin = spans[n_out - 1].end;
    if (rc == 0 && span.begin < span.end) spans[n_out++] = span;
  }
  free(a.steps.steps);
  buf_free(&a.out[0]);
  buf_free(&a.out[1]);
  if (rc < 0) {
    free(spans);
    return -1;
  }
  *out = spans;
  *ret_n = n_out;
  return 0;
}
