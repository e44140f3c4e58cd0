/* jinja_format: what the two notations of formatting share. Private to the room. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEXT_JINJA_FORMAT_H
#define TEXT_JINJA_FORMAT_H
#include "text/jinja_call.h"

struct jinja_spec {
  const struct jstr *fill; /* NULL: a blank, or "0" with zero */
  char align;              /* '<', '>', '^', '='; 0: the type's own */
  char sign;               /* '+', '-', ' '; 0 */
  bool alternate, zero;
  bool no_negative_zero; /* 'z': what is rounded to zero has no sign */
  int64_t width;
  char grouping; /* ',', '_' or 0 */
  int precision; /* -1: none */
  char type;     /* 0: none */
};
void jinja_format_str(struct jinja_run *r, struct jinja_sb *sb, const struct jinja_spec *s, const struct jstr *text);
void jinja_format_int(struct jinja_run *r, struct jinja_sb *sb, const struct jinja_spec *s, int64_t value);
void jinja_format_float(struct jinja_run *r, struct jinja_sb *sb, const struct jinja_spec *s, double value);

#endif
