/* stop_filter: holds back text that may become a stop string; see text.h. SPDX-License-Identifier: Apache-2.0
 *
 * held is always a proper beginning of at least one stop string, or empty between two calls. */
#include "text/text.h"

#include <string.h>

void stop_filter_init(struct stop_filter *f, const struct slice *stops, size_t n_stops) {
  *f = (struct stop_filter){.stops = stops, .n_stops = n_stops};
}

/* Where the stop string begins that is complete first, behind the n_old bytes that were there before; text.len when there is none. Of two
 * that end together the longer one counts. So the result does not depend on how the text was cut into pushes. */
static size_t first_stop(const struct stop_filter *f, struct slice text, size_t n_old) {
  size_t first = text.len, first_end = text.len + 1;
  for (size_t i = 0; i < f->n_stops; i++) {
    struct slice stop = f->stops[i];
    size_t from = n_old >= stop.len ? n_old - stop.len + 1 : 0, to = first_end < text.len ? first_end : text.len;
    const char *hit = to >= from + stop.len ? memmem(text.data + from, to - from, stop.data, stop.len) : NULL;
    if (!hit) continue;
    size_t begin = (size_t)(hit - text.data), end = begin + stop.len;
    if (end == first_end && begin > first) continue;
    first = begin;
    first_end = end;
  }
  return first;
}

/* The length of the longest end of text that a stop string begins with. */
static size_t held_len(const struct stop_filter *f, struct slice text) {
  size_t longest = 0;
  for (size_t i = 0; i < f->n_stops; i++) {
    size_t n = f->stops[i].len - 1 < text.len ? f->stops[i].len - 1 : text.len;
    for (; n > longest; n--) {
      if (memcmp(text.data + text.len - n, f->stops[i].data, n) != 0) continue;
      longest = n;
    }
  }
  return longest;
}

void stop_filter_push(struct stop_filter *f, struct slice text, struct buf *out) {
  if (f->stopped || text.len == 0) return;
  if (f->n_stops == 0) {
    buf_add_slice(out, text);
    return;
  }
  size_t n_old = f->held.len;
  buf_add_slice(&f->held, text);
  struct slice all = buf_view(&f->held);
  size_t stop = f->dormant ? all.len : first_stop(f, all, n_old);
  if (stop < all.len) {
    buf_add(out, all.data, stop);
    buf_clear(&f->held);
    f->stopped = true;
    return;
  }
  size_t certain = all.len - held_len(f, all);
  buf_add(out, all.data, certain);
  buf_drop_front(&f->held, certain);
}

void stop_filter_finish(struct stop_filter *f, struct buf *out) {
  if (!f->stopped) buf_add_slice(out, buf_view(&f->held));
  buf_clear(&f->held);
}

void stop_filter_free(struct stop_filter *f) { buf_free(&f->held); }
